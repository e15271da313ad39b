// Package logs writes a role's log without ever blocking the role, even if the log's reader is slow or gone: a Sink accepts lines without
// waiting, and Limit suppresses lines that a peer provokes again and again.
package logs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	size      = 4 << 20              // bytes that may wait while others are written
	spacious  = 256 << 10            // bytes of room that are kept though they are not needed
	gathering = 5 * time.Millisecond // between two writes, if there is not much to write
	much      = 64 << 10             // bytes that are written without waiting for more
	retry     = time.Second          // after an error
	retrySoon = 10 * time.Millisecond
	pipeBuf   = 4096 // bytes that a pipe takes whole or not at all, so that lines of several processes do not mix
)

// DroppedMetric and DroppedHelp are the name and the help of the counter of Dropped, on
// every role's metrics page.
const (
	DroppedMetric = "evenkeel_log_dropped_total"
	DroppedHelp   = "Log lines, of the access log too, that were not written because the log's reader was too slow or gone."
)

// Sink is a bounded buffer before a file, pipe or terminal. Each Write is one line, or
// several whole ones; it copies and returns. One goroutine, which the first Write starts,
// does the writing. What does not fit is dropped, counted, and told in the log once there
// is room again. All methods may be called by several goroutines.
type Sink struct {
	out     io.Writer
	chunk   int // bytes of a write, unless a line is longer; zero: any number
	dropped atomic.Uint64

	mu      sync.Mutex
	waiting []byte // to be written
	lost    loss   // dropped because waiting was full, and not told yet
	notice  func(lines uint64, since time.Time) []byte
	atClose []func()
	begun   bool          // the goroutine has been started
	over    bool          // nothing is taken any more
	closing chan struct{} // closed by Close
	ended   chan struct{} // closed when the goroutine has ended
	wakeAt  int           // the goroutine sleeps until so many bytes wait; zero: it does not sleep
	wake    chan struct{} // gets one when that is so

	// The goroutine's own.
	spare   []byte // takes turns with waiting
	unsaid  loss   // could not be written, and is not told yet
	midLine bool   // what was written last is the beginning of a line
}

// loss is what was dropped.
type loss struct {
	lines uint64
	since time.Time // when the first was
}

func (l *loss) add(lines uint64, since time.Time) {
	if lines == 0 {
		return
	}
	if l.lines == 0 || since.Before(l.since) {
		l.since = since
	}
	l.lines += lines
}

// NewSink returns a Sink that writes to out.
func NewSink(out io.Writer) *Sink {
	s := &Sink{out: out, wake: make(chan struct{}, 1), closing: make(chan struct{}), ended: make(chan struct{})}
	if f, ok := out.(*os.File); ok {
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			s.chunk = pipeBuf
		}
	}
	return s
}

// Out returns where the Sink writes to.
func (s *Sink) Out() io.Writer { return s.out }

// SetNotice sets what makes the lines that tell of dropped ones. Without it nothing is told.
func (s *Sink) SetNotice(notice func(lines uint64, since time.Time) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notice = notice
}

// AtClose has Close call f before it writes what waits.
func (s *Sink) AtClose(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.atClose = append(s.atClose, f)
}

// Dropped returns how many lines were dropped since the start.
func (s *Sink) Dropped() uint64 { return s.dropped.Load() }

// Write takes whole lines. It never waits and never fails.
func (s *Sink) Write(lines []byte) (int, error) {
	s.mu.Lock()
	if s.over || len(s.waiting)+len(lines) > size {
		s.lost.add(s.count(lines), time.Now())
		s.mu.Unlock()
		return len(lines), nil
	}
	s.waiting = append(s.waiting, lines...)
	wake := s.wakeAt > 0 && len(s.waiting) >= s.wakeAt
	if wake {
		s.wakeAt = 0
	}
	if !s.begun {
		s.begun = true
		go s.run()
	}
	s.mu.Unlock()
	if wake {
		s.wake <- struct{}{} // there is room: what was sent before was received before wakeAt was set
	}
	return len(lines), nil
}

// count counts lines that are dropped.
func (s *Sink) count(lines []byte) uint64 {
	n := uint64(bytes.Count(lines, newline))
	s.dropped.Add(n)
	return n
}

var newline = []byte{'\n'}

func (s *Sink) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// Close writes what waits and returns when that is done, or after limit. The Sink takes
// nothing more.
func (s *Sink) Close(limit time.Duration) {
	s.mu.Lock()
	atClose := s.atClose
	s.atClose = nil
	s.mu.Unlock()
	for _, f := range atClose {
		f()
	}
	s.mu.Lock()
	if !s.isClosing() {
		close(s.closing)
	}
	if !s.begun {
		s.begun, s.over = true, true
		close(s.ended)
	}
	s.mu.Unlock()
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-s.ended:
	case <-late.C:
	}
}

// run writes what comes until the Sink is closed and nothing waits.
func (s *Sink) run() {
	defer close(s.ended)
	pause := time.NewTimer(time.Hour)
	defer pause.Stop()
	for {
		s.sleep(1, nil)
		batch, told, over := s.take()
		rest := batch
		err := s.say(&s.unsaid)
		if err == nil {
			rest, err = s.persist(batch)
		}
		if err == nil {
			err = s.say(&told)
		}
		if err != nil {
			s.unsaid.add(s.count(rest), time.Now())
			s.unsaid.add(told.lines, told.since)
		}
		if over {
			return
		}
		if cap(batch) <= spacious || len(batch) > cap(batch)/4 {
			s.spare = batch[:0]
		}
		if err == nil {
			pause.Reset(gathering)
			s.sleep(much, pause.C)
		} else {
			pause.Reset(retry)
			s.sleep(size+1, pause.C)
		}
	}
}

// say writes a line that tells what was dropped, if anything was.
func (s *Sink) say(l *loss) error {
	s.mu.Lock()
	notice := s.notice
	s.mu.Unlock()
	if l.lines == 0 || notice == nil {
		return nil
	}
	if _, err := s.persist(notice(l.lines, l.since)); err != nil {
		return err
	}
	*l = loss{}
	return nil
}

// sleep returns when enough bytes wait, when over, or when the Sink is closed.
func (s *Sink) sleep(enough int, over <-chan time.Time) {
	s.mu.Lock()
	if len(s.waiting) >= enough || s.isClosing() {
		s.mu.Unlock()
		return
	}
	s.wakeAt = enough
	s.mu.Unlock()
	select {
	case <-s.wake:
		return
	case <-over:
	case <-s.closing:
	}
	s.mu.Lock()
	woken := s.wakeAt == 0
	s.wakeAt = 0
	s.mu.Unlock()
	if woken {
		<-s.wake
	}
}

// take returns what waits and what was dropped since it waits. over reports that nothing
// will come after it.
func (s *Sink) take() (batch []byte, told loss, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch, told = s.waiting, s.lost
	s.waiting, s.spare, s.lost = s.spare, nil, loss{}
	s.over = s.over || len(batch) == 0 && s.isClosing()
	return batch, told, s.over
}

// persist writes whole lines, and tries again where that may help. It returns what could
// not be written.
func (s *Sink) persist(lines []byte) (rest []byte, err error) {
	if len(lines) == 0 {
		return nil, nil
	}
	if s.midLine {
		if _, err := s.out.Write(newline); err != nil {
			return lines, err
		}
		s.midLine = false
	}
	rest, err = s.write(lines)
	for err != nil && s.keeps(err) {
		rest, err = s.write(rest)
	}
	if done := len(lines) - len(rest); done > 0 {
		s.midLine = lines[done-1] != '\n'
	}
	return rest, err
}

// write writes in pieces of whole lines. It returns what could not be written.
func (s *Sink) write(lines []byte) (rest []byte, err error) {
	for len(lines) > 0 {
		n, err := s.out.Write(lines[:s.piece(lines)])
		lines = lines[n:]
		if err != nil {
			return lines, err
		}
	}
	return nil, nil
}

// piece returns how many bytes to write at once.
func (s *Sink) piece(lines []byte) int {
	if s.chunk == 0 || len(lines) <= s.chunk {
		return len(lines)
	}
	if end := bytes.LastIndexByte(lines[:s.chunk], '\n'); end >= 0 {
		return end + 1
	}
	if end := bytes.IndexByte(lines, '\n'); end >= 0 {
		return end + 1 // one line that is longer
	}
	return len(lines)
}

// keeps waits after an error and reports whether to try again with the same lines: a disk may have room
// again, a terminal may come back. A pipe without a reader does not.
func (s *Sink) keeps(err error) bool {
	wait := retry
	switch {
	case errors.Is(err, syscall.EAGAIN): // another process has made the pipe non-blocking
		wait = retrySoon
	case errors.Is(err, syscall.EPIPE), errors.Is(err, os.ErrClosed), s.isClosing():
		return false
	}
	pause := time.NewTimer(wait)
	defer pause.Stop()
	if s.isClosing() {
		<-pause.C // as often as Close has time for
		return true
	}
	select {
	case <-pause.C:
	case <-s.closing:
	}
	return true
}
