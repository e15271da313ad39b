package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

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
}

// logger returns the logger of a role, which from now on outlives whoever reads its log.
// What a peer can provoke again and again is limited.
func (f *logFlags) logger(sink *logs.Sink) (*slog.Logger, error) {
	text, level, err := f.read(sink)
	if err != nil {
		return nil, err
	}
	survive()
	sink.SetNotice(func(lines uint64, since time.Time) []byte {
		var b bytes.Buffer
		slog.New(newHandler(&b, text, slog.LevelInfo, painterFor(sink.Out()))).Warn(fmt.Sprintf("%d log %s dropped since %s: whoever reads the log is too slow, or was away",
			lines, plural(int(lines), "line"), since.Format(time.RFC3339Nano)), "lines", lines)
		return b.Bytes()
	})
	limited, flush := logs.Limit(newHandler(sink, text, level, painterFor(sink.Out())))
	sink.AtClose(flush)
	log := slog.New(limited)
	slog.SetDefault(log) // for libraries that use package log: they would wait for the reader
	return log, nil
}

// access returns a logger for requests, which writes all that it is told.
func (f *logFlags) access(sink *logs.Sink) (*slog.Logger, error) {
	text, level, err := f.read(sink)
	paint := painterFor(sink.Out())
	if text && level > slog.LevelDebug && isTerminal(sink.Out()) {
		return slog.New(&accessLine{w: sink, paint: paint, width: func() int { return columns(sink.Out()) }}), err
	}
	return slog.New(newHandler(sink, text, slog.LevelInfo, paint)), err
}

// read returns what the flags say of a log that goes to sink.
func (f *logFlags) read(sink *logs.Sink) (text bool, level slog.Level, err error) {
	if err := level.UnmarshalText([]byte(f.level)); err != nil || !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(f.level)) {
		return false, 0, usagef("want debug, info, warn or error", "--log-level %q is not known", f.level)
	}
	switch f.format {
	case "auto":
		return isTerminal(sink.Out()), level, nil
	case "text", "json":
		return f.format == "text", level, nil
	}
	return false, 0, usagef("want text, json or auto", "--log-format %q is not known", f.format)
}

func newHandler(w io.Writer, text bool, level slog.Level, paint painter) slog.Handler {
	if text {
		return &terminal{w: w, mu: new(sync.Mutex), level: level, paint: paint}
	}
	return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})
}

// survive has this process go on when the reader of its log goes away: writing to a
// standard output that is a broken pipe fails instead of ending the process. The signal is
// taken, not ignored, since a program started by this one would inherit that.
func survive() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// lastWrites is how long a process that ends tries to write what waits for its log.
const lastWrites = time.Second

// terminal is a slog.Handler for people: the time of day, the level, the message, and
// key=value behind it.
type terminal struct {
	w     io.Writer
	mu    *sync.Mutex // held over one write; shared by the handlers derived from one
	level slog.Level
	paint painter
	attrs string // those of With, ready to be written
	group string // those of WithGroup, each with a dot behind it
}

func (t *terminal) Enabled(_ context.Context, level slog.Level) bool { return level >= t.level }

func (t *terminal) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *t
	var b strings.Builder
	for _, a := range attrs {
		writeAttr(&b, t.group, a)
	}
	with.attrs += b.String()
	return &with
}

func (t *terminal) WithGroup(name string) slog.Handler {
	with := *t
	if name != "" {
		with.group += name + "."
	}
	return &with
}

func (t *terminal) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	if !r.Time.IsZero() {
		b.WriteString(r.Time.Format("15:04:05.000 "))
	}
	b.WriteString(t.paint(levelColor(r.Level), (r.Level.String() + "     ")[:5]) + " " + word(r.Message, " ") + t.attrs)
	r.Attrs(func(a slog.Attr) bool {
		writeAttr(&b, t.group, a)
		return true
	})
	b.WriteByte('\n')
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := io.WriteString(t.w, b.String())
	return err
}

func levelColor(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return red
	case level >= slog.LevelWarn:
		return yellow
	}
	return ""
}

func writeAttr(b *strings.Builder, group string, a slog.Attr) {
	v := a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
	case v.Kind() == slog.KindGroup:
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, inner := range v.Group() {
			writeAttr(b, group, inner)
		}
	default:
		b.WriteString(" " + group + a.Key + "=" + word(v.String(), ""))
	}
}

// word quotes what would not be read as one word; a terminal must see no control
// characters. Those in allowed pass.
func word(s, allowed string) string {
	odd := func(r rune) bool {
		return !strings.ContainsRune(allowed, r) && (!unicode.IsPrint(r) || unicode.IsSpace(r) || r == '"' && allowed == "" || r == '=' && allowed == "")
	}
	if s == "" || strings.ContainsFunc(s, odd) {
		return strconv.Quote(s)
	}
	return s
}
