package logs

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
)

// Bounds of what Recent keeps.
const (
	recentRecords = 1000
	recentBytes   = 1 << 20
)

// Recent keeps the newest records of a log, each as a line of JSON, for people who look for a fault. The zero value is empty. It is safe
// for concurrent use.
type Recent struct {
	mu    sync.Mutex
	lines [][]byte
	size  int // bytes of lines
}

// Write keeps one record, which slog's JSONHandler writes at once.
func (r *Recent) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines, r.size = append(r.lines, bytes.Clone(line)), r.size+len(line)
	for len(r.lines) > recentRecords || r.size > recentBytes && len(r.lines) > 1 {
		r.size -= len(r.lines[0])
		r.lines = r.lines[1:]
	}
	return len(line), nil
}

// Text returns the records, oldest first.
func (r *Recent) Text() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Join(r.lines, nil)
}

// Tee returns a handler that hands records on, and has r keep those of info and above.
func (r *Recent) Tee(next slog.Handler) slog.Handler {
	return &tee{next, slog.NewJSONHandler(r, &slog.HandlerOptions{Level: slog.LevelInfo})}
}

// tee hands records to two handlers.
type tee struct{ next, also slog.Handler }

func (t *tee) Enabled(ctx context.Context, level slog.Level) bool {
	return t.next.Enabled(ctx, level) || t.also.Enabled(ctx, level)
}

func (t *tee) Handle(ctx context.Context, r slog.Record) error {
	var errs [2]error
	for i, h := range [...]slog.Handler{t.next, t.also} {
		if h.Enabled(ctx, r.Level) {
			errs[i] = h.Handle(ctx, r.Clone())
		}
	}
	return errors.Join(errs[:]...)
}

func (t *tee) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &tee{t.next.WithAttrs(attrs), t.also.WithAttrs(attrs)}
}

func (t *tee) WithGroup(name string) slog.Handler {
	return &tee{t.next.WithGroup(name), t.also.WithGroup(name)}
}
