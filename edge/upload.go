package edge

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/http1"
)

// upload brings the rest of a request's body to the server while the response is
// awaited or even passed on.
type upload struct {
	conn     *conn
	up       *upstream
	trailers http1.Trailers
	first    []byte     // what compose made
	body     http1.Body // behind first
	rest     []byte     // what has come in and is not dealt with; at last: of the next request
	over     chan struct{}
	drop     *http1.Names // of its trailers
	last     atomic.Bool  // the last bytes have come from the client
	halting  atomic.Bool  // it is being ended, which looks to it like a client that dawdles

	// Of the goroutine until over is closed.
	sent, took int64 // bytes to the server; bytes from the client
	err        error // the client's fault
	ended      bool  // the body has gone to the server whole
}

// startUpload: the goroutine ends when the body does, or either side's connection is cut.
func (c *conn) startUpload(w *work, u *upstream) {
	l := &upload{conn: c, up: u, first: w.out, body: w.body, rest: w.buf[w.head+w.passed:], over: make(chan struct{}), drop: w.exchange.route.drops.trailers}
	l.trailers.Limits = c.service.listener.limits
	w.out = make([]byte, 0, 2<<10) // the other one is on its way
	w.upload = l
	go func() {
		defer close(l.over)
		l.run()
	}()
}

// done reports whether the body has gone whole. It gives a moment to an upload whose
// last bytes are on their way, or have just been answered.
func (l *upload) done() bool {
	select {
	case <-l.over:
		return l.ended
	default:
	}
	if !l.last.Load() {
		return false
	}
	select {
	case <-l.over:
	case <-time.After(lastMoment):
		return false
	}
	return l.ended
}

const lastMoment = 50 * time.Millisecond

// halt ends the upload and returns when it has.
func (l *upload) halt() {
	select {
	case <-l.over:
		return
	default:
	}
	l.halting.Store(true)
	l.up.cut()
	l.conn.cut()
	<-l.over
	l.conn.mend()
}

// stopUpload ends the upload, if there is one, and returns what the client did wrong.
func (c *conn) stopUpload(w *work) error {
	if w.upload == nil {
		return nil
	}
	w.upload.halt()
	err := w.upload.err
	if w.recall.left() {
		c.cut() // if the halt has taken it back
		return nil
	}
	w.upload = nil
	return err
}

func (l *upload) run() {
	n, err := l.up.Write(l.first)
	l.sent = int64(n)
	if err != nil {
		return // the server may have answered early; whoever reads from it will see
	}
	switch err := l.pass(); {
	case err == errTakesNoMore:
		return
	case err != nil:
		if !l.halting.Load() || !errors.Is(err, os.ErrDeadlineExceeded) {
			l.err = err
		}
		if !isFault(err) && !errors.Is(err, os.ErrDeadlineExceeded) {
			l.conn.leave()
		}
		l.up.cut()
		return
	}
	l.ended = true
	l.conn.watched.Store(true)
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	if wait := l.conn.service.edge.cfg.ResponseTimeout; wait > 0 && !l.up.answered {
		l.up.readUntil(time.Now().Add(wait))
	}
}

// errTakesNoMore says that it is not the client's fault.
var errTakesNoMore = errors.New("the server takes no more")

func isFault(err error) bool {
	var bad http1.Error
	return errors.As(err, &bad)
}

// pass moves the body.
func (l *upload) pass() error {
	buf := make([]byte, bodyRoom)
	for !l.body.Done() {
		if l.body.AtTrailers() {
			return l.passTrailers()
		}
		if moved, err := l.splice(); moved || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		n, err := l.conn.Read(buf)
		if n == 0 && err != nil {
			return err
		}
		l.took += int64(n)
		good, err := l.body.Pass(buf[:n])
		if err != nil {
			return err
		}
		l.rest = buf[good:n]
		l.last.Store(l.body.Done())
		if err := l.send(buf[:good]); err != nil {
			return err
		}
	}
	return nil
}

func (l *upload) send(p []byte) error {
	n, err := l.up.Write(p)
	l.sent += int64(n)
	if err != nil {
		return errTakesNoMore
	}
	return nil
}

// splice moves a long run of data inside the kernel; false: there is none, or it cannot.
func (l *upload) splice() (moved bool, err error) {
	run := l.body.Run()
	if run < spliceMin || l.conn.raw == nil || l.up.raw == nil {
		return false, nil
	}
	p := l.conn.service.pipes.take()
	if p == nil {
		return false, nil
	}
	readErr, writeErr := move(p, &l.up.side, &l.conn.side, run, func(n int64) {
		l.took += n
		l.sent += n
		l.body.Skip(n)
	})
	l.conn.service.pipes.put(p, writeErr == nil)
	if writeErr != nil {
		l.took++ // what is in the pipe is lost
		return true, errTakesNoMore
	}
	return true, readErr
}

func (l *upload) passTrailers() error {
	for {
		n, err := l.body.ReadTrailers(&l.trailers, l.rest)
		if err != nil {
			return err
		}
		if n > 0 {
			out := l.trailers.Append(nil, l.rest, l.drop)
			l.rest = l.rest[n:]
			l.last.Store(true)
			return l.send(out)
		}
		if err := l.readTrailers(); err != nil {
			return err
		}
	}
}

// readTrailers reads more of them; their parser bounds how much.
func (l *upload) readTrailers() error {
	grown := make([]byte, len(l.rest)+1<<10)
	at := copy(grown, l.rest)
	n, err := l.conn.Read(grown[at:])
	l.took += int64(n)
	l.rest = grown[:at+n]
	if n > 0 {
		return nil
	}
	return err
}
