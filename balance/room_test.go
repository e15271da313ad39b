package balance

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// roomy returns a pool of servers with a slot each, of which the first so many carry the label gpu=yes.
func roomy(t interface{ Fatal(...any) }, servers, labelled int) *Pool {
	p := New(Config{Name: "web", QueueSize: 100}, ByScore{nothing{}}, 1)
	for i := range servers {
		spec := ServerSpec{ID: ServerID(fmt.Sprint("s", i)), Address: "127.0.0.1:80", Slots: 1}
		if i < labelled {
			spec.Labels = gpu
		}
		if err := p.Put(second, spec, true); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

var gpu = []Label{{Key: "gpu", Value: "yes"}}

// Requests that wait for servers with a label do not keep other requests from servers without it, however many they are.
func TestWaitingLabelledRequestsBlockNoOthers(t *testing.T) {
	const waiting = 4 * lookahead
	for _, newcomer := range []struct {
		name string
		req  Request
	}{{"plain", Request{}}, {"of another tenant", Request{Tenant: "other"}}, {"urgent", Request{Priority: 1}}} {
		t.Run(newcomer.name, func(t *testing.T) {
			p, now := roomy(t, 3, 1), Instant(time.Hour)
			var held []LeaseID
			for range 3 {
				g, err := p.Pick(now, &Request{})
				if err != nil {
					t.Fatal(err)
				}
				held = append(held, g.Lease)
			}
			wait := func(req *Request) WaitID {
				t.Helper()
				if _, err := p.Pick(now, req); err == nil {
					t.Fatalf("a full pool takes %+v", req)
				}
				id, _, refusal := p.Join(now, req)
				if refusal != nil {
					t.Fatal(refusal)
				}
				return id
			}
			for range waiting {
				wait(&Request{Labels: gpu})
			}
			late := wait(&newcomer.req)
			for _, id := range held {
				if l, _ := p.Lease(id); l.Server == "s1" {
					p.Done(now, id, Outcome{})
				}
			}
			if out := p.Serve(now, nil); len(out) != 1 || out[0].ID != late || out[0].Grant.Server != "s1" {
				t.Fatalf("s1 has come free, and Serve released %+v, want the only waiter that may go there, %d", out, late)
			}
			for _, id := range held {
				if l, _ := p.Lease(id); l.Server == "s2" {
					p.Done(now, id, Outcome{})
				}
			}
			if out := p.Serve(now, nil); len(out) != 0 {
				t.Fatalf("Serve released %+v: all that wait ask for s0", out)
			}
			if g, err := p.Pick(now, &newcomer.req); err != nil || g.Server != "s2" {
				t.Errorf("picked %q, %v, want s2: those that wait cannot use it", g.Server, err)
			}
			for _, id := range held {
				if l, open := p.Lease(id); open && l.Server == "s0" {
					p.Done(now, id, Outcome{})
				}
			}
			if _, err := p.Pick(now, &newcomer.req); newcomer.req.Priority == 0 && err == nil {
				t.Error("a newcomer took the server that those wait for who ask for its label")
			}
			if out := p.Serve(now, nil); newcomer.req.Priority == 0 && (len(out) != 1 || out[0].Grant.Server != "s0") {
				t.Errorf("s0 has come free, and Serve released %+v", out)
			}
			if err := p.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Nor do they when the servers with the label can take nothing any more.
func TestWaitingRequestsForServersThatLeaveBlockNoOthers(t *testing.T) {
	for name, leave := range map[string]func(p *Pool, now Instant){
		"drained": func(p *Pool, now Instant) {
			if err := p.Override(now, "s0", Override{On: true, At: 1}, now); err != nil {
				t.Fatal(err)
			}
		},
		"gone": func(p *Pool, now Instant) { p.Goodbye(now, "s0") },
	} {
		p, now := roomy(t, 2, 1), Instant(time.Hour)
		var plain LeaseID
		for range 2 {
			g, err := p.Pick(now, &Request{})
			if err != nil {
				t.Fatal(err)
			}
			if g.Server == "s1" {
				plain = g.Lease
			}
		}
		for range 4 * lookahead {
			if _, _, refusal := p.Join(now, &Request{Labels: gpu}); refusal != nil {
				t.Fatal(refusal)
			}
		}
		late, _, refusal := p.Join(now, &Request{})
		if refusal != nil {
			t.Fatal(refusal)
		}
		leave(p, now)
		p.Done(now, plain, Outcome{})
		if out := p.Serve(now, nil); len(out) != 1 || out[0].ID != late || out[0].Grant.Server != "s1" {
			t.Errorf("%s: s1 has come free, and Serve released %+v, want the only waiter that may go there, %d", name, out, late)
		}
		if err := p.Check(); err != nil {
			t.Error(err)
		}
	}
}

// A pool that is found full by what it counts is full as its servers stand, whatever happens in whatever order, and the
// other way round, for requests with labels, with servers excluded, and of edges that do not reach all servers.
func TestAPoolIsFullAsItsServersAre(t *testing.T) {
	var full, open, edge int
	checkUntil(t, func() bool { return full > 0 && open > 0 && edge > 0 }, func(t *rapid.T) {
		const servers = 6
		p := roomy(t, 0, 0)
		now := Instant(time.Hour)
		var held []LeaseID
		ids := make([]ServerID, servers)
		for i := range ids {
			ids[i] = ServerID(fmt.Sprint("s", i))
		}
		draw := func(t *rapid.T) *Request {
			req := &Request{Edge: rapid.SampledFrom([]EdgeID{"e1", "e2"}).Draw(t, "edge")}
			if rapid.Bool().Draw(t, "labelled") {
				req.Labels = gpu
			}
			if rapid.Bool().Draw(t, "excluding") {
				req.Exclude = []ServerID{rapid.SampledFrom(ids).Draw(t, "excluded")}
			}
			return req
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				spec := ServerSpec{ID: rapid.SampledFrom(ids).Draw(t, "server"), Address: "127.0.0.1:80", Slots: float64(rapid.IntRange(1, 2).Draw(t, "slots"))}
				if rapid.Bool().Draw(t, "labelled") {
					spec.Labels = gpu
				}
				if err := p.Put(now, spec, false); err != nil {
					t.Fatal(err)
				}
			},
			"leave": func(t *rapid.T) { p.Goodbye(now, rapid.SampledFrom(ids).Draw(t, "server")) },
			"drain": func(t *rapid.T) {
				p.Override(now, rapid.SampledFrom(ids).Draw(t, "server"), Override{On: rapid.Bool().Draw(t, "on")}, now)
			},
			"pick": func(t *rapid.T) {
				if g, err := p.Pick(now, draw(t)); err == nil {
					held = append(held, g.Lease)
				}
			},
			"done": func(t *rapid.T) {
				if len(held) == 0 {
					return
				}
				i := rapid.IntRange(0, len(held)-1).Draw(t, "lease")
				p.Done(now, held[i], Outcome{Result: rapid.SampledFrom([]Result{OK, OK, OK, Fault, Unreachable, Unreachable, Full}).Draw(t, "result"), Duration: time.Millisecond})
				held = slices.Delete(held, i, i+1)
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "step")))
				p.Expire(now)
				p.Serve(now, nil)
			},
			"": func(t *rapid.T) {
				if err := p.Check(); err != nil {
					t.Fatal(err)
				}
				p.wake(now)
				p.maintainRound(now)
				req := draw(t)
				beyond := p.beyond(now, req.Edge)
				got := p.isFull(now, req, beyond)
				room := len(p.filter(now, req, beyond, p.belowLimit)) > 0
				switch want := !room && p.mayWait(now, req, beyond); {
				case got && !want:
					t.Fatalf("%+v finds the pool full, and a server has room: %v, or none may be waited for", req, room)
				case want:
					full++
				case room:
					open++
				}
				if got && beyond != nil {
					edge++
				}
				p.checkOrders(t, now)
			},
		})
	})
}

// checkUntil checks a property, and again until what it is about has come up: a hundred sequences that are drawn by chance may miss it.
func checkUntil(t *testing.T, cameUp func() bool, property func(*rapid.T)) {
	t.Helper()
	for range 50 {
		if rapid.Check(t, property); t.Failed() || cameUp() {
			return
		}
	}
	t.Error("what the property is about never comes up")
}

// checkOrders fails if a server does not stand in the orders in which it belongs as it stands in the pool's.
func (p *Pool) checkOrders(t interface{ Fatalf(string, ...any) }, now Instant) {
	for _, s := range p.servers {
		for name, g := range p.groups {
			want := never
			if g.has(s) {
				want = p.order.of(s.index)
			}
			if got := g.order.of(s.index); got != want {
				t.Fatalf("server %s has key %x among those with %q, want %x", s.spec.ID, got, name, want)
			}
		}
		for _, b := range p.reachable {
			want := never
			if !b.has(now, s) {
				want = p.order.of(s.index)
			}
			if got := b.order.of(s.index); got != want && now < b.until {
				t.Fatalf("server %s has key %x among those that an edge reaches, want %x", s.spec.ID, got, want)
			}
		}
	}
}
