package client

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

var spec = balance.ServerSpec{ID: "r1", Address: "127.0.0.1:8000", Slots: 4, Labels: []balance.Label{{Key: "zone", Value: "b"}}}

func dispatch(lease balance.LeaseID, key string, limit time.Duration) []byte {
	return (&wire.Dispatch{Lease: lease, Pool: "p", Edge: "edge-a", Limit: limit,
		Request: balance.Request{Key: key, Path: "/x", Client: netip.MustParseAddr("192.0.2.1")}}).Append(nil)
}

func startAgent(t *testing.T, cfg AgentConfig) (_ *Agent, stop func()) {
	t.Helper()
	cfg.Pool, cfg.Server = "p", spec
	a, err := NewAgent(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a, run(t, a.Run)
}

func TestAgentRegistersReportsAndLeaves(t *testing.T) {
	one, two := startMaster(t, &fakeMaster{}), startMaster(t, &fakeMaster{})
	a, stop := startAgent(t, AgentConfig{Masters: []string{one.addr(), two.addr()}})
	a.Report(balance.Report{Metrics: []balance.Metric{{Name: balance.InFlight, Value: 3}}})
	a.Done(balance.TaggedLease{ID: 0x77, Tag: 0x99}, balance.Outcome{Result: balance.OK, Duration: time.Second})
	for _, m := range []*fakeMaster{one, two} {
		r := await[wire.Register](m, 1, nil)[0]
		if r.Pool != "p" || r.Server.ID != "r1" || r.Server.Slots != 4 || len(r.Server.Labels) != 1 {
			t.Errorf("registered as %+v", r)
		}
		reports := await[wire.Reports](m, 1, nil)[0].Reports
		if len(reports) != 1 || reports[0].Report.Server != "r1" || reports[0].Report.Metrics[0] != (balance.Metric{Name: balance.InFlight, Value: 3}) || reports[0].Form != 1 {
			t.Errorf("reported %+v", reports)
		}
		if d := await[wire.Done](m, 1, nil)[0]; d.Lease != 0x77 || d.Pool != "p" {
			t.Errorf("done %+v", d)
		}
	}
	stop()
	await[wire.Goodbye](one, 1, nil)
	await[wire.Goodbye](two, 1, nil)
}

func TestAgentAnswersDispatches(t *testing.T) {
	m := startMaster(t, &fakeMaster{onWelcome: func(c *fakeConn) {
		c.Write(dispatch(1, "take", time.Minute))
		c.Write(dispatch(2, "refuse", time.Minute))
		c.Write(dispatch(3, "slow", time.Millisecond))
	}})
	startAgent(t, AgentConfig{Masters: []string{m.addr()}, Dispatch: func(ctx context.Context, d Dispatch) error {
		switch d.Request.Key {
		case "refuse":
			return errors.New("no room")
		case "slow":
			<-ctx.Done()
			return context.Cause(ctx)
		}
		if d.Edge != "edge-a" || d.Pool != "p" || d.Request.Path != "/x" || d.Request.Client.String() != "192.0.2.1" {
			return errors.New("wrong facts")
		}
		return nil
	}})
	for _, v := range await[wire.Verdict](m, 3, nil) {
		want := map[balance.LeaseID]string{1: "", 2: "no room", 3: "no answer within 1ms"}[v.Lease]
		if v.Accepted != (v.Lease == 1) || v.Detail != want {
			t.Errorf("verdict %+v, want detail %q", v, want)
		}
	}
}

func TestAgentWithoutAHookAccepts(t *testing.T) {
	m := startMaster(t, &fakeMaster{onWelcome: func(c *fakeConn) { c.Write(dispatch(9, "", 0)) }})
	startAgent(t, AgentConfig{Masters: []string{m.addr()}})
	if v := await[wire.Verdict](m, 1, nil)[0]; v.Lease != 9 || !v.Accepted {
		t.Errorf("verdict %+v", v)
	}
}

func TestAgentShowsWhyItIsNotWanted(t *testing.T) {
	m := startMaster(t, &fakeMaster{fail: &wire.Fail{Code: wire.Taken, Detail: "r1 is connected from elsewhere"}})
	a, _ := startAgent(t, AgentConfig{Masters: []string{m.addr()}})
	waitFor(t, "problem", func() bool { return a.Problem() != nil })
	var fail *wire.Fail
	if err := a.Problem(); !errors.As(err, &fail) || fail.Code != wire.Taken || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("Problem = %v", err)
	}
	if a.Connected() {
		t.Error("Connected, though the master refused")
	}
}

func TestARefusedRegistrationIsShown(t *testing.T) {
	m := startMaster(t, &fakeMaster{onWelcome: func(c *fakeConn) {
		c.Write((&wire.Fail{Code: wire.Unknown, Detail: "no pool p"}).Append(nil))
	}})
	a, _ := startAgent(t, AgentConfig{Masters: []string{m.addr()}})
	waitFor(t, "problem", func() bool { return a.Problem() != nil })
	waitFor(t, "loss", func() bool { return !a.Connected() })
	if text := a.Problem().Error(); !strings.Contains(text, m.addr()) || !strings.Contains(text, "unknown pool: no pool p") {
		t.Errorf("Problem = %s", text)
	}
}

// A dispatch with a lower fence than any before comes from a master that leads no more.
func TestAgentRefusesALowerFence(t *testing.T) {
	fenced := func(lease balance.LeaseID, fence uint64) []byte {
		return (&wire.Dispatch{Lease: lease, Pool: "p", Fence: fence}).Append(nil)
	}
	young := startMaster(t, &fakeMaster{onWelcome: func(c *fakeConn) { c.Write(fenced(1, 8)) }})
	started := make(chan struct{})
	old := startMaster(t, &fakeMaster{onWelcome: func(c *fakeConn) {
		<-started
		c.Write(fenced(2, 7))
		c.Write(fenced(3, 8))
	}})
	startAgent(t, AgentConfig{Masters: []string{young.addr(), old.addr()}})
	if v := await[wire.Verdict](young, 1, nil)[0]; !v.Accepted {
		t.Errorf("the first dispatch: %+v", v)
	}
	close(started)
	for _, v := range await[wire.Verdict](old, 2, nil) {
		if v.Accepted != (v.Lease == 3) {
			t.Errorf("verdict %+v, want only lease 3 accepted", v)
		}
		if v.Lease == 2 && !strings.Contains(v.Detail, "fence 7 is older than 8") {
			t.Errorf("the refusal says %q", v.Detail)
		}
	}
	if f := await[wire.Fence](old, 1, nil)[0]; f.Pool != "p" || f.Seen != 8 {
		t.Errorf("the master is told %+v, want that 8 was seen", f)
	}
}
