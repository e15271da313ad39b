//go:build !evenkeel_portable

package fd

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What has no descriptor, or has closed it, is told apart from what has one.
func TestDescriptorsOfWhatHasNone(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	for what, of := range map[string]any{"no descriptor": noDescriptor{}, "a closed listener": gone} {
		if f, err := CopyFile(of, "copy"); f != nil || err == nil {
			t.Errorf("%s: a file of it: %v, %v", what, f, err)
		}
		if f, err := Copy(of); f.IsOpen() || err == nil {
			t.Errorf("%s: a copy of it: open %v, %v", what, f.IsOpen(), err)
		}
		if err := StopConnecting(of); err == nil {
			t.Errorf("%s: it connects no more", what)
		}
	}
	if f, err := Take(noDescriptor{}); f.IsOpen() || err == nil {
		t.Errorf("taken: open %v, %v", f.IsOpen(), err)
	}
	if copies, err := CopyListener(gone, 2); copies != nil || err == nil {
		t.Errorf("copies of a closed listener: %v, %v", copies, err)
	}
}

func TestAFileOfAListenerIsIts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := CopyFile(l, "copy")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	again, err := net.FileListener(f)
	_ = f.Close()
	if err != nil || again.Addr().String() != l.Addr().String() {
		t.Fatalf("a listener of the file: %v, %v", again, err)
	}
	_ = again.Close()
}

// A connection that was made of a descriptor has it alone: when that is closed, the peer sees the end.
func TestAConnectionLeavesNoDescriptorBehind(t *testing.T) {
	near, far := pair(t)
	c, err := near.Conn()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if n, err := far.Peek(make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("the peer reads %d, %v, want the end", n, err)
	}
	moved, peer := pair(t)
	c, err = moved.Conn()
	if err != nil {
		t.Fatal(err)
	}
	taken, err := Take(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := taken.Send([]byte("x")); err != nil {
		t.Error(err)
	}
	taken.Close()
	if n, err := peer.Receive(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("received %d, %v", n, err)
	}
	if n, err := peer.Receive(make([]byte, 2)); n != 0 || err != nil {
		t.Errorf("then %d, %v, want the end", n, err)
	}
}

// A peer that has closed its side has not broken the connection off; one that has reset it has.
func TestWhatIsBroken(t *testing.T) {
	near, far := connection(t)
	defer func() { _ = near.Close() }()
	broken := func() (yes bool) {
		lent, err := near.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := lent.Control(func(n uintptr) { yes = Borrowed(n).Broken() }); err != nil {
			t.Fatal(err)
		}
		return yes
	}
	if broken() {
		t.Error("nothing has happened, and it is broken")
	}
	if _, err := far.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(near, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	if broken() {
		t.Error("the peer has closed its side, and it is broken")
	}
	_ = far.SetLinger(0)
	_ = far.Close()
	for !broken() { // the reset is on its way; the test's own time limits this
		time.Sleep(time.Millisecond)
	}
}

// A connection has the family of its address: one to 127.0.0.1 is no IPv6 connection of a mapped address.
func TestTheFamilyOfAConnection(t *testing.T) {
	for address, family := range map[string]int{"127.0.0.1:0": unix.AF_INET, "[::1]:0": unix.AF_INET6} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("%s: %v", address, err) // without IPv6
			continue
		}
		f, err := Connect(l.Addr().(*net.TCPAddr).AddrPort(), new(TCPOptions))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := unix.GetsockoptInt(f.number(), unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || got != family {
			t.Errorf("%s: family %d (%v), want %d", address, got, err, family)
		}
		f.Close()
		_ = l.Close()
	}
	if f, err := Connect(netip.MustParseAddrPort("255.255.255.255:1"), new(TCPOptions)); f.IsOpen() || err == nil {
		t.Errorf("to an address that none can be connected to: open %v, %v", f.IsOpen(), err)
	}
}

func TestConnectionsToUnixSockets(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	if f, err := ConnectUnix(name); f.IsOpen() || !errors.Is(err, syscall.ENOENT) || !errors.As(err, new(*os.SyscallError)) {
		t.Errorf("to none: open %v, %v", f.IsOpen(), err)
	}
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	f, err := ConnectUnix(name)
	if err != nil || f.Connected() != nil {
		t.Fatalf("%v, %v", err, f.Connected())
	}
	defer f.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = far.Close() }()
	if _, err := f.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if n, err := far.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("received %d, %v", n, err)
	}
	// As many as its queue takes are connected, and the next one is told that it is full.
	lent, err := l.(*net.UnixListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var refused error
	if err := lent.Control(func(n uintptr) { refused = unix.Listen(int(n), 3) }); err != nil || refused != nil {
		t.Fatal(err, refused)
	}
	for range 10 {
		waits, err := ConnectUnix(name)
		if err != nil {
			if err != unix.EAGAIN {
				t.Errorf("a full queue: %v", err)
			}
			return
		}
		defer waits.Close()
	}
	t.Error("the queue is never full")
}

// A dialer sets the time that package net knows nothing of; zero leaves the system's.
func TestADialerHasAUserTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for _, want := range []time.Duration{0, 1500 * time.Millisecond} {
		o := &TCPOptions{UserTimeout: want}
		c, err := (&net.Dialer{Control: o.Control}).Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		f, err := Take(c)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := unix.GetsockoptInt(f.number(), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || got != int(want.Milliseconds()) {
			t.Errorf("got %d ms (%v), want %v", got, err, want)
		}
		if !f.SetTCPOptions(new(TCPOptions)) {
			t.Error("a socket does not take what leaves it as it is")
		}
		f.Close()
		if f.SetTCPOptions(o) {
			t.Error("a closed socket takes options")
		}
		if lent, err := c.(*net.TCPConn).SyscallConn(); err == nil && o.Control("tcp", "", lent) == nil {
			t.Error("a closed connection takes options")
		}
	}
}

// A terminal tells its width, and nothing else does.
func TestColumns(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if n, ok := Columns(w); n != 0 || ok {
		t.Errorf("a pipe: got %d, %v", n, ok)
	}
	_ = w.Close()
	if n, ok := Columns(w); n != 0 || ok {
		t.Errorf("a closed file: got %d, %v", n, ok)
	}
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Logf("no terminal: %v", err)
		return
	}
	defer func() { _ = terminal.Close() }()
	for _, want := range []uint16{0, 80, 132} {
		if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: want, Row: 24}); err != nil {
			t.Fatal(err)
		}
		if n, ok := Columns(terminal); n != int(want) || !ok {
			t.Errorf("got %d, %v, want %d", n, ok, want)
		}
	}
}

func TestLimitIsTheSystems(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if got := Limit(); got <= 0 || uint64(got) > limit.Cur {
		t.Errorf("got %d, the system's is %d", got, limit.Cur)
	}
}

// What the system refuses of a set is told.
func TestAPollerTellsWhatIsRefused(t *testing.T) {
	p, f := newPoller(t), func() *FD { near, _ := pair(t); return near }()
	if err := p.Modify(f, Readable, 0, 0); !errors.Is(err, unix.ENOENT) {
		t.Errorf("modified before it was added: %v", err)
	}
	if err := p.Add(f, Readable, 0, 0); err != nil {
		t.Error(err)
	}
	if err := p.Add(f, Readable, 0, 0); !errors.Is(err, unix.EEXIST) {
		t.Errorf("added twice: %v", err)
	}
	if err := p.Remove(f); err != nil {
		t.Error(err)
	}
	if err := p.Remove(f); !errors.Is(err, unix.ENOENT) {
		t.Errorf("removed twice: %v", err)
	}
}

// asZero gives a descriptor the number 0 until the test's end.
func asZero(t *testing.T, f *FD) FD {
	t.Helper()
	saved, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Skipf("SKIPPED: this process has no descriptor 0 that can be put aside: %v", err)
	}
	t.Cleanup(func() {
		_ = unix.Dup3(saved, 0, 0)
		_ = unix.Close(saved)
	})
	if err := unix.Dup3(f.number(), 0, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	f.Close()
	return FD{above: 1}
}

// The least number is a descriptor as any other: a process may have been started without standard input.
func TestTheDescriptorZeroTakesTCPOptions(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	f, err := Connect(l.Addr().(*net.TCPAddr).AddrPort(), new(TCPOptions))
	if err != nil {
		t.Fatal(err)
	}
	zero := asZero(t, &f)
	if !zero.SetTCPOptions(&TCPOptions{KeepaliveIdle: 7 * time.Second}) {
		t.Error("it does not take options")
	}
	if got, err := unix.GetsockoptInt(0, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE); err != nil || got != 7 {
		t.Errorf("got %d (%v), want 7 s", got, err)
	}
}

func TestTheDescriptorZero(t *testing.T) {
	near, far := pair(t)
	zero := asZero(t, near)
	if _, err := far.Send([]byte("x")); err != nil {
		t.Fatal(err)
	}
	pipe := NewPipe(1 << 16)
	if pipe == nil {
		t.Fatal("no pipe")
	}
	defer pipe.Close()
	if n, err := pipe.Fill(&zero, 1); n != 1 || err != nil {
		t.Errorf("into a pipe: %d, %v", n, err)
	}
	if n, err := pipe.Drain(&zero, 1); n != 1 || err != nil {
		t.Errorf("from a pipe: %d, %v", n, err)
	}
	if n, err := zero.Send([]byte("y")); n != 1 || err != nil {
		t.Errorf("sent %d, %v", n, err)
	}
	if zero.Close(); zero.IsOpen() {
		t.Error("it is open behind its end")
	}
	if n, err := far.Receive(make([]byte, 3)); n != 2 || err != nil {
		t.Errorf("the peer received %d, %v", n, err)
	}
	if n, err := far.Receive(make([]byte, 3)); n != 0 || err != nil {
		t.Errorf("then %d, %v, want the end", n, err)
	}
}
