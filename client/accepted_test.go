package client

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func TestAcceptedLeases(t *testing.T) {
	one, two := new(masterConn), new(masterConn)
	s := newAccepted()
	end := func(lease balance.LeaseID, from *masterConn, elected bool) bool {
		return s.ended(&wire.Ended{Lease: lease, Result: balance.Canceled}, from, elected) != nil
	}
	for lease := range balance.LeaseID(5) {
		s.begin(Dispatch{Lease: lease + 1}, one)
	}
	if list := s.askable(one, false); len(list) != 0 {
		t.Errorf("masters are asked about %v, which the server has not accepted yet", list)
	}
	if end(1, one, false) || end(2, one, false) {
		t.Error("the server is told of an end before it has answered")
	}
	if got := s.answered(1, true); got == nil || got.Dispatch.Lease != 1 || got.Result != balance.Canceled {
		t.Errorf("accepted after the end: %+v, want the end", got)
	}
	if s.answered(2, false) != nil || s.answered(3, false) != nil || s.answered(4, true) != nil || s.answered(5, true) != nil {
		t.Error("told of an end that has not come, or that does not concern the server")
	}
	if end(1, one, false) || end(2, one, false) || end(3, one, false) || end(99, one, false) {
		t.Error("told of an end twice, or of a lease that was not accepted")
	}
	if end(4, two, false) {
		t.Error("without an election another master's word counts")
	}
	if a, b, all := s.askable(one, false), s.askable(two, false), s.askable(two, true); len(a) != 2 || len(b) != 0 || len(all) != 2 {
		t.Errorf("masters are asked about %v, %v and, elected, %v; want those that they have dispatched, and all", a, b, all)
	}
	if !end(4, two, true) || !end(5, one, false) || end(4, two, true) {
		t.Error("the ends of 4 and 5 are to be told, once")
	}
}

// An agent that has lost a connection asks about what its server works on, and only a master that takes the question.
func TestAgentsAskForEnds(t *testing.T) {
	first, later := make(chan struct{}, 1), make(chan *fakeConn, 2)
	first <- struct{}{}
	m := startMaster(t, &fakeMaster{ends: true, onWelcome: func(c *fakeConn) {
		select {
		case <-first:
			c.Write(dispatch(1, "accept", time.Minute))
			c.Write(dispatch(2, "refuse", time.Minute))
			c.Write(dispatch(3, "accept", time.Minute))
		default:
			later <- c
		}
	}})
	ends := make(chan LeaseEnd, 8)
	startAgent(t, AgentConfig{Masters: []string{m.addr()}, Ended: func(e LeaseEnd) { ends <- e }, Dispatch: func(_ context.Context, d Dispatch) error {
		if d.Request.Key == "refuse" {
			return errors.New("no room")
		}
		return nil
	}})
	await[wire.Verdict](m, 3, nil)
	m.cut()
	c := <-later
	w := await(m, 1, func(w wire.Working) bool { return len(w.Leases) == 2 })[0]
	if slices.Sort(w.Leases); !slices.Equal(w.Leases, []balance.LeaseID{1, 3}) {
		t.Errorf("asked about %v, want what was accepted", w.Leases)
	}
	c.Write((&wire.Ended{Lease: 3, Lost: true}).Append(nil))
	if e := <-ends; e.Dispatch.Lease != 3 || !e.Lost {
		t.Errorf("told of %+v, want the end of 3", e)
	}
	m.cut()
	<-later
	await(m, 1, func(w wire.Working) bool { return slices.Equal(w.Leases, []balance.LeaseID{1}) })
	if len(ends) > 0 {
		t.Errorf("told of %+v besides", <-ends)
	}
}

// Of a master that tells no ends nothing is remembered: it would never be forgotten.
func TestEndsOfAnOlderMasterAreNotAwaited(t *testing.T) {
	m := startMaster(t, &fakeMaster{onWelcome: func(c *fakeConn) { c.Write(dispatch(1, "", time.Minute)) }})
	a, stop := startAgent(t, AgentConfig{Masters: []string{m.addr()}, Ended: func(LeaseEnd) {}})
	await[wire.Verdict](m, 1, nil)
	stop()
	if n := len(a.accepted.leases); n != 0 {
		t.Errorf("%d leases are remembered", n)
	}
}
