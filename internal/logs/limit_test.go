package logs

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// logged returns a limited logger, what it has written without the times, and its flush.
func logged(level slog.Level) (log *slog.Logger, lines func() []string, flush func()) {
	var out bytes.Buffer
	withoutTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	handler, flush := Limit(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level, ReplaceAttr: withoutTime}))
	return slog.New(handler), func() []string { return strings.Split(strings.TrimSpace(out.String()), "\n") }, flush
}

func want(t *testing.T, got []string, lines ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(lines, "\n") {
		t.Errorf("got:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(lines, "\n  "))
	}
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines, _ := logged(slog.LevelInfo)
		for i := range 213 {
			log.With("listen", ":1").Warn("cannot take connections", "err", fmt.Errorf("too many, %d", i))
		}
		time.Sleep(time.Millisecond)
		for i := range 3 {
			log.Warn("cannot take connections", "listen", ":2", "err", i) // another statement
		}
		time.Sleep(time.Millisecond)
		for range 2 {
			log.Info("something else")
		}
		time.Sleep(1900 * time.Millisecond)
		synctest.Wait()
		want(t, lines(),
			`level=WARN msg="cannot take connections" listen=:1 err="too many, 0"`,
			`level=WARN msg="cannot take connections" listen=:2 err=0`,
			`level=INFO msg="something else"`,
			`level=WARN msg="cannot take connections" listen=:1 err="too many, 212" more_like_this=211`,
			`level=WARN msg="cannot take connections" listen=:2 err=2 more_like_this=1`,
			`level=INFO msg="something else"`)
	})
}

// One statement about several places writes a line for each, and later ones count.
func TestLimitByPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines, flush := logged(slog.LevelInfo)
		for _, look := range []struct{ server, err string }{{"a", "refused"}, {"b", "refused"}, {"a", "timeout"}, {"a", "reset"}, {}, {"a", "again"}} {
			if look.server == "" {
				flush()
				flush()
				time.Sleep(2 * time.Second)
				continue
			}
			log.Warn("server is unhealthy", "server", look.server, "err", look.err)
		}
		want(t, lines(),
			`level=WARN msg="server is unhealthy" server=a err=refused`,
			`level=WARN msg="server is unhealthy" server=b err=refused`,
			`level=WARN msg="server is unhealthy" server=a err=reset more_like_this=1`,
			`level=WARN msg="server is unhealthy" server=a err=again`)
	})
}

// A peer that brings another place each time is bounded too.
func TestLimitInventedPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines, _ := logged(slog.LevelInfo)
		for i := range 10_000 {
			log.With("server", fmt.Sprint("s", i)).Warn("agent refused")
		}
		if n := len(lines()); n > 100 {
			t.Errorf("%d lines were written in a moment, want a few", n)
		}
	})
}

// What the operator does is told each time.
func TestUnlimited(t *testing.T) {
	log, lines, _ := logged(slog.LevelInfo)
	for range 3 {
		Unlimited(log.With("role", "edge")).Info("reloaded")
	}
	if n := len(lines()); n != 3 {
		t.Errorf("%d lines were written of 3", n)
	}
}

// The debug log is not limited.
func TestDebugIsNotLimited(t *testing.T) {
	log, lines, _ := logged(slog.LevelDebug)
	for range 10 {
		log.Debug("detail")
	}
	if n := len(lines()); n != 10 {
		t.Errorf("%d lines were written of 10", n)
	}
}

// What is held back is a copy: a sender may use the memory of its strings again.
func TestHeldLinesAreCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines, flush := logged(slog.LevelInfo)
		problem := &changing{"first"}
		for range 2 {
			log.Warn("trouble", "err", problem)
		}
		problem.text = "other"
		flush()
		want(t, lines(), `level=WARN msg=trouble err=first`, `level=WARN msg=trouble err=first`)
	})
}

type changing struct{ text string }

func (c *changing) Error() string { return c.text }
