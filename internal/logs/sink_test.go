package logs

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/race"
)

// reader is where a Sink writes to: it can stop reading, fail, and take part of a write.
type reader struct {
	mu   sync.Mutex
	open chan struct{} // nil: it reads; else it stalls until this is closed
	fail error         // nil: none
	take int           // bytes that a write which fails takes
	text bytes.Buffer
}

func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	open := r.open
	r.mu.Unlock()
	if open != nil {
		<-open
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		n := min(r.take, len(p))
		r.take = 0
		r.text.Write(p[:n])
		return n, r.fail
	}
	return r.text.Write(p)
}

func (r *reader) set(fail error, take int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail, r.take = fail, take
}

func (r *reader) read() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func told(lines uint64, _ time.Time) []byte { return fmt.Appendf(nil, "%d dropped\n", lines) }

func put(s *Sink, from, to int) {
	for i := from; i < to; i++ {
		_, _ = s.Write(fmt.Appendf(nil, "line %d %s\n", i, strings.Repeat("x", 1000)))
	}
}

// check reads lines that put has written and returns how many there are and how many are
// said to be dropped. What was written must be in order.
func check(t *testing.T, text string) (lines, dropped int) {
	t.Helper()
	last := -1
	for line := range strings.Lines(text) {
		var n int
		if _, err := fmt.Sscanf(line, "%d dropped\n", &n); err == nil {
			dropped += n
			continue
		}
		if _, err := fmt.Sscanf(line, "line %d", &n); err != nil || n <= last || len(line) < 1000 {
			t.Fatalf("after line %d came %.50q", last, line)
		}
		lines, last = lines+1, n
	}
	return lines, dropped
}

// A slow reader blocks no writer, lines that are not written are counted, and once there is room the log
// tells of it.
func TestStalledReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{open: make(chan struct{})}
		s := NewSink(r)
		s.SetNotice(told)
		put(s, 0, 10000) // more than fits, and it would never return if it waited
		if most := uint64(10000 - size/1100); s.Dropped() < most/2 {
			t.Errorf("%d lines were dropped, want those beyond %d bytes", s.Dropped(), size)
		}
		lost := int(s.Dropped())
		close(r.open)
		synctest.Wait()
		time.Sleep(gathering)
		put(s, 10000, 10010)
		s.Close(time.Second)
		if lines, dropped := check(t, r.read()); lines != 10010-lost || dropped != lost {
			t.Errorf("%d lines and %d said to be dropped of 10010 with %d dropped", lines, dropped, lost)
		}
		if _, behind, ok := strings.Cut(r.read(), "dropped\n"); !ok || !strings.HasPrefix(behind, "line 10000 ") {
			t.Errorf("what was dropped is not told before what came later: %.50q", behind)
		}
	})
}

// A pipe whose reader has gone takes nothing; what comes is counted until there is another.
func TestReaderGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{}
		s := NewSink(r)
		s.SetNotice(told)
		put(s, 0, 3)
		time.Sleep(3 * gathering)
		r.set(syscall.EPIPE, 0)
		put(s, 3, 5)
		time.Sleep(3 * retry)
		synctest.Wait()
		if got := s.Dropped(); got != 2 {
			t.Errorf("%d lines were dropped, want 2", got)
		}
		put(s, 5, 7)
		time.Sleep(3 * retry)
		synctest.Wait()
		if got := s.Dropped(); got != 4 {
			t.Errorf("%d lines were dropped, want 4", got)
		}
		r.set(nil, 0)
		put(s, 7, 8)
		s.Close(time.Second)
		lines, dropped := check(t, r.read())
		if lines != 4 || dropped != 4 {
			t.Errorf("%d lines and %d said to be dropped, want 4 and 4", lines, dropped)
		}
	})
}

// A write that a broken pipe took in part does not spoil the next line.
func TestLineBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{fail: syscall.EPIPE, take: 10}
		s := NewSink(r)
		put(s, 0, 1)
		synctest.Wait()
		r.set(nil, 0)
		time.Sleep(retry)
		_, _ = s.Write([]byte("whole\n"))
		s.Close(time.Second)
		if want := "line 0 xxx\nwhole\n"; r.read() != want {
			t.Errorf("got %q, want %q", r.read(), want)
		}
		if s.Dropped() != 1 {
			t.Errorf("%d lines were dropped, want 1", s.Dropped())
		}
	})
}

// A disk that is full, or a pipe that another process has made non-blocking, gets the same
// lines again.
func TestErrorsThatPass(t *testing.T) {
	for _, problem := range []error{syscall.ENOSPC, syscall.EAGAIN, syscall.EIO} {
		synctest.Test(t, func(t *testing.T) {
			r := &reader{fail: problem, take: 1500}
			s := NewSink(r)
			put(s, 0, 3)
			time.Sleep(3 * retry)
			put(s, 3, 5)
			r.set(nil, 0)
			time.Sleep(2 * retry)
			s.Close(time.Second)
			if lines, dropped := check(t, r.read()); lines != 5 || dropped != 0 || s.Dropped() != 0 {
				t.Errorf("%v: %d lines, and %d dropped, want 5 and none", problem, lines, s.Dropped())
			}
		})
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{open: make(chan struct{})}
		s := NewSink(r)
		put(s, 0, 10)
		begin := time.Now()
		s.Close(time.Second)
		if took := time.Since(begin); took != time.Second {
			t.Errorf("Close returned after %v of a stalled reader, want its limit", took)
		}
		close(r.open)
		synctest.Wait()
		if lines, _ := check(t, r.read()); lines != 10 {
			t.Errorf("%d lines were written of 10", lines)
		}
		put(s, 10, 11)
		if s.Dropped() != 1 {
			t.Errorf("%d lines were dropped, want the one after Close", s.Dropped())
		}
		s.Close(time.Second) // once more is no harm
	})
	unused := NewSink(io.Discard)
	unused.Close(time.Hour)
	put(unused, 0, 1)
	if unused.Dropped() != 1 {
		t.Error("a Sink that was closed before it was used has taken a line")
	}
}

// Several processes log to one pipe: their lines must not mix.
func TestLinesOfTwoDoNotMix(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	const lines = 3000
	var writing sync.WaitGroup
	for _, letter := range []string{"a", "b"} {
		writing.Go(func() {
			s := NewSink(out)
			line := []byte(strings.Repeat(letter, 300) + "\n")
			for range lines {
				_, _ = s.Write(line)
			}
			s.Close(time.Minute)
			if s.Dropped() != 0 {
				t.Errorf("%d lines were dropped", s.Dropped())
			}
		})
	}
	go func() {
		writing.Wait()
		out.Close()
	}()
	n := 0
	for text := bufio.NewScanner(in); text.Scan(); n++ {
		if line := text.Text(); line != strings.Repeat(line[:1], 300) {
			t.Fatalf("lines are mixed: %q", line)
		}
	}
	if n != 2*lines {
		t.Errorf("%d lines came, want %d", n, 2*lines)
	}
}

func TestWriteAllocatesNothing(t *testing.T) {
	s := NewSink(io.Discard)
	defer s.Close(time.Minute)
	line := []byte(strings.Repeat("x", 400) + "\n")
	for range 2000 {
		_, _ = s.Write(line) // the buffers grow
	}
	if n := testing.AllocsPerRun(2000, func() { _, _ = s.Write(line) }); n != 0 {
		t.Errorf("a write allocates %v times", n)
	}
}

// A record of the access log allocates through a Sink what it allocates without.
func TestRecordsAllocateNoMore(t *testing.T) {
	if race.Enabled {
		t.Skip("under the race detector a sync.Pool drops items at random")
	}
	s := NewSink(io.Discard)
	defer s.Close(time.Minute)
	cost := func(w io.Writer) float64 {
		log := slog.New(slog.NewJSONHandler(w, nil))
		record := func() {
			log.LogAttrs(t.Context(), slog.LevelInfo, "request", slog.String("path", strings.Repeat("x", 300)), slog.Int("status", 200))
		}
		for range 2000 {
			record() // the buffers grow
		}
		return testing.AllocsPerRun(2000, record)
	}
	if direct, through := cost(io.Discard), cost(s); through > direct {
		t.Errorf("a record allocates %v times through a Sink, %v without", through, direct)
	}
}

// What a line of the access log costs the one who writes it, straight into a file and
// through a Sink.
func BenchmarkAccessLog(b *testing.B) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	sink := NewSink(null)
	defer sink.Close(time.Minute)
	pipeIn, pipeOut, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer pipeOut.Close()
	go func() { _, _ = io.Copy(io.Discard, pipeIn) }()
	piped := NewSink(pipeOut)
	defer piped.Close(time.Minute)
	for _, to := range []struct {
		name string
		w    io.Writer
	}{{"null", null}, {"null by sink", sink}, {"pipe", pipeOut}, {"pipe by sink", piped}} {
		b.Run(to.name, func(b *testing.B) {
			log := slog.New(slog.NewJSONHandler(to.w, nil))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					log.LogAttrs(b.Context(), slog.LevelInfo, "request", slog.String("method", "GET"), slog.String("path", "/some/path"), slog.Int("status", 200),
						slog.Float64("duration_ms", 1.234), slog.String("pool", "web"), slog.String("server", "s1"), slog.String("client", "10.0.0.1"), slog.Int("attempts", 1))
				}
			})
		})
	}
}
