//go:build linux

package main

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// hub is the thread that is backend and, when told to, generator: one wait for both, so
// that the processor they share is not spent on changing from one to the other, and full
// only when a proxy is.
type hub struct {
	backend
	epfd   int
	wake   int // written to when there is an order
	orders chan *drive
	now    *drive // the generator's work; nil: none
	buf    []byte
}

// Marks tell what an event is of.
const (
	ofListener int32 = iota
	ofWake
	ofServing // the backend's connections
	ofAsking  // the generator's
)

// pause is how long a generator that found nothing stays in user space before it looks
// again. It never sleeps: waking a sender that sleeps is an interrupt to another
// processor, which the proxy pays for here and which on a network happens on other
// machines. And it does not look all the time: looking takes the epoll's lock, which
// the proxy's sends need, and without a pause each send costs a fifth more. A lone
// client's answer is waited for without one: nothing else is sent that a look could
// delay, and half of a pause would be in all that it measures.
const pause = 20 * time.Microsecond

// silence is how long nothing may come. A machine that does other things besides takes
// its time.
const silence = 10 * time.Second

func newHub() (*hub, error) {
	h := &hub{backend: newBackend(), orders: make(chan *drive, 1), buf: make([]byte, 256<<10)}
	var err error
	if h.epfd, err = unix.EpollCreate1(0); err != nil {
		return nil, err
	}
	if h.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK); err != nil {
		return nil, err
	}
	if err = h.backend.open(); err != nil {
		return nil, err
	}
	if err = watch(h.epfd, h.wake, unix.EPOLLIN, 0, ofWake); err != nil {
		return nil, err
	}
	return h, watch(h.epfd, h.listener, unix.EPOLLIN, 0, ofListener)
}

func (h *hub) run() {
	runtime.LockOSThread()
	events := make([]unix.EpollEvent, 512)
	for {
		n := h.wait(events)
		now := time.Now()
		for _, ev := range events[:n] {
			h.ready(ev, now)
		}
		if h.now != nil {
			h.judge(n > 0, now)
		}
	}
}

// wait sleeps only as long as the generator has nothing to do.
func (h *hub) wait(events []unix.EpollEvent) int {
	if h.now == nil {
		n, err := unix.EpollWait(h.epfd, events, -1)
		if err == unix.EINTR {
			return 0
		}
		must(err)
		return n
	}
	n := look(h.epfd, events)
	if n == 0 && len(h.now.clients) > 1 {
		rest()
	}
	return n
}

func rest() {
	for begin := time.Now(); time.Since(begin) < pause; {
	}
}

func (h *hub) ready(ev unix.EpollEvent, now time.Time) {
	switch ev.Pad {
	case ofListener:
		h.accept(h.epfd)
	case ofWake:
		_, _ = unix.Read(h.wake, h.buf[:8])
		h.begin(<-h.orders, now)
	case ofServing:
		h.answer(int(ev.Fd), h.buf)
	case ofAsking:
		if h.now == nil {
			return // the work ended with an event of the same wait
		}
		if err := h.now.ready(h.now.clients[ev.Fd], h.buf, now); err != nil {
			h.finish(err, now)
		}
	}
}

func (h *hub) begin(d *drive, now time.Time) {
	h.now, d.begin, d.heard = d, now, now
	for i, c := range d.clients {
		err := watch(h.epfd, c.fd, d.events(), int32(i), ofAsking)
		if err == nil {
			err = c.ask(d.request, now)
		}
		if err != nil {
			h.finish(err, now)
			return
		}
	}
}

// judge ends the generator's work when its time is over, or when nothing comes.
func (h *hub) judge(heard bool, now time.Time) {
	d := h.now
	switch {
	case now.Sub(d.begin) >= d.For && len(d.took) > 0:
		h.finish(nil, now)
	case heard:
		d.heard = now
	case now.Sub(d.heard) > silence:
		h.finish(fmt.Errorf("nothing came for %v", silence), now)
	}
}

func (h *hub) finish(err error, now time.Time) {
	d := h.now
	h.now = nil
	d.close()
	d.end, d.err = now, err
	close(d.done)
}
