package client

import (
	"context"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func TestGrantsByNumber(t *testing.T) {
	grants := []wire.Granted{
		{Number: 2, Grant: balance.Grant{Server: "a", Address: "a:1", Public: "http://a"}},
		{Number: 2},
		{Number: 1, Grant: balance.Grant{Server: "b", Address: "b:1"}},
		{Number: 2, Grant: balance.Grant{Server: "a", Address: "a:2"}},
		{Number: 1},
		{Number: 2},
		{Number: 3},
	}
	asks := 0
	m := startMaster(t, &fakeMaster{onAsk: func(c *fakeConn, ask *wire.Ask) {
		g := grants[asks]
		asks++
		g.Seq, g.Grant.Lease = ask.Seq, balance.LeaseID(0x100+asks)
		c.out = g.Append(c.out, 1)
	}})
	c := start(t, Config{Masters: []string{m.addr()}}, m)
	for i, want := range []string{"a:1", "a:1", "b:1", "a:2", "b:1", "a:2", ""} {
		g, err := c.Pick(context.Background(), "p", &balance.Request{})
		if want == "" {
			if err == nil {
				t.Errorf("a number that has no name: %+v", g)
			}
			continue
		}
		if err != nil || g.Address != want || string(g.Server) != want[:1] {
			t.Errorf("grant %d: %+v, %v, want %s", i, g, err, want)
		}
		c.Done("p", g.Lease, balance.Outcome{})
	}
	for i, d := range await[wire.Done](m, 6, nil) {
		if d.Pool != "p" || d.Lease != balance.LeaseID(0x101+i) {
			t.Errorf("done %d: %+v", i, d)
		}
	}
}
