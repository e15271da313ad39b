package client

import (
	"context"
	"errors"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// poller is a Driver with a goroutine for each connection.
type poller struct {
	running sync.WaitGroup
	drives  chan struct{} // one for each connection it was told of
	ended   bool
}

func newPoller(t *testing.T) *poller {
	p := &poller{drives: make(chan struct{}, 100)}
	t.Cleanup(p.running.Wait)
	return p
}

func (p *poller) Drive(fd int, read func() bool) bool {
	p.drives <- struct{}{}
	if p.ended {
		_ = unix.Close(fd)
		return false
	}
	p.running.Go(func() {
		defer unix.Close(fd)
		for read() {
			wait := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}
			_, _ = unix.Poll(wait, 100) // who is no driver any more is told nothing
		}
	})
	return true
}

// told is where the answers to Asks go.
type told chan error

func (c told) Answered(_ balance.Grant, err error) { c <- err }

func driven(t *testing.T, m *fakeMaster) (*Client, *poller) {
	t.Helper()
	p := newPoller(t) // whose goroutines end after the client's
	c := start(t, Config{Masters: []string{m.addr()}}, m)
	c.Drive(p)
	pickOne(t, c) // whoever reads the answer hands over
	<-p.drives
	return c, p
}

func pickOne(t *testing.T, c *Client) {
	t.Helper()
	g, err := c.Pick(context.Background(), "p", &balance.Request{})
	if err != nil {
		t.Fatal(err)
	}
	c.Done("p", g.Lease, balance.Outcome{})
}

func TestADriverReadsForAll(t *testing.T) {
	m := startMaster(t, &fakeMaster{})
	c, _ := driven(t, m)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				pickOne(t, c)
			}
		})
	}
	wg.Wait()
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	if c.line.turn != ofDriver {
		t.Errorf("the turn to read is %d, want the driver's", c.line.turn)
	}
}

func TestAsksOfATurnLeaveTogether(t *testing.T) {
	m := startMaster(t, &fakeMaster{})
	c, _ := driven(t, m)
	m.mu.Lock()
	before := m.reads
	m.mu.Unlock()
	answers, asks := make(told, 100), make([]Ask, 100)
	for i := range asks {
		asks[i].To = answers
		if err := c.Ask("p", &balance.Request{}, &asks[i]); err != nil {
			t.Fatal(err)
		}
	}
	c.Flush(clock.Now(), false)
	for range asks {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.reads - before; n > 10 { // dones of before may come by themselves
		t.Errorf("%d asks came in %d reads", len(asks), n)
	}
}

// What is given back rides the next ask, and else leaves once it is time, or by a timer
// before its loop sleeps.
func TestWhatIsGivenBackLeaves(t *testing.T) {
	for name, flush := range map[string]func(c *Client, now balance.Instant){
		"with an ask": func(c *Client, now balance.Instant) {
			a := Ask{To: make(told, 1)}
			if err := c.Ask("p", &balance.Request{}, &a); err != nil {
				t.Error(err)
			}
			c.Flush(now, true)
		},
		"once it is time": func(c *Client, now balance.Instant) { c.Flush(now.Add(linger), true) },
		"before a sleep":  func(c *Client, now balance.Instant) { c.Flush(now, false) },
	} {
		t.Run(name, func(t *testing.T) {
			m := startMaster(t, &fakeMaster{})
			c, _ := driven(t, m)
			now := clock.Now()
			c.GiveBack(now, "p", 77, balance.Outcome{})
			flush(c, now)
			await(m, 1, func(d wire.Done) bool { return d.Lease == 77 })
		})
	}
}

// Whoever stays awake has it wait for its time and no longer.
func TestWhatIsGivenBackWaits(t *testing.T) {
	c, err := New(Config{ID: "e1", Masters: []string{"127.0.0.1:1"}}) // it does not run: nobody else flushes
	if err != nil {
		t.Fatal(err)
	}
	waits := func(now balance.Instant, stays bool) bool {
		c.Flush(now, stays)
		return c.line.returns.Load() != 0
	}
	now := clock.Now()
	c.GiveBack(now, "p", 77, balance.Outcome{})
	c.GiveBack(now.Add(linger/2), "p", 78, balance.Outcome{})
	if !waits(now, true) || !waits(now.Add(linger-1), true) {
		t.Error("it did not wait, though it had time")
	}
	if waits(now.Add(linger), true) {
		t.Error("it waits beyond its time")
	}
	c.GiveBack(now, "p", 79, balance.Outcome{})
	if waits(now, false) {
		t.Error("it waits for somebody who sleeps")
	}
}

func TestAskAnswersALossAndDrivesTheNext(t *testing.T) {
	m := startMaster(t, &fakeMaster{onAsk: func(c *fakeConn, m *wire.Ask) {
		if m.Request.Key != "never" {
			c.grant(m)
		}
	}})
	c, p := driven(t, m)
	answers := make(told, 1)
	a := Ask{To: answers}
	if err := c.Ask("p", &balance.Request{Key: "never"}, &a); err != nil {
		t.Fatal(err)
	}
	c.Flush(clock.Now(), false)
	await(m, 1, func(a wire.Ask) bool { return a.Request.Key == "never" })
	m.cut()
	if err := <-answers; !errors.Is(err, ErrNoMaster) {
		t.Errorf("the answer is %v, want ErrNoMaster", err)
	}
	waitFor(t, "another connection", c.Connected)
	pickOne(t, c)
	<-p.drives
	pickOne(t, c)
}

func TestWithdrawnAsksAreNotAnswered(t *testing.T) {
	m := startMaster(t, &fakeMaster{onAsk: func(*fakeConn, *wire.Ask) {}})
	c := start(t, Config{Masters: []string{m.addr()}}, m)
	a := Ask{To: make(told)} // an answer would block
	if err := c.Ask("p", &balance.Request{}, &a); err != nil {
		t.Fatal(err)
	}
	c.Flush(clock.Now(), false)
	await[wire.Ask](m, 1, nil)
	if !c.Withdraw(&a) {
		t.Error("an ask that waits could not be withdrawn")
	}
	if c.Withdraw(&a) {
		t.Error("it could be withdrawn twice")
	}
	await[wire.Cancel](m, 1, nil)
}

func TestDriversFollowEachOther(t *testing.T) {
	m := startMaster(t, &fakeMaster{})
	c, first := driven(t, m)
	second := newPoller(t)
	c.Drive(second)
	<-second.drives
	pickOne(t, c)
	c.Undrive(first) // it has been followed
	pickOne(t, c)
	c.Undrive(second)
	pickOne(t, c)
	c.line.mu.Lock()
	turn := c.line.turn
	c.line.mu.Unlock()
	if turn == ofDriver {
		t.Error("the turn is still a driver's")
	}
}

func TestADriverThatHasEndedIsNone(t *testing.T) {
	m := startMaster(t, &fakeMaster{})
	p := newPoller(t)
	p.ended = true
	c := start(t, Config{Masters: []string{m.addr()}}, m)
	c.Drive(p)
	pickOne(t, c)
	<-p.drives
	pickOne(t, c)
}

func TestALossIsNoticedWhileDriven(t *testing.T) {
	m := startMaster(t, &fakeMaster{})
	c, _ := driven(t, m)
	m.listener.Close()
	m.cut()
	waitFor(t, "loss", func() bool { return !c.Connected() })
}

func TestAClientThatIsDrivenPartsInGoodOrder(t *testing.T) {
	m := startMaster(t, &fakeMaster{})
	p := newPoller(t)
	c, err := New(Config{Masters: []string{m.addr()}, ID: "edge-a"})
	if err != nil {
		t.Fatal(err)
	}
	c.Drive(p)
	stop := run(t, c.Run)
	waitFor(t, "a connection", c.Connected)
	<-p.drives
	pickOne(t, c)
	stop()
	await[wire.Goodbye](m, 1, nil)
}
