//go:build !evenkeel_portable

package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
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

func (p *poller) PollConn(descriptor *fd.FD, read func() bool) bool {
	p.drives <- struct{}{}
	if p.ended {
		return false
	}
	own, set := descriptor.Move(), new(fd.Poller)
	if set.Open() != nil || set.Add(&own, unix.EPOLLIN|unix.EPOLLRDHUP, 0, 0) != nil {
		own.Close()
		set.Close()
		return false
	}
	p.running.Go(func() {
		defer own.Close()
		defer set.Close()
		for read() {
			set.Wait(make([]fd.Event, 1), -1) // it ends with the connection
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
	c := start(t, Config{Masters: []string{m.addr()}, TLS: m.clientTLS}, m)
	c.Poll(p)
	pickOne(t, c) // the reader of the answer hands over
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

// overBoth runs a test over a plain connection and over TLS.
func overBoth(t *testing.T, test func(t *testing.T, start func(*fakeMaster) *fakeMaster)) {
	t.Run("plain", func(t *testing.T) {
		test(t, func(m *fakeMaster) *fakeMaster { return startMaster(t, m) })
	})
	t.Run("TLS", func(t *testing.T) {
		test(t, func(m *fakeMaster) *fakeMaster { return startTLSMaster(t, m) })
	})
}

func TestADriverReadsForAll(t *testing.T) { overBoth(t, testADriverReadsForAll) }

func testADriverReadsForAll(t *testing.T, start func(*fakeMaster) *fakeMaster) {
	m := start(&fakeMaster{})
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
	c.loop.mu.Lock()
	defer c.loop.mu.Unlock()
	if c.loop.turn != turnPoller {
		t.Errorf("the turn to read is %d, want the driver's", c.loop.turn)
	}
}

func TestAsksOfATurnLeaveTogether(t *testing.T) { overBoth(t, testAsksOfATurnLeaveTogether) }

func testAsksOfATurnLeaveTogether(t *testing.T, start func(*fakeMaster) *fakeMaster) {
	m := start(&fakeMaster{})
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
		"once it is time": func(c *Client, now balance.Instant) { c.Flush(now.Add(flushDelay), true) },
		"before a sleep":  func(c *Client, now balance.Instant) { c.Flush(now, false) },
	} {
		t.Run(name, func(t *testing.T) {
			m := startMaster(t, &fakeMaster{})
			c, _ := driven(t, m)
			now := clock.Now()
			c.ReturnLease(now, "p", 77, balance.Outcome{})
			flush(c, now)
			await(m, 1, func(d wire.Done) bool { return d.Lease == 77 })
		})
	}
}

// A caller that stays awake has it wait for its time and no longer.
func TestWhatIsGivenBackWaits(t *testing.T) {
	c, err := New(Config{ID: "e1", Masters: []string{"127.0.0.1:1"}}) // it does not run: nothing else flushes
	if err != nil {
		t.Fatal(err)
	}
	waits := func(now balance.Instant, stays bool) bool {
		c.Flush(now, stays)
		return c.loop.donesDue.Load() != 0
	}
	now := clock.Now()
	c.ReturnLease(now, "p", 77, balance.Outcome{})
	c.ReturnLease(now.Add(flushDelay/2), "p", 78, balance.Outcome{})
	if !waits(now, true) || !waits(now.Add(flushDelay-1), true) {
		t.Error("it did not wait, though it had time")
	}
	if waits(now.Add(flushDelay), true) {
		t.Error("it waits beyond its time")
	}
	c.ReturnLease(now, "p", 79, balance.Outcome{})
	if waits(now, false) {
		t.Error("it waits for a caller that sleeps")
	}
}

func TestAskAnswersALossAndDrivesTheNext(t *testing.T) {
	overBoth(t, testAskAnswersALossAndDrivesTheNext)
}

func testAskAnswersALossAndDrivesTheNext(t *testing.T, start func(*fakeMaster) *fakeMaster) {
	m := start(&fakeMaster{onAsk: func(c *fakeConn, m *wire.Ask) {
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

func TestDriversFollowEachOther(t *testing.T) { overBoth(t, testDriversFollowEachOther) }

func testDriversFollowEachOther(t *testing.T, start func(*fakeMaster) *fakeMaster) {
	m := start(&fakeMaster{})
	c, first := driven(t, m)
	second := newPoller(t)
	c.Poll(second)
	<-second.drives
	pickOne(t, c)
	c.Unpoll(first) // it has been followed
	pickOne(t, c)
	c.Unpoll(second)
	pickOne(t, c)
	c.loop.mu.Lock()
	turn := c.loop.turn
	c.loop.mu.Unlock()
	if turn == turnPoller {
		t.Error("the turn is still a driver's")
	}
}

func TestADriverThatHasEndedIsNone(t *testing.T) {
	m := startMaster(t, &fakeMaster{})
	p := newPoller(t)
	p.ended = true
	c := start(t, Config{Masters: []string{m.addr()}}, m)
	c.Poll(p)
	pickOne(t, c)
	<-p.drives
	pickOne(t, c)
}

func TestALossIsNoticedWhileDriven(t *testing.T) { overBoth(t, testALossIsNoticedWhileDriven) }

func testALossIsNoticedWhileDriven(t *testing.T, start func(*fakeMaster) *fakeMaster) {
	m := start(&fakeMaster{})
	c, _ := driven(t, m)
	m.listener.Close()
	m.cut()
	waitFor(t, "loss", func() bool { return !c.Connected() })
}

func TestAClientThatIsDrivenPartsInGoodOrder(t *testing.T) {
	overBoth(t, testAClientThatIsDrivenPartsInGoodOrder)
}

func testAClientThatIsDrivenPartsInGoodOrder(t *testing.T, start func(*fakeMaster) *fakeMaster) {
	m := start(&fakeMaster{})
	p := newPoller(t)
	c, err := New(Config{Masters: []string{m.addr()}, ID: "edge-a", TLS: m.clientTLS})
	if err != nil {
		t.Fatal(err)
	}
	c.Poll(p)
	stop := run(t, c.Run)
	waitFor(t, "a connection", c.Connected)
	<-p.drives
	pickOne(t, c)
	stop()
	await[wire.Goodbye](m, 1, nil)
}

// idleClient returns a connected client whose ticks never come and whose connection no goroutine
// reads: whatever is read from now on is read for another reason than the time.
func idleClient(t *testing.T, m *fakeMaster, readable bool) *Client {
	t.Helper()
	c, err := New(Config{ID: "edge-a", Masters: []string{m.addr()}, TLS: m.clientTLS})
	if err != nil {
		t.Fatal(err)
	}
	c.proto.tick, c.loop.mayBlockThread = time.Hour, readable
	run(t, c.Run)
	waitFor(t, "connection that is not read", func() bool {
		c.loop.mu.Lock()
		defer c.loop.mu.Unlock()
		return c.loop.conn != nil && c.loop.turn == turnFree
	})
	return c
}

func drivenWithoutTicks(t *testing.T, m *fakeMaster) *Client {
	t.Helper()
	p := newPoller(t)
	c := idleClient(t, m, true)
	c.Poll(p)
	pickOne(t, c)
	<-p.drives
	return c
}

// No timer decides when an answer is read, whichever reads it: the client's goroutine
// for want of a driver, or a driver.
func TestAnswersAreReadWithoutATick(t *testing.T) {
	overBoth(t, func(t *testing.T, start func(*fakeMaster) *fakeMaster) {
		for name, setUp := range map[string]func(*testing.T, *fakeMaster) *Client{
			"no driver":                    func(t *testing.T, m *fakeMaster) *Client { return idleClient(t, m, true) },
			"a connection for the library": func(t *testing.T, m *fakeMaster) *Client { return idleClient(t, m, false) },
			"a driver":                     drivenWithoutTicks,
		} {
			t.Run(name, func(t *testing.T) {
				c := setUp(t, start(&fakeMaster{}))
				for range 100 {
					askOne(t, c)
				}
			})
		}
	})
}

// askOne asks as a loop does, and waits for the answer.
func askOne(t *testing.T, c *Client) {
	t.Helper()
	a := Ask{To: make(told, 1)}
	if err := c.Ask("p", &balance.Request{}, &a); err != nil {
		t.Fatal(err)
	}
	c.Flush(clock.Now(), false)
	select {
	case err := <-a.To.(told):
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("an answer that has come is not read")
	}
}

// Records that come byte by byte, and many at once, are all read.
func TestADriverReadsRecordsHoweverTheyCome(t *testing.T) {
	many := strings.Repeat("s", wire.MaxName)
	onAsk := func(c *fakeConn, m *wire.Ask) {
		for i := range m.Request.Priority { // answers to asks that were not made
			c.out = (&wire.Granted{Seq: 1 << 40, Grant: balance.Grant{Lease: balance.LeaseID(i + 1), Server: balance.ServerID(many), Address: "127.0.0.1:1"}}).Append(c.out, 1)
		}
		c.grant(m)
	}
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"byte by byte": func(c net.Conn) net.Conn { return trickle{c} },
		"many at once": func(c net.Conn) net.Conn { return &gathering{Conn: c} },
	} {
		t.Run(name, func(t *testing.T) {
			m := startTLSMaster(t, &fakeMaster{onAsk: onAsk}, wrap)
			c := drivenWithoutTicks(t, m)
			for i := range 40 {
				a := Ask{To: make(told, 1)}
				if err := c.Ask("p", &balance.Request{Priority: i * 20}, &a); err != nil {
					t.Fatal(err)
				}
				c.Flush(clock.Now(), false)
				if err := <-a.To.(told); err != nil {
					t.Fatal(err)
				}
			}
			c.loop.mu.Lock()
			defer c.loop.mu.Unlock()
			if c.loop.turn != turnPoller {
				t.Errorf("the turn to read is %d, want the driver's", c.loop.turn)
			}
		})
	}
}

// trickle writes short writes byte by byte, and long ones in uneven pieces.
type trickle struct{ net.Conn }

func (c trickle) Write(p []byte) (n int, err error) {
	size := 1 + len(p)/97
	for n < len(p) && err == nil {
		var m int
		m, err = c.Conn.Write(p[n:min(len(p), n+size)])
		n += m
	}
	return n, err
}

// gathering sends what TLS writes only when TLS reads again: many records in one write.
type gathering struct {
	net.Conn
	gathered []byte
}

func (c *gathering) Write(p []byte) (int, error) {
	c.gathered = append(c.gathered, p...)
	return len(p), nil
}

func (c *gathering) Read(p []byte) (int, error) {
	if _, err := c.Conn.Write(c.gathered); err != nil {
		return 0, err
	}
	c.gathered = c.gathered[:0]
	return c.Conn.Read(p)
}

// What a master does not read at once is kept, whole and in order, and sent when it reads.
func TestAsksThatDoNotGoAtOnceGoLater(t *testing.T) { overBoth(t, testAsksThatDoNotGoAtOnceGoLater) }

func testAsksThatDoNotGoAtOnceGoLater(t *testing.T, start func(*fakeMaster) *fakeMaster) {
	reads := make(chan struct{})
	m := start(&fakeMaster{atOnce: 4 << 10, onAsk: func(c *fakeConn, m *wire.Ask) {
		if m.Request.Key != "" {
			<-reads
		}
		c.grant(m)
	}})
	c := drivenWithoutTicks(t, m)
	await[wire.Done](m, 1, nil) // of the pick before, so that nothing else writes
	answers, asked, key := make(told, 1<<15), 0, strings.Repeat("k", 1000)
	for stuck := false; !stuck; { // sockets may take some millions of bytes
		for c.Ask("p", &balance.Request{Key: fmt.Sprint(asked, key)}, &Ask{To: answers}) == nil { // until it refuses what it cannot keep
			asked++
		}
		c.Flush(clock.Now(), false)
		c.loop.mu.Lock()
		stuck = c.loop.writing || c.loop.hasUnwrittenLocked(c.loop.conn)
		c.loop.mu.Unlock()
		if asked > cap(answers)-8<<10 {
			t.Fatalf("%d asks have gone at once, which proves nothing", asked)
		}
	}
	close(reads)
	for range asked {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	for i, a := range await(m, asked, func(a wire.Ask) bool { return a.Request.Key != "" }) {
		if want := fmt.Sprint(i, key); a.Request.Key != want {
			t.Fatalf("ask %d came with the key %.20s…, want %.20s…", i, a.Request.Key, want)
		}
	}
}
