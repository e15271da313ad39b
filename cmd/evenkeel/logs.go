package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/internal/logs"
)

// logFlags are the flags on logging that every role has.
type logFlags struct {
	format string
	level  string
}

func (f *logFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.format, "log-format", "auto", "text, json, or auto: text on a terminal, JSON elsewhere")
	cmd.Flags().StringVar(&f.level, "log-level", "info", "debug, info, warn or error")
	completeWords(cmd, "log-format", "auto", "text", "json")
	completeWords(cmd, "log-level", "debug", "info", "warn", "error")
}

// logger returns the logger of a role, which from now on does not end when the reader of its log ends.
// What a peer can provoke again and again is limited.
func (f *logFlags) logger(sink *logs.Sink) (*slog.Logger, *process.Logging, error) {
	text, level, err := f.read(sink)
	if err != nil {
		return nil, nil, err
	}
	own := new(process.Logging)
	own.Level.Set(level)
	ignoreBrokenPipes()
	sink.SetNotice(func(lines uint64, since time.Time) []byte {
		var b bytes.Buffer
		slog.New(terminal.NewLogHandler(&b, text, slog.LevelInfo, terminal.NewPainter(sink.Out()))).Warn(fmt.Sprintf("%d log %s dropped since %s: the reader of the log was too slow or absent",
			lines, terminal.Plural(int(lines), "line"), since.Format(time.RFC3339Nano)), "lines", lines)
		return b.Bytes()
	})
	limited, flush := logs.Limit(own.Recent.Tee(terminal.NewLogHandler(sink, text, &own.Level, terminal.NewPainter(sink.Out()))))
	sink.AtClose(flush)
	log := slog.New(limited)
	slog.SetDefault(log) // for libraries that use package log: they would wait for the reader
	return log, own, nil
}

// access returns a logger for requests, which writes records of every level.
func (f *logFlags) access(sink *logs.Sink) (*slog.Logger, error) {
	text, level, err := f.read(sink)
	paint := terminal.NewPainter(sink.Out())
	if text && level > slog.LevelDebug && terminal.Is(sink.Out()) {
		return slog.New(terminal.NewAccessHandler(sink, paint, func() int { return terminal.Columns(sink.Out()) })), err
	}
	return slog.New(terminal.NewLogHandler(sink, text, slog.LevelInfo, paint)), err
}

// read returns what the flags say of a log that goes to sink.
func (f *logFlags) read(sink *logs.Sink) (text bool, level slog.Level, err error) {
	if err := level.UnmarshalText([]byte(f.level)); err != nil || !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(f.level)) {
		return false, 0, hint.Usagef("want debug, info, warn or error", "--log-level %q is not known", f.level)
	}
	switch f.format {
	case "auto":
		return terminal.Is(sink.Out()), level, nil
	case "text", "json":
		return f.format == "text", level, nil
	}
	return false, 0, hint.Usagef("want text, json or auto", "--log-format %q is not known", f.format)
}

// ignoreBrokenPipes has this process go on when the reader of its log goes away: writing to a
// standard output that is a broken pipe fails instead of ending the process. The signal is
// taken, not ignored, since a program started by this one would inherit that.
func ignoreBrokenPipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// lastWrites is how long a process that ends tries to write what waits for its log.
const lastWrites = time.Second
