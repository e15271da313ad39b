package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/flight"
)

// What an Edge is given when the master is another process.
var (
	_ Picker    = (*client.Client)(nil)
	_ snapshots = (*client.Client)(nil)
	_ connected = (*client.Client)(nil)
)

func TestFailure(t *testing.T) {
	used := new(countedConn)
	used.written.Store(100)
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", err)}
	}
	for _, c := range []struct {
		name string
		a    attempt
		err  error
		want flight.Failure
	}{
		{"refused", attempt{}, dial(syscall.ECONNREFUSED), flight.Failure{Unreachable: true}},
		{"connecting takes too long", attempt{}, dial(os.ErrDeadlineExceeded), flight.Failure{Unreachable: true}},
		{"out of descriptors", attempt{}, &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}, flight.Failure{Unreachable: true, Ours: true}},
		{"broken before a byte", attempt{conn: used, base: 100}, syscall.EPIPE, flight.Failure{}},
		{"broken after some", attempt{conn: used, base: 50}, io.ErrUnexpectedEOF, flight.Failure{Sent: true}},
		{"slow", attempt{conn: used, base: 50}, &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, flight.Failure{Sent: true, Late: true}},
		{"sent to an idle connection, then refused", attempt{conn: used, base: 50}, dial(syscall.ECONNREFUSED), flight.Failure{Unreachable: true, Sent: true}},
	} {
		if got := c.a.failure(c.err, false); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

// An attempt that has failed may notice late; what it then reads would be missing in the next.
func TestDetachedUploadReadsNothing(t *testing.T) {
	out := (&running{t: t, address: "a.example"}).request("POST", "/", "body")
	u, err := newUpload(out)
	if err != nil {
		t.Fatal(err)
	}
	first := out.Clone(context.Background())
	u.attach(first)
	if spent, err := u.detach(); spent || err != nil {
		t.Errorf("nothing was read, yet spent %v, %v", spent, err)
	}
	second := out.Clone(context.Background())
	u.attach(second)
	if n, err := first.Body.Read(make([]byte, 4)); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("the attempt before read %d bytes, %v", n, err)
	}
	if got, err := io.ReadAll(second.Body); string(got) != "body" || err != nil {
		t.Errorf("the attempt after read %q, %v", got, err)
	}
	if spent, _ := u.detach(); !spent {
		t.Errorf("all was read, yet it is not spent")
	}
}

func TestUploadKeepsWhatMayBeSentAgain(t *testing.T) {
	for _, c := range []struct {
		method string
		size   int
		kept   bool
	}{{"PUT", replayMost, true}, {"PUT", replayMost + 1, false}, {"POST", 1, false}, {"GET", 0, false}} {
		u, err := newUpload((&running{t: t, address: "a.example"}).request(c.method, "/", strings.Repeat("x", c.size)))
		if err != nil || (u.whole != nil) != c.kept {
			t.Errorf("%s of %d bytes: kept %v, want %v (%v)", c.method, c.size, u.whole != nil, c.kept, err)
		}
	}
}
