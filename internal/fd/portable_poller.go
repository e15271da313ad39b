//go:build !linux || evenkeel_portable

package fd

import (
	"sync"
	"time"
)

// Event is what a Poller tells of a descriptor.
type Event struct {
	Events           uint32
	slot, generation int32
}

// Slot returns the slot that the descriptor was registered with.
func (e *Event) Slot() int32 { return e.slot }

// Generation returns the generation that the descriptor was registered with.
func (e *Event) Generation() int32 { return e.generation }

// What Add registers for and events tell of.
const (
	Readable      = 1 << iota
	Writable      //
	PeerClosed    // the peer has closed its side; told if asked for
	HungUp        // both sides are closed; told always
	Failed        // the connection is broken; told always
	EdgeTriggered // as all events are
	Exclusive     // an event of a listener is told to all its FDs here, whatever is asked for
)

// What this implementation has.
const (
	// OwnThread is set if a Poller and a Batch want a thread that their goroutine is locked to.
	OwnThread = false
	// ReadsAhead is set if what has come to a connection may not have been told yet, though an event that came later has.
	ReadsAhead = true
	// CanSplice is set if bytes can move from one socket to another inside the kernel.
	CanSplice = false
)

// Poller waits for the events of many descriptors on behalf of one goroutine. Add and Remove are for any goroutine.
//
// What is registered is told of by a slot and a generation, which the owner of the Poller chooses. An event says what is
// so when it is taken, and is told anew whenever bytes or the peer's end come, or there is room again after
// EAGAIN. Of a descriptor that was closed or removed nothing is told.
type Poller struct {
	Eager bool // it does not matter here

	running sync.WaitGroup // goroutines of what it watches

	wake chan struct{} // capacity 1: told is not empty, perhaps

	mu        sync.Mutex
	open      bool
	told      []*watch // to be looked at
	spare     []*watch // takes turns with told
	lingering map[*stream]struct{}
	settled   chan struct{} // closed when nothing lingers any more; nil: not waited for
}

// Open makes the set.
func (p *Poller) Open() error {
	p.open, p.wake, p.lingering = true, make(chan struct{}, 1), make(map[*stream]struct{})
	return nil
}

// lingerMost is how long Close waits for what closed descriptors still have to send.
const lingerMost = 5 * time.Second

// Close closes the set, once all that it watched is closed, and returns when what they had to send has gone, or
// after lingerMost.
func (p *Poller) Close() {
	p.mu.Lock()
	p.open, p.told = false, nil
	settled := make(chan struct{})
	if p.settled = settled; len(p.lingering) == 0 {
		close(settled)
		p.settled = nil
	}
	p.mu.Unlock()
	select {
	case <-settled:
	case <-time.After(lingerMost):
		p.cutLingering()
	}
	p.running.Wait()
}

func (p *Poller) cutLingering() {
	p.mu.Lock()
	p.settled = nil
	left := p.lingering
	p.lingering = nil
	p.mu.Unlock()
	for s := range left {
		s.cut()
	}
}

// linger says that a closed stream still has something to send, or has no more.
func (p *Poller) linger(s *stream, begins bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if begins {
		if p.lingering != nil {
			p.lingering[s] = struct{}{}
		}
		return
	}
	delete(p.lingering, s)
	if len(p.lingering) == 0 && p.settled != nil {
		close(p.settled)
		p.settled = nil
	}
}

// Add has the set tell of a descriptor's events.
func (p *Poller) Add(f *FD, events uint32, slot, generation int32) error {
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	if !open || f.at == nil {
		return ErrClosed
	}
	e := f.at.registration()
	f.at.start(p)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.watch = &watch{of: f.at, poller: p, events: events | HungUp | Failed, slot: slot, generation: generation}
	if f.at.state()&e.watch.events != 0 {
		e.tell()
	}
	return nil
}

// Remove has it tell of nothing more.
func (p *Poller) Remove(f *FD) error {
	if f.at == nil {
		return ErrClosed
	}
	e := f.at.registration()
	e.mu.Lock()
	was := e.watch != nil
	e.watch = nil
	e.mu.Unlock()
	if was {
		f.at.stop()
	}
	return nil
}

// post has the set look at what is watched. The watch is queued.
func (p *Poller) post(w *watch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open {
		p.told = append(p.told, w)
		wake(p.wake)
	}
}

// Look returns how many events there are, which it puts into events. It returns at once.
func (p *Poller) Look(events []Event) int {
	p.mu.Lock()
	n := min(len(p.told), len(events))
	told := append(p.spare[:0], p.told[:n]...)
	rest := copy(p.told, p.told[n:])
	clear(p.told[rest:])
	p.told = p.told[:rest]
	if rest > 0 {
		wake(p.wake)
	}
	p.mu.Unlock()
	found := 0
	for i, w := range told {
		if what := w.look(); what != 0 {
			events[found] = Event{what, w.slot, w.generation}
			found++
		}
		told[i] = nil
	}
	p.spare = told
	return found
}

// look returns what there is to be told; zero: nothing, or it is watched no more.
func (w *watch) look() uint32 {
	e := w.of.registration()
	e.mu.Lock()
	defer e.mu.Unlock()
	w.queued = false
	if e.watch != w {
		return 0
	}
	return w.of.state() & w.events
}

// Wait is Look that returns when there is an event, after timeout milliseconds (less than zero: without a
// limit), or now and then with none.
func (p *Poller) Wait(events []Event, timeout int) int {
	var over <-chan time.Time
	if timeout >= 0 {
		timer := time.NewTimer(time.Duration(timeout) * time.Millisecond)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-p.wake:
	case <-over:
	}
	return p.Look(events)
}

// bell is a bell's FD.
type bell struct {
	watched
	rings bool
}

// NewBell returns an FD that, registered in a Poller, wakes the goroutine that waits there. Any goroutine may ring it as
// long as it is not closed.
func NewBell() (FD, error) { return FD{at: new(bell)}, nil }

// Ring makes a bell readable.
func (f *FD) Ring() { f.ring(true) }

// Silence makes it readable no more.
func (f *FD) Silence() { f.ring(false) }

func (f *FD) ring(rings bool) {
	if b, ok := f.at.(*bell); ok {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.rings = rings; rings {
			b.tell()
		}
	}
}

func (b *bell) state() uint32 {
	if b.rings {
		return Readable
	}
	return 0
}

func (*bell) start(*Poller) {}
func (*bell) stop()         {}

func (b *bell) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watch = nil
}
