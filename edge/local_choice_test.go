package edge

import (
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Where asks take longer than the master says that they are worth, the edge chooses from the snapshot and tells the
// master; redirects, and requests that a server has failed, ask all the same.
func TestLocalChoicesAreToldAndEnded(t *testing.T) {
	eachPicker(t, func(t *testing.T) {
		good := server(t, echo)
		p := to(granted("a", good))
		p.from = 1 // nanosecond: every ask takes longer
		p.snap = &balance.Snapshot{Pool: "web", Servers: []balance.SnapshotServer{
			{ID: "out", Address: "127.0.0.1:1", State: balance.Ejected, Slots: 100, Service: 1},
			{ID: "a", Address: good.Listener.Addr().String(), Slots: 1, Service: 1},
		}}
		r := run(t, p, nil)
		eventually(t, "the edge chooses", func() bool {
			r.do(r.request("GET", "/x", ""))
			_, chosen := p.counts()
			return chosen > 0
		})
		asked, chosen := p.counts()
		for range 20 {
			r.do(r.request("GET", "/x", ""))
		}
		if a, c := p.counts(); a+c != asked+chosen+20 || a > asked+1 {
			t.Errorf("of 20 requests %d asked, and for %d the edge chose; want one to ask at most", a-asked, c-chosen)
		}
		for i, result := range p.results(t) {
			if result != balance.OK {
				t.Errorf("lease %d ended as %v, want ok", i+1, result)
			}
		}
	})
}

// A server that cannot be reached looks idle. The request asks for another, and so do the next ones.
func TestALocalChoiceThatFailsAsks(t *testing.T) {
	eachPicker(t, func(t *testing.T) {
		good, gone := server(t, echo), dead(t, "gone")
		p := to(granted("a", good))
		p.from = 1
		p.snap = &balance.Snapshot{Pool: "web", Servers: []balance.SnapshotServer{{ID: "gone", Address: gone.Address, Slots: 1, Service: 1}}}
		r := run(t, p, nil)
		eventually(t, "the edge chooses", func() bool {
			res, body := r.do(r.request("GET", "/x", ""))
			if res.StatusCode != 200 {
				t.Fatalf("got %d %s, want the answer of the server that the master grants", res.StatusCode, body)
			}
			_, chosen := p.counts()
			return chosen > 0
		})
		_, chosen := p.counts()
		for range 10 { // fewer than what makes it choose again
			r.do(r.request("GET", "/x", ""))
		}
		if _, c := p.counts(); c != chosen {
			t.Errorf("%d more requests went to a server of the edge's own choice, want none", c-chosen)
		}
	})
}
