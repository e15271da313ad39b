//go:build !linux || evenkeel_portable

package fd

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// CopyListener returns n FDs by which n goroutines accept the connections of one listener. Closing
// them does not close it, but one without SetDeadline is closed when none of them is watched any more.
func CopyListener(l net.Listener, n int) ([]*FD, error) {
	a := &acceptor{l: l, more: make(chan struct{}, 1), ended: make(chan struct{})}
	copies := make([]*FD, n)
	for i := range copies {
		d := &door{a: a}
		a.doors = append(a.doors, d)
		copies[i] = &FD{at: d}
	}
	a.open = n
	return copies, nil
}

// acceptor accepts one connection ahead, on a goroutine of its own, for the doors that share a listener.
type acceptor struct {
	l     net.Listener
	doors []*door // set once
	more  chan struct{}
	ended chan struct{} // closed when the goroutine has ended

	waiting atomic.Int32 // len(queue)

	mu       sync.Mutex
	queue    []accepted
	watching int // doors
	open     int // doors
	stopping bool
}

// accepted is how an accept came out.
type accepted struct {
	conn net.Conn
	err  error // nil: conn
}

// door is one FD of a listener.
type door struct {
	watched
	a *acceptor
}

// state implements endpoint.
func (d *door) state() uint32 {
	if d.a.waiting.Load() > 0 {
		return Readable
	}
	return 0
}

// start implements endpoint.
func (d *door) start(p *Poller) {
	a := d.a
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.watching++; a.watching == 1 && !a.stopping {
		p.running.Go(a.accept)
	}
}

// accept accepts until the listener is closed, or it is told to stop.
func (a *acceptor) accept() {
	defer close(a.ended)
	for {
		switch conn, err := a.l.Accept(); {
		case err != nil && a.isStopping():
			a.acceptRest()
			return
		case errors.Is(err, net.ErrClosed):
			a.put(accepted{conn, err})
			return
		default:
			a.put(accepted{conn, err})
		}
		for a.waits() {
			<-a.more
		}
	}
}

// restWait is for how long an acceptor that is to stop waits for connections that the system has made. It does so
// twice, for an Accept that begins behind its deadline takes none.
const restWait = 5 * time.Millisecond

// deadliner is a listener whose Accept can be ended without closing it.
type deadliner interface{ SetDeadline(time.Time) error }

// acceptRest accepts what the system has made already.
func (a *acceptor) acceptRest() {
	l, ok := a.l.(deadliner)
	for range 2 {
		if !ok || l.SetDeadline(time.Now().Add(restWait)) != nil {
			return // it is closed
		}
		for conn, err := a.l.Accept(); err == nil; conn, err = a.l.Accept() {
			a.put(accepted{conn, nil})
		}
	}
	_ = l.SetDeadline(time.Time{}) // for the next who accepts
}

func (a *acceptor) isStopping() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stopping
}

// put puts an accepted connection, or an error, where the doors find it.
func (a *acceptor) put(c accepted) {
	a.mu.Lock()
	a.queue = append(a.queue, c)
	a.waiting.Store(int32(len(a.queue)))
	a.mu.Unlock()
	for _, d := range a.doors {
		d.mu.Lock()
		d.tell()
		d.mu.Unlock()
	}
}

// waits reports whether nothing is to be accepted for now. One that is to stop takes all there are.
func (a *acceptor) waits() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.queue) > 0 && !a.stopping
}

// stop implements endpoint: the last door that is not watched any more has the goroutine end. What has been accepted
// until then can still be had.
func (d *door) stop() {
	a := d.a
	a.mu.Lock()
	a.watching--
	last := a.watching == 0
	a.stopping = a.stopping || last
	a.mu.Unlock()
	if !last {
		return
	}
	if l, ok := a.l.(deadliner); !ok || l.SetDeadline(time.Unix(1, 0)) != nil {
		_ = a.l.Close() // which ends the accept under way
	}
	wake(a.more)
	<-a.ended
}

// close implements endpoint.
func (d *door) close() {
	d.mu.Lock()
	watched := d.watch != nil
	d.watch = nil
	d.mu.Unlock()
	if watched {
		d.stop()
	}
	a := d.a
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open--; a.open > 0 {
		return
	}
	for _, c := range a.queue { // they will not be taken
		if c.conn != nil {
			_ = c.conn.Close()
		}
	}
	a.queue = nil
	a.waiting.Store(0)
}

// Accept takes a connection from a listener's queue.
func (f *FD) Accept() (FD, netip.AddrPort, error) {
	d, ok := f.at.(*door)
	if !ok {
		return FD{}, netip.AddrPort{}, ErrClosed
	}
	c := d.a.take()
	if c.err != nil {
		return FD{}, netip.AddrPort{}, c.err
	}
	return FD{at: newStream(c.conn)}, addressOf(c.conn.RemoteAddr()), nil
}

func (a *acceptor) take() accepted {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) == 0 {
		return accepted{err: syscall.EAGAIN}
	}
	c := a.queue[0]
	a.queue = a.queue[1:]
	a.waiting.Store(int32(len(a.queue)))
	wake(a.more)
	return c
}
