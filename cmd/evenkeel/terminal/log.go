package terminal

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

func NewLogHandler(w io.Writer, text bool, level slog.Leveler, paint Painter) slog.Handler {
	if text {
		return &logHandler{w: w, mu: new(sync.Mutex), level: level, paint: paint}
	}
	return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})
}

// logHandler is a slog.Handler for people: the time of day, the level, the message, and
// key=value behind it.
type logHandler struct {
	w     io.Writer
	mu    *sync.Mutex // held over one write; shared by the handlers derived from one
	level slog.Leveler
	paint Painter
	attrs string // those of With, ready to be written
	group string // those of WithGroup, each with a dot behind it
}

func (t *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= t.level.Level()
}

func (t *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *t
	var b strings.Builder
	for _, a := range attrs {
		writeAttr(&b, t.group, a)
	}
	with.attrs += b.String()
	return &with
}

func (t *logHandler) WithGroup(name string) slog.Handler {
	with := *t
	if name != "" {
		with.group += name + "."
	}
	return &with
}

func (t *logHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	if !r.Time.IsZero() {
		b.WriteString(r.Time.Format("15:04:05.000 "))
	}
	b.WriteString(t.paint(levelColor(r.Level), (r.Level.String() + "     ")[:5]) + " " + quoteWord(r.Message, " ") + t.attrs)
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
		return Red
	case level >= slog.LevelWarn:
		return Yellow
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
		b.WriteString(" " + group + a.Key + "=" + quoteWord(v.String(), ""))
	}
}

// quoteWord quotes what would not be read as one word; a terminal must see no control
// characters. Those in allowed pass.
func quoteWord(s, allowed string) string {
	odd := func(r rune) bool {
		return !strings.ContainsRune(allowed, r) && (!unicode.IsPrint(r) || unicode.IsSpace(r) || r == '"' && allowed == "" || r == '=' && allowed == "")
	}
	if s == "" || strings.ContainsFunc(s, odd) {
		return strconv.Quote(s)
	}
	return s
}
