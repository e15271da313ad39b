package client

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// An agent whose pool the master does not have says so, keeps its connection and its latest
// report, and registers over the same connection when it is told to.
func TestAnAgentWaitsForItsPool(t *testing.T) {
	var at atomic.Pointer[fakeConn]
	m := startMaster(t, &fakeMaster{onWelcome: func(c *fakeConn) {
		at.Store(c)
		c.Write((&wire.Unplaced{Detail: "no pool p"}).Append(nil))
	}})
	a, _ := startAgent(t, AgentConfig{Masters: []string{m.addr()}})
	var fail *wire.Fail
	waitFor(t, "the agent says that its pool is unknown", func() bool {
		return !a.Connected() && errors.As(a.Problem(), &fail) && fail.Code == wire.Unknown
	})
	await[wire.Register](m, 1, nil)
	a.Report(balance.Report{Metrics: []balance.Metric{{Name: balance.CPUUtilization, Value: .5}}})
	at.Load().Write((&wire.Unplaced{}).Append(nil))
	await[wire.Register](m, 2, nil)
	await[wire.Reports](m, 1, nil)
	waitFor(t, "nothing is wrong any more", func() bool { return a.Connected() && a.Problem() == nil })
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.conns); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
}
