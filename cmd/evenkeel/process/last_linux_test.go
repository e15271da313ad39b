package process

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/edge"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

// refusing is a picker that has no servers.
type refusing struct{}

func (refusing) Pick(context.Context, string, *balance.Request) (balance.Grant, error) {
	return balance.Grant{}, &balance.Refusal{Reason: balance.NoServer}
}
func (refusing) Done(string, balance.LeaseID, balance.Outcome) {}
func (refusing) Report(string, balance.Report)                 {}

// Clients connect all the time. Who is connected gets an answer, and who is not is refused: none is connected and then reset.
func TestConnectionsOfTheLastMomentAreServed(t *testing.T) {
	cfg := func(listen ...string) (c edge.Config) {
		c.ID, c.Loops = "e1", 2
		for _, l := range listen {
			c.Listeners = append(c.Listeners, routing.Listener{Listen: l, Routes: []routing.Route{{Pool: "web"}}})
		}
		return c
	}
	freed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := freed.Addr().String()
	if err := freed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(es *EdgeSupervisor, stop func()){
		"the edge stops": func(_ *EdgeSupervisor, stop func()) { stop() },
		"a reload takes the listener away": func(es *EdgeSupervisor, _ func()) {
			if err := es.Reload(t.Context(), cfg("127.0.0.1:0"), &settings.EdgeFiles{}, func() error { return nil }); err != nil {
				t.Error(err)
			}
		},
	} {
		es, err := NewEdgeSupervisor(t.Context(), "", cfg(address), &settings.EdgeFiles{}, refusing{}, EdgeLogs{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- es.Run(ctx) }()
		<-es.Accepting()
		var clients sync.WaitGroup
		var served atomic.Int32
		enough := make(chan struct{})
		for range 4 {
			clients.Go(func() {
				for {
					c, err := net.Dial("tcp", address)
					if err != nil {
						return // refused
					}
					if err := askOnce(c); err != nil {
						t.Errorf("%s: after %d answers a client that was connected got none: %v", name, served.Load(), err)
					}
					if served.Add(1) == 200 {
						close(enough)
					}
				}
			})
		}
		<-enough
		end(es, stop)
		clients.Wait()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// askOnce sends a request, waits for its answer, and closes the connection.
func askOnce(c net.Conn) error {
	defer func() { _ = c.Close() }() // the answer is what counts
	if _, err := fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	return r.Body.Close()
}
