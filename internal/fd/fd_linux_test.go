//go:build !evenkeel_portable

package fd

import (
	"errors"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// heirs are files that got the numbers of descriptors that were closed.
type heirs []*os.File

// inherit opens files until they have all these numbers, which are free.
func inherit(t *testing.T, numbers ...int) (all heirs) {
	t.Helper()
	for range 200 {
		n, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(n), "heir")
		t.Cleanup(func() { f.Close() })
		if i := slices.Index(numbers, n); i >= 0 {
			numbers = slices.Delete(numbers, i, i+1)
			all = append(all, f)
		}
		if len(numbers) == 0 {
			return all
		}
	}
	t.Fatalf("no new descriptor got the numbers %d", numbers)
	return nil
}

func (all heirs) check(t *testing.T) {
	t.Helper()
	for _, f := range all {
		if _, err := f.Stat(); err != nil {
			t.Errorf("the descriptor that got number %d next: %v", f.Fd(), err)
		}
	}
}

// Of a closed or moved FD every call returns an error, or nothing, and reaches no descriptor.
func TestClosedFDLeavesItsNumberAlone(t *testing.T) {
	poller := new(Poller)
	if err := poller.Open(); err != nil {
		t.Fatal(err)
	}
	defer poller.Close()
	pipe := NewPipe(1 << 16)
	if pipe == nil {
		t.Fatal("no pipe")
	}
	defer pipe.Close()
	if _, err := pipe.Write([]byte("in the pipe")); err != nil {
		t.Fatal(err)
	}
	batch := func(add func(*Batch)) error {
		var b Batch
		add(&b)
		return b.Do()[0].Err
	}
	none := errors.New("none is returned")
	calls := map[string]func(*FD) error{
		"Read":          func(f *FD) error { _, err := f.Read(make([]byte, 1)); return err },
		"Write":         func(f *FD) error { _, err := f.Write([]byte("x")); return err },
		"Receive":       func(f *FD) error { _, err := f.Receive(make([]byte, 1)); return err },
		"Send":          func(f *FD) error { _, err := f.Send([]byte("x")); return err },
		"Peek":          func(f *FD) error { _, err := f.Peek(make([]byte, 1)); return err },
		"Accept":        func(f *FD) error { _, _, err := f.Accept(); return err },
		"Connected":     (*FD).Connected,
		"CloseWrite":    (*FD).CloseWrite,
		"Copy":          func(f *FD) error { _, err := f.Copy(); return err },
		"File":          func(f *FD) error { _, err := f.File("x"); return err },
		"Conn":          func(f *FD) error { _, err := f.Conn(); return err },
		"Add":           func(f *FD) error { return poller.Add(f, unix.EPOLLIN, 0, 0) },
		"Modify":        func(f *FD) error { return poller.Modify(f, unix.EPOLLIN, 0, 0) },
		"Remove":        poller.Remove,
		"Fill":          func(f *FD) error { _, err := pipe.Fill(f, 1); return err },
		"Drain":         func(f *FD) error { _, err := pipe.Drain(f, 1); return err },
		"batch send":    func(f *FD) error { return batch(func(b *Batch) { b.Send(f, []byte("x")) }) },
		"batch receive": func(f *FD) error { return batch(func(b *Batch) { b.Receive(f, make([]byte, 1)) }) },
		"Close":         func(f *FD) error { f.Close(); return none },
		"ResetOnClose":  func(f *FD) error { f.ResetOnClose(); return none },
		"SetTCPOptions": func(f *FD) error { f.SetTCPOptions(&TCPOptions{}); return none },
		"Unacked":       func(f *FD) error { return map[bool]error{false: none}[f.Unacked()] },
		"NothingToRead": func(f *FD) error { return map[bool]error{false: none}[f.NothingToRead()] },
		"LocalAddress":  func(f *FD) error { return map[bool]error{false: none}[f.LocalAddress().IsValid()] },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			f, _ := pair(t)
			number := f.number()
			f.Close()
			heirs := inherit(t, number)
			for range 2 {
				if err := call(f); err != none && !errors.Is(err, ErrClosed) {
					t.Errorf("closed: error %v, want %v", err, ErrClosed)
				}
			}
			heirs.check(t)

			near, far := pair(t)
			moved := near.Move()
			if err := call(near); err != none && !errors.Is(err, ErrClosed) {
				t.Errorf("moved: error %v, want %v", err, ErrClosed)
			}
			if _, err := far.Receive(make([]byte, 1)); err != syscall.EAGAIN {
				t.Errorf("the peer of the moved descriptor read %v, want nothing to read", err)
			}
			if _, err := moved.Send([]byte("x")); err != nil {
				t.Errorf("the moved descriptor: %v", err)
			}
			moved.Close()
		})
	}
}

// What waits in a Batch for a socket that is closed meanwhile does not reach the one that
// gets its number, whether io_uring makes the calls or not.
func TestBatchAfterClose(t *testing.T) {
	each(t, func(t *testing.T, b *Batch) {
		for range 5 * Most {
			near, _ := pair(t)
			other, far := pair(t)
			p := make([]byte, 10)
			b.Send(near, []byte("not yours"))
			b.Send(other, []byte("yours"))
			b.Receive(near, p)
			number := near.number()
			near.Close()
			heir, heirsPeer := pairWith(t, number)
			if _, err := heirsPeer.Send([]byte("for the heir")); err != nil {
				t.Fatal(err)
			}
			wantResults(t, b.Do(), Result{N: 0, Err: ErrClosed}, Result{N: 5, Err: nil}, Result{N: 0, Err: ErrClosed})
			if n, err := heirsPeer.Receive(p); err != syscall.EAGAIN {
				t.Fatalf("the heir's peer received %q, %v", p[:n], err)
			}
			got := make([]byte, 20)
			if n, err := heir.Receive(got); string(got[:n]) != "for the heir" || err != nil {
				t.Fatalf("the heir received %q, %v", got[:n], err)
			}
			if n, err := far.Receive(got); string(got[:n]) != "yours" || err != nil {
				t.Fatalf("the other received %q, %v", got[:n], err)
			}
			heir.Close()
			heirsPeer.Close()
		}
	})
}

// pairWith returns a pair of which one has this number, which is free, and its peer.
func pairWith(t *testing.T, number int) (one, peer *FD) {
	t.Helper()
	for range 100 {
		a, b := pair(t)
		switch number {
		case a.number():
			return a, b
		case b.number():
			return b, a
		}
	}
	t.Fatalf("no new socket got the number %d", number)
	return nil, nil
}

func TestConnOwnsTheDescriptor(t *testing.T) {
	near, far := pair(t)
	c, err := near.Conn()
	if err != nil || near.IsOpen() {
		t.Fatalf("%v, open %v; want a connection that has the descriptor", err, near.IsOpen())
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if n, err := far.Receive(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("received %d, %v", n, err)
	}
	copied, err := Copy(c)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := copied.Send([]byte("y")); err != nil {
		t.Errorf("the copy, after the connection was closed: %v", err)
	}
	copied.Close()
	if _, err := Copy(c); !errors.Is(err, net.ErrClosed) {
		t.Errorf("copy of a closed connection: %v, want %v", err, net.ErrClosed)
	}
}

// A number that a parent process tells is had once.
func TestInheritedOnce(t *testing.T) {
	n, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Inherited(n, "first")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	all := inherit(t, n)
	if f, err := Inherited(n, "second"); err == nil {
		f.Close()
		t.Error("it was had a second time")
	}
	all.check(t)
}
