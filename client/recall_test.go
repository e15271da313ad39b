package client

import (
	"reflect"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// An edge tells another process of its master what the one before had learnt, if that takes it.
func TestTheNextMasterIsToldWhatWasLearnt(t *testing.T) {
	for _, c := range []struct {
		name string
		next wire.Welcome
		want int
	}{
		{"restarted", wire.Welcome{Epoch: 2, Recalls: true}, 1},
		{"the same", wire.Welcome{Epoch: 1, Recalls: true}, 0},
		{"does not take it", wire.Welcome{Epoch: 2}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			proto := newEdgeProtocol("e", []string{"p"}, "test")
			proto.open(1)
			hear(t, proto, (&wire.Welcome{Version: wire.MaxVersion, Master: "m", Epoch: 1, Recalls: true}).Append(nil))
			if got := said(t, proto); got[wire.TSnapshot] != 0 {
				t.Errorf("the first master is told %v, want no snapshot: there was none", got)
			}
			hear(t, proto, (&wire.Snapshot{Seq: 5, Snapshot: balance.Snapshot{Pool: "p", Version: 7, Servers: []balance.SnapshotServer{
				{ID: "a", Address: "a:1", Slots: 4, Service: .1, Load: 3, Basis: balance.BasisFirm}, {ID: "b", Address: "b:1", Slots: 1, Service: 1}}}}).Append(nil))
			proto.lost(errSilent)
			proto.open(2)
			c.next.Version, c.next.Master = wire.MaxVersion, "m"
			if _, err := proto.receive(3, c.next.Append(nil)); err != nil {
				t.Fatal(err)
			}
			var m wire.Snapshot
			for out := proto.out; len(out) > 0; {
				typ, payload, size, err := wire.Next(out)
				if err != nil {
					t.Fatal(err)
				}
				if typ == wire.TSnapshot {
					if err := m.Decode(payload); err != nil {
						t.Fatal(err)
					}
				}
				out = out[size:]
			}
			if got := said(t, proto); got[wire.TSnapshot] != c.want {
				t.Fatalf("it is told %v, want %d snapshots", got, c.want)
			}
			if s := m.Snapshot; c.want > 0 && (s.Pool != "p" || len(s.Servers) != 1 || !reflect.DeepEqual(s.Servers[0], balance.SnapshotServer{ID: "a", Slots: 4, Service: .1, Basis: balance.BasisFirm})) {
				t.Errorf("it is told %+v, want server a's slots and time", s)
			}
		})
	}
}
