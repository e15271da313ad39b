package kept

import (
	"container/list"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// State is how far a request is.
type State uint8

const (
	Receiving State = iota // its body is being read
	Waiting                // for a server
	Running                // a server has it
	Done                   // there is an answer
	Failed                 // there is none
	states
)

var stateNames = [states]string{"receiving", "waiting", "running", "done", "failed"}

func (s State) String() string { return stateNames[s] }

// Over reports whether nothing more is done for the request.
func (s State) Over() bool { return s >= Done }

// Request is a kept request. Fields without a mutex belong to the goroutine that carries it out, until it is over.
type Request struct {
	Token  Token
	ID     string // of the request, for people
	Body   blob   // as it came, chunk sizes included
	Answer blob   // a head of HTTP/1.1, and the body without framing
	store  *Store
	client balance.ClientPrefix
	keep   time.Duration

	// Guarded by store.mu.
	state     State
	openedAt  balance.Instant
	runningAt balance.Instant // when a server had it last; zero: none has
	endedAt   balance.Instant
	place     place
	status    int           // of the answer
	reason    string        // why there is none
	cancel    func()        // nil: nothing is to be ended
	gone      bool          // no client can reach it any more
	left      bool          // its loop has left it
	readers   int           // of the answer
	inOver    *list.Element // of store.over; nil: it is not in it
}

// place is where a request stands in the master's queue.
type place struct {
	position int             // 1 is next; zero: unknown
	startAt  balance.Instant // when a server is expected to have it; zero: unknown
}

// Status is what may be told of a request.
type Status struct {
	State         State
	ID            string
	Position      int           // 1 is next; zero: unknown
	ExpectedStart time.Duration // from now on; zero: unknown
	Waited        time.Duration // until a server had it, or until now
	Ran           time.Duration // since a server has it
	Status        int           // of the answer; zero: there is none
	Reason        string        // why there is none
	Bytes         int64         // of the answer, head included
	ExpiresIn     time.Duration // of what is over; zero: it is not
}

func (r *Request) statusLocked(now balance.Instant) Status {
	s := Status{State: r.state, ID: r.ID, Status: r.status, Reason: r.reason}
	until := now
	if r.state.Over() {
		until, s.ExpiresIn = r.endedAt, r.endedAt.Add(r.keep).Sub(now)
	}
	switch {
	case r.runningAt != 0:
		s.Waited, s.Ran = r.runningAt.Sub(r.openedAt), until.Sub(r.runningAt)
	default:
		s.Waited = until.Sub(r.openedAt)
	}
	if r.state == Waiting {
		s.Position = r.place.position
		if r.place.startAt > now {
			s.ExpectedStart = r.place.startAt.Sub(now)
		}
	}
	if r.state == Done {
		s.Bytes = r.Answer.size
	}
	return s
}

// Received records that the body is whole. cancel ends the request when its client asks for that; it is called without
// locks, on any goroutine.
func (r *Request) Received(id string, cancel func()) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	r.ID, r.cancel = id, cancel
	r.state = Waiting
}

// Wait records that a server is being waited for.
func (r *Request) Wait() {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if !r.state.Over() {
		r.state, r.place, r.runningAt = Waiting, place{}, 0
	}
}

// Stand records where the request stands in the queue; wait is how long a server is expected to take from now on, zero:
// unknown.
func (r *Request) Stand(now balance.Instant, position int, wait time.Duration) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if r.place = (place{position: position}); wait > 0 {
		r.place.startAt = now.Add(wait)
	}
}

// Run records that a server has it.
func (r *Request) Run(now balance.Instant) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if !r.state.Over() {
		r.state, r.runningAt = Running, now
	}
}

// Finish records that Answer is complete.
func (r *Request) Finish(now balance.Instant, status int) { r.end(now, Done, EndDone, status, "") }

// Fail records that there will be no answer.
func (r *Request) Fail(now balance.Instant, reason string) { r.end(now, Failed, EndFailed, 0, reason) }

func (r *Request) end(now balance.Instant, to State, as End, status int, reason string) {
	s := r.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.state.Over() {
		return
	}
	r.state, r.endedAt, r.status, r.reason, r.cancel = to, now, status, reason, nil
	if !r.gone {
		s.ended[as]++
		r.inOver = s.over.PushBack(r)
	}
	if to == Failed {
		r.Answer.freeLocked()
	}
}

// Drop takes a request out that was never carried out.
func (r *Request) Drop() {
	s := r.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(r)
	r.left = true
	r.freeLocked()
}

// Leave records that the goroutine that has carried the request out uses it no more.
func (r *Request) Leave() {
	s := r.store
	s.mu.Lock()
	defer s.mu.Unlock()
	r.left = true
	r.freeLocked()
}

// ReleaseBody frees the body.
func (r *Request) ReleaseBody() {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	r.Body.freeLocked()
}

// freeLocked frees what no client can use any more.
func (r *Request) freeLocked() {
	if r.left {
		r.Body.freeLocked()
	}
	if r.left && r.gone && r.readers == 0 {
		r.Answer.freeLocked()
	}
}

// Reader reads an answer, also while its request is dropped.
type Reader struct{ request *Request }

// Size returns the answer's bytes, head included.
func (d *Reader) Size() int64 { return d.request.Answer.size }

// ReadAt reads as io.ReaderAt does.
func (d *Reader) ReadAt(p []byte, off int64) (int, error) { return d.request.Answer.ReadAt(p, off) }

// Close frees the answer if its request has gone. It may be called once.
func (d *Reader) Close() {
	s := d.request.store
	s.mu.Lock()
	defer s.mu.Unlock()
	d.request.readers--
	d.request.freeLocked()
}
