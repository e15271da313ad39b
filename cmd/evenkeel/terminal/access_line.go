package terminal

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"
)

// accessLine is a slog.Handler that writes what a person at a terminal wants to know of a
// request, in one line of it. The rest is in the other formats, and at --log-level debug.
type accessLine struct {
	w     io.Writer
	paint Painter
	width func() int // columns of the terminal
}

// NewAccessHandler returns the handler that writes lines to w, which is a terminal of width columns.
func NewAccessHandler(w io.Writer, paint Painter, width func() int) slog.Handler {
	return &accessLine{w: w, paint: paint, width: width}
}

// accessFacts are the attributes that it shows.
type accessFacts struct {
	method, host, path, server, ended string
	reason                            string // why the edge answered itself; empty: a server did
	status, attempts                  int64
	bytes                             int64 // to the client
	grpc                              int64 // grpc-status; negative: the response has none
	took                              time.Duration
}

func (a *accessLine) Enabled(context.Context, slog.Level) bool { return true }

func (a *accessLine) WithAttrs([]slog.Attr) slog.Handler { return a }

func (a *accessLine) WithGroup(string) slog.Handler { return a }

func (a *accessLine) Handle(_ context.Context, r slog.Record) error {
	f := accessFacts{grpc: -1}
	r.Attrs(func(at slog.Attr) bool {
		f.take(at)
		return true
	})
	_, err := io.WriteString(a.w, a.line(r.Time, &f)+"\n")
	return err
}

func (f *accessFacts) take(a slog.Attr) {
	switch v := a.Value; a.Key {
	case "method":
		f.method = v.String()
	case "host":
		f.host = v.String()
	case "path":
		f.path = v.String()
	case "server":
		f.server = v.String()
	case "ended":
		f.ended = v.String()
	case "reason":
		f.reason = v.String()
	case "status":
		f.status = v.Int64()
	case "grpc_status":
		f.grpc = v.Int64()
	case "attempts":
		f.attempts = v.Int64()
	case "bytes", "bytes_out":
		f.bytes = v.Int64()
	case "duration_ms":
		f.took = time.Duration(v.Float64() * float64(time.Millisecond))
	}
}

// line returns the time, what became of it, how long it took, the bytes to the client, the
// server or why there is none, and what was asked for as far as there is room.
func (a *accessLine) line(at time.Time, f *accessFacts) string {
	what, status, color := f.method, fmt.Sprint(f.status), ""
	switch {
	case f.method == "": // a connection of a TCP listener
		what, status = "TCP", f.ended
		if f.ended != "ok" {
			color = Yellow
		}
	case f.status >= 500:
		color = Red
	case f.status >= 400:
		color = Yellow
	}
	if f.grpc >= 0 {
		status += fmt.Sprintf("/%d", f.grpc)
	}
	if f.grpc > 0 && color == "" {
		color = Yellow
	}
	server := f.server
	if server == "" {
		server = cmp.Or(f.reason, "-")
	}
	tail := ""
	if f.attempts > 1 {
		tail = fmt.Sprintf(" (%d attempts)", f.attempts)
	}
	before := at.Format("15:04:05.000 ")
	middle := fmt.Sprintf(" %-4s %7s %8s %-12s ", what, shortTime(f.took), shortBytes(f.bytes), Clip(quoteWord(server, ""), 16))
	room := a.width() - utf8.RuneCountInString(before+status+middle+tail)
	return before + a.paint(color, status) + middle + Clip(quoteWord(f.host+f.path, `="`), max(room, 8)) + tail
}

// Clip shortens a text to so many columns.
func Clip(s string, columns int) string {
	if utf8.RuneCountInString(s) <= columns {
		return s
	}
	return string([]rune(s)[:columns-1]) + "…"
}

// shortTime shows a duration in seven columns at most.
func shortTime(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// shortBytes shows a number of bytes in eight columns at most.
func shortBytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	x := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB"} {
		if x /= 1000; x < 999.95 {
			return strings.Replace(fmt.Sprintf("%.1f %s", x, unit), ".0 ", " ", 1)
		}
	}
	return fmt.Sprintf("%.0f PB", x/1000)
}
