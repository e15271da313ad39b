package process

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/edge"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/hint"
)

// An edge may fail before it accepts from any of its listeners, as where no descriptor is
// left for its loops. The role must end with the reason.
func TestAnEdgeThatCannotStartEnds(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	cfg := edge.Config{ID: "e1", Listeners: []routing.Listener{{Listen: "127.0.0.1:0", Routes: []routing.Route{{Pool: "web"}}}}}
	es, err := NewEdgeSupervisor(t.Context(), "", cfg, &settings.EdgeFiles{}, nil, EdgeLogs{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	es.first.listeners = append(es.first.listeners, es.first.listeners[0]) // Run refuses two listeners for one
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- es.Run(ctx) }()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "network listeners") {
			t.Errorf("run: got %v, want why the edge cannot start", err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("run has not ended after 2 minutes; want the edge's error")
	}
}

func TestMemoryForBodiesIsComparedWithWhatThereIs(t *testing.T) {
	for _, c := range []struct {
		buffers int64
		limit   uint64
		want    string
	}{
		{1 << 30, 0, ""}, // not known
		{1 << 30, 2 << 30, ""},
		{2 << 30, 2 << 30, "2048 MiB for request bodies"},
		{0, 128 << 20, "256 MiB for request bodies, but this machine or control group has 128 MiB"}, // the default in a small container
		{0, 1 << 30, ""},
	} {
		if got := TooMuchMemory(c.buffers, c.limit); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%d of %d: got %q, want %q", c.buffers, c.limit, got, c.want)
		}
	}
}

func TestListenErrorsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		address string
		errno   syscall.Errno
		hint    string
	}{
		{"127.0.0.1:8080", syscall.EMFILE, "ulimit -n"},
		{"127.0.0.1:80", syscall.EACCES, "ports below 1024"},
		{"unix:/run/edge.sock", syscall.EACCES, "folder"},
	} {
		err := listenError(c.address, &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("socket", c.errno)})
		if !strings.Contains(err.Error(), c.address) || !strings.Contains(hint.Of(err), c.hint) {
			t.Errorf("%s, %v: got %v (hint %q), want the address and a hint with %q", c.address, c.errno, err, hint.Of(err), c.hint)
		}
	}
}

func TestAddressesThatCannotBeListenedOnAreExplained(t *testing.T) {
	for address, want := range map[string]string{
		"8080": "such as :8080", "99999": `port "99999", want 1 to 65535`, ":99999": `port "99999", want 1 to 65535`,
		"[::1]:70000": `port "70000", want 1 to 65535`, "::1:80": "[::1]:80", "localhost": "such as localhost:8000",
	} {
		l, err := Listen(t.Context(), address)
		if err == nil {
			_ = l.Close() // it should not be there
		}
		if err == nil || !strings.Contains(err.Error()+"; "+hint.Of(err), want) {
			t.Errorf("%s: got %v (hint %q), want %q", address, err, hint.Of(err), want)
		}
	}
}
