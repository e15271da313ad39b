package proxy

import (
	"sync"
	"sync/atomic"
	"time"
)

// drain is how long what is open may go on once an engine stops.
type drain struct {
	limit        time.Duration // of requests and tunnels
	replaced     atomic.Bool
	keepsRunning atomic.Bool   // another edge continues in its place
	finish       chan struct{} // closed by finishing
	finishing    func()
}

func (d *drain) init(limit time.Duration) {
	d.limit, d.finish = limit, make(chan struct{})
	d.finishing = sync.OnceFunc(func() { close(d.finish) })
}

// Replace announces, before Serve's context ends, that another edge of the same process continues in this one's
// place: then open requests, tunnels too, may take as long as they do, until Finish.
func (d *drain) Replace() {
	d.Linger()
	d.replaced.Store(true)
}

// Linger announces, before Serve's context ends, that another edge continues in this one's place, in the same
// process or in a new one, so that there is no hurry.
func (d *drain) Linger() { d.keepsRunning.Store(true) }

// lastGrace is how long a connection that has been served may stay without another
// request. When it is closed a request may just be on its way, and its client cannot
// know whether it has been read: one that may not be repeated is lost. The answer to
// one more says that the connection ends, so where there is no haste that is waited for.
func (d *drain) lastGrace() time.Duration {
	if d.keepsRunning.Load() {
		return lingerGrace
	}
	return idleGrace
}

// firstGrace is how long a connection that has brought no request yet may stay without one. A client that has just
// connected may be slow to send, and cannot send again what it may not repeat if the connection ends before.
func (d *drain) firstGrace() time.Duration {
	if d.keepsRunning.Load() {
		return lingerGrace
	}
	return freshGrace
}

// Finish starts the drain time of an engine that was replaced. It may be called again.
func (d *drain) Finish() { d.finishing() }

// afterGrace calls cut when what is still open has had its time: the drain time from now
// on or, in an engine that was replaced, from Finish on. It does not once stop has returned.
func (d *drain) afterGrace(cut func()) (stop func()) {
	over := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if d.replaced.Load() {
			select {
			case <-d.finish:
			case <-over:
				return
			}
		}
		limit := time.NewTimer(d.limit)
		defer limit.Stop()
		select {
		case <-limit.C:
			cut()
		case <-over:
		}
	})
	return func() {
		close(over)
		waiting.Wait()
	}
}

const (
	// acceptGrace is how long a stopping edge still accepts: the kernel has made these connections already.
	acceptGrace = 5 * time.Millisecond
	// freshGrace is how long a stopping edge waits for the first request on a
	// connection, idleGrace for another, and lingerGrace for either if it need not hurry.
	freshGrace  = time.Second
	idleGrace   = 50 * time.Millisecond
	lingerGrace = 5 * time.Second
)
