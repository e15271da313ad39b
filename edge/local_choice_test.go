package edge

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/edge/routing"

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

// A request that asks for labels goes to servers alone that carry them: where an edge chooses it asks the master, and without a master it
// chooses among those of the snapshot, or answers 503.
func TestLabelsCountWhereAnEdgeChooses(t *testing.T) {
	eachPicker(t, func(t *testing.T) {
		plain, gpu := server(t, echo), server(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Gpu", "yes") })
		p := newFakePicker()
		alone := false // no master answers
		p.pick = func(_ context.Context, req *balance.Request) (balance.Grant, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			switch {
			case alone:
				return balance.Grant{}, context.DeadlineExceeded
			case len(req.Labels) > 0 || req.Location != "" || req.Hold > 0:
				return granted("b", gpu), nil
			}
			return granted("a", plain), nil
		}
		p.from = 1
		p.snap = &balance.Snapshot{Pool: "web", Canary: 1, Servers: []balance.SnapshotServer{
			{ID: "a", Address: plain.Listener.Addr().String(), Slots: 100, Service: 1},
			{ID: "c", Address: plain.Listener.Addr().String(), Slots: 100, Service: 1, Kind: balance.IsCanary},
			{ID: "b", Address: gpu.Listener.Addr().String(), Slots: 1, Service: 1, Labels: []balance.Label{{Key: "zone", Value: "b"}, {Key: "gpu", Value: "yes"}}},
		}}
		r := run(t, p, func(c *Config) {
			c.Listeners[0].Routes[0].Facts = routing.Facts{Labels: map[string]string{"gpu": "header:X-Gpu"}, Location: "header:X-At", Hold: "header:X-Hold"}
		})
		eventually(t, "the edge chooses", func() bool {
			r.do(r.request("GET", "/x", ""))
			_, chosen := p.counts()
			return chosen > 0
		})
		_, chosen := p.counts()
		for _, header := range []string{"X-Gpu", "X-At", "X-Hold"} {
			value := map[string]string{"X-Gpu": "yes", "X-At": "eu", "X-Hold": "90s"}[header]
			if res, body := r.do(r.request("GET", "/x", "", header, value)); res.Header.Get("X-Gpu") != "yes" {
				t.Errorf("with %s: answered by the wrong server: %d %s", header, res.StatusCode, body)
			}
		}
		if _, c := p.counts(); c != chosen {
			t.Errorf("for %d of 3 requests with labels, a location or a time limit the edge chose", c-chosen)
		}

		p.mu.Lock()
		alone, p.from = true, 0
		p.mu.Unlock()
		for range 3 {
			if res, body := r.do(r.request("GET", "/x", "", "X-Gpu", "yes")); res.StatusCode != 200 || res.Header.Get("X-Gpu") != "yes" {
				t.Errorf("without a master, answered by the wrong server: %d %s", res.StatusCode, body)
			}
		}
		if res, body := r.do(r.request("GET", "/x", "", "X-Gpu", "no")); res.StatusCode != 503 || !strings.Contains(body, `"no-server"`) {
			t.Errorf("without a server that carries the label: %d %s, want 503", res.StatusCode, body)
		}
	})
}
