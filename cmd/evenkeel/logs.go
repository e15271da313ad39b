package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/spf13/cobra"
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

// logger returns a logger that writes to w.
func (f *logFlags) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.level)); err != nil || !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(f.level)) {
		return nil, usagef("want debug, info, warn or error", "--log-level %q is not known", f.level)
	}
	text := f.format == "text"
	switch f.format {
	case "auto":
		text = isTerminal(w)
	case "text", "json":
	default:
		return nil, usagef("want text, json or auto", "--log-format %q is not known", f.format)
	}
	if text {
		return slog.New(&terminal{w: w, mu: new(sync.Mutex), level: level}), nil
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})), nil
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// terminal is a slog.Handler for people: the time of day, the level, the message, and
// key=value behind it.
type terminal struct {
	w     io.Writer
	mu    *sync.Mutex // held over one write; shared by the handlers derived from one
	level slog.Level
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
	b.WriteString((r.Level.String() + "     ")[:5] + " " + word(r.Message, " ") + t.attrs)
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
