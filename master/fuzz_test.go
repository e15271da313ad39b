package master

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// Whatever bytes come, the master neither panics nor miscounts.
func FuzzServe(f *testing.F) {
	frames := func(messages ...message) (b []byte) {
		for _, m := range messages {
			b = m.Append(b)
		}
		return b
	}
	edge := frames(&wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: wire.RoleEdge, ID: "e"})
	agent := frames(&wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: wire.RoleAgent, ID: "s"})
	ask := wire.Ask{Seq: 1, Pool: "web", Request: balance.Request{Key: "k", Exclude: []balance.ServerID{"b"}}}
	f.Add(append(ask.Append(edge, 1), frames(&wire.Watch{Pool: "web"}, &wire.Cancel{Seq: 1}, &wire.Goodbye{})...))
	f.Add(append(edge, frames(&wire.Hold{Pool: "web", Lease: 5, Server: "a"}, &wire.Done{Pool: "web", Lease: 5}, &wire.Reports{Reports: []wire.PoolReport{
		{Pool: "web", Report: balance.Report{Server: "a", Metrics: []balance.Metric{{Name: "eps", Value: -1}}}}}})...))
	f.Add(append(agent, frames(&wire.Register{Pool: "web", Server: spec("s")}, &wire.Verdict{Lease: 1, Accepted: true}, &wire.Goodbye{})...))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newMaster(t, web("a", "b"))
		here, there := net.Pipe()
		var all sync.WaitGroup
		all.Go(func() { m.serveConn(context.Background(), there, func() {}) })
		all.Go(func() { _, _ = io.Copy(io.Discard, here) })
		_, _ = here.Write(data) // fails when the master has had enough
		_ = here.Close()
		all.Wait()
		if err := m.poolNamed("web").core.Check(); err != nil {
			t.Fatal(err)
		}
	})
}
