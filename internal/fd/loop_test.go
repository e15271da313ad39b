package fd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What a loop relies on, whatever a Poller and an FD are on this system.

const all = Readable | Writable | PeerClosed | EdgeTriggered

// peered is a Poller with one connection, and its peer.
type peered struct {
	t      *testing.T
	poller *Poller
	near   *FD
	far    *net.TCPConn
}

func newPoller(t *testing.T) *Poller {
	t.Helper()
	p := new(Poller)
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func newPeered(t *testing.T) *peered {
	t.Helper()
	p := newPoller(t)
	near, far := connection(t)
	f, err := Take(near)
	if err != nil {
		t.Fatal(err)
	}
	w := &peered{t, p, &f, far}
	t.Cleanup(w.near.Close)
	if err := p.Add(w.near, all, 1, 7); err != nil {
		t.Fatal(err)
	}
	return w
}

// connection returns both ends of a connection of TCP.
func connection(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	far = conn.(*net.TCPConn)
	_ = far.SetDeadline(time.Now().Add(2 * time.Minute))
	t.Cleanup(func() { _ = far.Close() })
	return accepted.(*net.TCPConn), far
}

// await waits until an event tells of one of these.
func (w *peered) await(events uint32) {
	w.t.Helper()
	await(w.t, w.poller, 1, events)
}

// await waits until an event of a slot tells of one of these.
func await(t *testing.T, p *Poller, slot int32, events uint32) {
	t.Helper()
	told := make([]Event, 8)
	for limit := time.Now().Add(2 * time.Minute); time.Now().Before(limit); {
		for _, e := range told[:p.Wait(told, 1000)] {
			if e.Slot() == slot && e.Events&events != 0 {
				return
			}
		}
	}
	t.Fatalf("nothing of %#x is told in 2 minutes", events)
}

func (w *peered) send(text string) {
	w.t.Helper()
	if n, err := w.near.Send([]byte(text)); n != len(text) || err != nil {
		w.t.Fatalf("Send: %d, %v", n, err)
	}
}

// receives reads what there is, and wants the error that follows; nil: the end.
func (w *peered) receives(want string, then error) {
	w.t.Helper()
	var got []byte
	p := make([]byte, 1000)
	for {
		n, err := w.near.Receive(p)
		if got = append(got, p[:n]...); n > 0 && err == nil {
			continue
		}
		if string(got) != want || err != then {
			w.t.Fatalf("got %q, %v, want %q, %v", got, err, want, then)
		}
		return
	}
}

func (w *peered) says(text string) {
	w.t.Helper()
	if _, err := io.WriteString(w.far, text); err != nil {
		w.t.Fatal(err)
	}
}

// What comes is told once, and what comes later again, though the first was not taken.
func TestEventsAreToldAtTheirEdge(t *testing.T) {
	w := newPeered(t)
	w.await(Writable)
	w.receives("", syscall.EAGAIN)
	w.says("a")
	w.await(Readable)
	told := make([]Event, 8)
	for _, e := range told[:w.poller.Look(told)] {
		if e.Events&Readable != 0 {
			t.Error("what has been told is told again")
		}
	}
	w.says("b")
	w.await(Readable)
	w.receives("ab", syscall.EAGAIN)
	w.says("c")
	w.await(Readable)
	w.receives("c", syscall.EAGAIN)
}

// A connection that has something already when it begins to be watched is told of.
func TestWhatWasThereIsTold(t *testing.T) {
	near, far := connection(t)
	if _, err := io.WriteString(far, "early"); err != nil {
		t.Fatal(err)
	}
	f, err := Take(near)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := newPoller(t)
	if err := p.Add(&f, all, 1, 0); err != nil {
		t.Fatal(err)
	}
	w := &peered{t, p, &f, far}
	w.await(Readable)
	w.receives("early", syscall.EAGAIN)
}

func TestTheEndComesBehindWhatWasSent(t *testing.T) {
	w := newPeered(t)
	w.says("bye")
	_ = w.far.CloseWrite()
	w.await(PeerClosed)
	w.receives("bye", nil)
	w.send("still here") // one side is closed, and not both
	if got, err := readN(w.far, 10); got != "still here" {
		t.Errorf("got %q, %v", got, err)
	}
}

func readN(from io.Reader, n int) (string, error) {
	p := make([]byte, n)
	n, err := io.ReadFull(from, p)
	return string(p[:n]), err
}

func TestResetIsTold(t *testing.T) {
	w := newPeered(t)
	_ = w.far.SetLinger(0)
	_ = w.far.Close()
	w.await(Failed)
	w.receives("", syscall.ECONNRESET)
	if _, err := w.near.Send([]byte("x")); err == nil || err == syscall.EAGAIN {
		t.Errorf("Send: %v, want an error", err)
	}
}

// A peer that has closed everything, and not only its side, answers what is sent with a reset, though the bytes are not
// read any more.
func TestResetBehindTheEndIsTold(t *testing.T) {
	w := newPeered(t)
	_ = w.far.Close()
	w.await(PeerClosed)
	w.receives("", nil)
	w.send("x")
	w.await(Failed)
}

func TestCloseWrite(t *testing.T) {
	w := newPeered(t)
	w.send("last")
	if err := w.near.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(w.far); string(got) != "last" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := w.near.Send([]byte("x")); err != syscall.EPIPE {
		t.Errorf("Send behind the end: %v, want EPIPE", err)
	}
	w.says("answer")
	w.await(Readable)
	w.receives("answer", syscall.EAGAIN)
}

// A peer that takes nothing is sent no more than there is room for, and when it takes something that is told.
func TestSendIsBounded(t *testing.T) {
	w := newPeered(t)
	w.await(Writable)
	piece, sent := bytes.Repeat([]byte("0123456789"), 10_000), 0
	var all []byte
	for {
		n, err := w.near.Send(piece)
		all = append(all, piece[:n]...)
		if sent += n; err == syscall.EAGAIN {
			break
		}
		if err != nil || sent > 256<<20 {
			t.Fatalf("after %d bytes: %v", sent, err)
		}
	}
	over := make(chan []byte)
	go func() {
		got, _ := io.ReadAll(w.far) // what is missing is seen
		over <- got
	}()
	w.await(Writable)
	w.send("end")
	_ = w.near.CloseWrite()
	if got := <-over; !bytes.Equal(got, append(all, "end"...)) {
		t.Errorf("got %d bytes, want the %d that were sent", len(got), len(all)+3)
	}
}

// What was sent before Close reaches the peer, then the end.
func TestCloseSendsWhatIsLeft(t *testing.T) {
	w := newPeered(t)
	text := bytes.Repeat([]byte("x"), 50_000)
	w.send(string(text))
	w.near.Close()
	if got, err := io.ReadAll(w.far); !bytes.Equal(got, text) || err != nil {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(text))
	}
	if w.near.IsOpen() {
		t.Error("it is open")
	}
	for name, call := range map[string]func([]byte) (int, error){"Receive": w.near.Receive, "Send": w.near.Send} {
		if _, err := call([]byte("x")); err != ErrClosed {
			t.Errorf("%s of a closed one: %v", name, err)
		}
	}
}

// To close a connection on which bytes come ends all that serves it: the Poller's Close waits for that.
func TestCloseWhileBytesCome(t *testing.T) {
	for range 100 {
		w := newPeered(t)
		var sending sync.WaitGroup
		sending.Go(func() {
			for {
				if _, err := io.WriteString(w.far, "bytes"); err != nil {
					return // it is closed
				}
			}
		})
		w.await(Readable)
		w.near.Close()
		sending.Wait()
		w.poller.Close()
	}
}

func TestResetOnClose(t *testing.T) {
	w := newPeered(t)
	w.near.ResetOnClose()
	w.near.Close()
	if _, err := io.ReadAll(w.far); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the peer sees %v, want a reset", err)
	}
}

// Nothing is told of a descriptor that was closed, nor of one that was removed.
func TestClosedAndRemovedTellNothing(t *testing.T) {
	for name, end := range map[string]func(w *peered){
		"closed":  func(w *peered) { w.near.Close() },
		"removed": func(w *peered) { _ = w.poller.Remove(w.near) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newPeered(t)
			b, err := NewBell()
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if err := w.poller.Add(&b, Readable|EdgeTriggered, 2, 0); err != nil {
				t.Fatal(err)
			}
			w.await(Writable)
			w.says("first")
			end(w)
			_, _ = io.WriteString(w.far, "second") // it may be closed
			b.Ring()
			told := make([]Event, 8)
			for bell := false; !bell; {
				for _, e := range told[:w.poller.Wait(told, 1000)] {
					if e.Slot() == 1 {
						t.Errorf("told of %#x", e.Events)
					}
					bell = bell || e.Slot() == 2
				}
			}
		})
	}
}

func TestEventsCarryTheirGeneration(t *testing.T) {
	w := newPeered(t)
	told := make([]Event, 8)
	for n := 0; n == 0; {
		if n = w.poller.Wait(told, 1000); n > 0 && (told[0].Slot() != 1 || told[0].Generation() != 7) {
			t.Errorf("slot %d, generation %d", told[0].Slot(), told[0].Generation())
		}
	}
}

// A bell is heard, once, though it was rung when no loop waited; silent, it can be rung again.
func TestBell(t *testing.T) {
	p := newPoller(t)
	b, err := NewBell()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.Ring()
	if err := p.Add(&b, Readable|EdgeTriggered, 3, 0); err != nil {
		t.Fatal(err)
	}
	var ringing sync.WaitGroup
	for range 3 {
		await(t, p, 3, Readable)
		b.Silence()
		ringing.Go(b.Ring)
	}
	await(t, p, 3, Readable)
	ringing.Wait()
}

func TestConnect(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	p := newPoller(t)
	f, err := Connect(at, new(TCPOptions))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := p.Add(&f, all, 1, 0); err != nil {
		t.Fatal(err)
	}
	await(t, p, 1, Writable)
	if err := f.Connected(); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if got := f.LocalAddress().String(); got != conn.RemoteAddr().String() {
		t.Errorf("local address %s, want %s", got, conn.RemoteAddr())
	}
	if n, err := f.Send([]byte("hi")); n != 2 || err != nil {
		t.Errorf("Send: %d, %v", n, err)
	}
	if got, err := readN(conn, 2); got != "hi" {
		t.Errorf("got %q, %v", got, err)
	}
	_ = l.Close()
	refused, err := Connect(at, new(TCPOptions))
	if err != nil {
		return // at once
	}
	defer refused.Close()
	if err := p.Add(&refused, all, 2, 0); err != nil {
		t.Fatal(err)
	}
	await(t, p, 2, Writable)
	if err := refused.Connected(); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Connected: %v, want it refused", err)
	}
}

// One that is closed before it is known how its connection comes out leaves nothing behind: the Poller ends.
func TestCloseBeforeItIsConnected(t *testing.T) {
	p := newPoller(t)
	f, err := Connect(netip.MustParseAddrPort("127.0.0.1:1"), new(TCPOptions))
	if err != nil {
		return
	}
	if err := p.Add(&f, all, 1, 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// All connections of a listener are accepted, each once, by one of those who share it; and what comes when they
// accept no more is left to another.
func TestListenersAreShared(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	p := newPoller(t)
	copies, err := CopyListener(l, 2)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range copies {
		if err := p.Add(c, Readable|EdgeTriggered|Exclusive, int32(i), 0); err != nil {
			t.Fatal(err)
		}
	}
	dial := func() string {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn.LocalAddr().String()
	}
	var want, got []string
	accept := func(f *FD) {
		for {
			accepted, from, err := f.Accept()
			if err == syscall.EAGAIN {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, from.String())
			accepted.Close()
		}
	}
	for range 20 {
		want = append(want, dial())
	}
	told := make([]Event, 8)
	for len(got) < len(want) {
		for _, e := range told[:p.Wait(told, 1000)] {
			accept(copies[e.Slot()])
		}
	}
	for range 3 {
		want = append(want, dial())
	}
	for _, c := range copies {
		_ = p.Remove(c)
	}
	for _, c := range copies {
		accept(c)
		c.Close()
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("accepted %v, want %v", got, want)
	}
	later := dial()
	if tcp := l.(*net.TCPListener); tcp.SetDeadline(time.Now().Add(2*time.Minute)) != nil {
		t.Fatal("the listener is closed")
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if conn.RemoteAddr().String() != later {
		t.Errorf("accepted %v, want %s", conn.RemoteAddr(), later)
	}
}

// Whether anything has come is known before it is told.
func TestNothingToRead(t *testing.T) {
	w := newPeered(t)
	w.await(Writable)
	if !w.near.NothingToRead() {
		t.Error("there is something to read at first")
	}
	_ = w.far.CloseWrite()
	for limit := time.Now().Add(2 * time.Minute); w.near.NothingToRead(); runtime.Gosched() {
		if time.Now().After(limit) {
			t.Fatal("there is nothing to read though the peer has closed its side")
		}
	}
}

// A moved descriptor is the new owner's.
func TestMove(t *testing.T) {
	w := newPeered(t)
	moved := w.near.Move()
	defer moved.Close()
	if w.near.IsOpen() || !moved.IsOpen() {
		t.Error("it has two owners")
	}
	w.says("x")
	await(t, w.poller, 1, Readable)
	w.near = &moved
	w.receives("x", syscall.EAGAIN)
}
