package master

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// refusedWords is what /metrics says of words on others' leases.
func (r *rig) refusedWords(source, word string) string {
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	_, rest, _ := strings.Cut(w.Body.String(), fmt.Sprintf("\nevenkeel_lease_words_refused_total{pool=\"web\",source=%q,word=%q} ", source, word))
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// A stranger ends, renews and spoils nothing that is another's, whichever way it comes.
func TestStrangersWordsOnLeasesAreRefused(t *testing.T) {
	r := start(t, web("s1", "s2"))
	e1, e2 := r.dialEdge("e1"), r.dialEdge("e2")
	own := r.dialAgent("s1")
	other := r.dialAgent("s2")
	want := func(what string, open int, source, word, counted string) {
		t.Helper()
		if n := r.open(); n != open {
			t.Errorf("%s: %d leases are open, want %d", what, n, open)
		}
		if n := r.refusedWords(source, word); n != counted {
			t.Errorf("%s: %q refused, want %s", what, n, counted)
		}
	}
	ask := func(link balance.Link) balance.Grant {
		e1.ask(wire.Ask{Seq: 1, Pool: "web", Request: balance.Request{Link: link, Exclude: []balance.ServerID{"s2"}}})
		return e1.granted().Grant
	}
	routed, redirected := ask(balance.LinkRoute), ask(balance.LinkRedirect)
	if routed.Tag != 0 || redirected.Tag == 0 {
		t.Fatalf("tags %x and %x, want none of the routed lease and one of the redirected", routed.Tag, redirected.Tag)
	}

	for _, g := range []balance.Grant{routed, redirected} {
		e2.send(&wire.Done{Pool: "web", Lease: g.Lease, Outcome: balance.Outcome{Result: balance.Fault}, Tag: g.Tag})
	}
	e2.sync()
	want("another edge's done", 2, "edge", "done", "2")
	if v := r.view("s1"); v.Success != 1 {
		t.Errorf("success %v after a stranger's faults, want 1", v.Success)
	}
	e2.send(&wire.Hold{Pool: "web", Lease: redirected.Lease, Server: "s1", Left: time.Microsecond})
	e2.sync()
	want("another edge's hold", 2, "edge", "hold", "1")

	// An agent's application is told ids by its clients, so the agent has to bring the tag.
	own.send(&wire.Done{Pool: "web", Lease: redirected.Lease}, &wire.Done{Pool: "web", Lease: redirected.Lease, Tag: redirected.Tag ^ 1}, &wire.Done{Pool: "web", Lease: routed.Lease, Tag: 1})
	own.sync()
	want("the agent without the tag", 2, "agent", "done", "3")
	other.send(&wire.Done{Pool: "web", Lease: redirected.Lease, Tag: redirected.Tag})
	other.sync()
	want("another server's agent", 2, "agent", "done", "4")

	a := newAPI(t, r.Master)
	wrong := balance.TaggedLease{ID: redirected.Lease, Tag: redirected.Tag + 1}.String()
	a.problem("POST", "/v1/leases/"+wrong+"/done", "", 403, "foreign-lease")
	a.problem("POST", "/v1/pools/web/done", fmt.Sprintf(`{"lease":"%s0000000000000000"}`, routed.Lease), 403, "foreign-lease")
	want("the API without the tag", 2, "api", "done", "2")

	r.Edge("in").Done("web", routed.Lease, balance.Outcome{})
	want("the edge in this process", 2, "local", "done", "1")

	e1.send(&wire.Done{Pool: "web", Lease: routed.Lease})
	e1.sync()
	own.send(&wire.Done{Pool: "web", Lease: redirected.Lease, Tag: redirected.Tag})
	own.sync()
	want("the edge's own, and the agent with the tag", 0, "edge", "done", "2")
}

// A master that takes over knows by the edges' word what the former one had told: the tag of a
// lease ends it here too, and no other edge does.
func TestTagsOutliveTheMaster(t *testing.T) {
	old := start(t, web("s1"))
	e := old.dialEdge("e1")
	var grants []balance.Grant
	for i := range 4 {
		e.ask(wire.Ask{Seq: uint64(i), Pool: "web", Request: balance.Request{Link: balance.LinkRedirect}})
		grants = append(grants, e.granted().Grant)
	}
	next := start(t, web("s1"))
	if next.poolNamed("web").tags.of(1) == old.poolNamed("web").tags.of(1) {
		t.Fatal("two masters have one key, though the seed is the same")
	}
	e1, e2, own := next.dialEdge("e1"), next.dialEdge("e2"), next.dialAgent("s1")
	hold := func(g balance.Grant) *wire.Hold {
		return &wire.Hold{Pool: "web", Lease: g.Lease ^ 1<<63, Server: g.Server, Left: time.Minute, Tag: g.Tag} // as of another epoch
	}
	for _, g := range grants {
		e1.send(hold(g))
	}
	e1.sync()
	e2.send(hold(grants[0]), &wire.Done{Pool: "web", Lease: grants[0].Lease ^ 1<<63})
	e2.sync()
	own.send(&wire.Done{Pool: "web", Lease: grants[1].Lease ^ 1<<63, Tag: next.poolNamed("web").tags.of(grants[1].Lease ^ 1<<63)}, &wire.Done{Pool: "web", Lease: grants[2].Lease ^ 1<<63})
	own.sync()
	if n := next.open(); n != 4 {
		t.Fatalf("%d leases are open after strangers' words, want 4", n)
	}
	own.send(&wire.Done{Pool: "web", Lease: grants[1].Lease ^ 1<<63, Tag: grants[1].Tag})
	own.sync()
	w := httptest.NewRecorder()
	told := balance.TaggedLease{ID: grants[2].Lease ^ 1<<63, Tag: grants[2].Tag}.String()
	next.Handler().ServeHTTP(w, httptest.NewRequest("POST", "/v1/leases/"+told+"/done", nil))
	e1.send(&wire.Done{Pool: "web", Lease: grants[3].Lease ^ 1<<63})
	e1.sync()
	if n := next.open(); n != 1 || w.Code != 204 {
		t.Fatalf("%d leases are open after their owners' words, want 1; the API: %d", n, w.Code)
	}
}

func TestTagsTakeNoMemory(t *testing.T) {
	tags, err := newTags()
	if err != nil {
		t.Fatal(err)
	}
	id := balance.LeaseID(1)
	if n := testing.AllocsPerRun(100, func() { id += balance.LeaseID(tags.of(id)) | 1 }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkTag(b *testing.B) {
	tags, err := newTags()
	if err != nil {
		b.Fatal(err)
	}
	for id := balance.LeaseID(1); b.Loop(); id++ {
		tags.of(id)
	}
}

// With certificates, an edge's own is what says which leases are its.
func TestACertificateSaysWhoseLeasesAre(t *testing.T) {
	h := newHouse(t)
	cfg := web("s1")
	cfg.Trust = h.good(trust.Master, "m1")
	r := start(t, cfg)
	edge := func(id balance.EdgeID) *client.Client {
		c, err := client.New(client.Config{Masters: []string{r.addr}, ID: id, Trust: h.good(trust.Edge, string(id))})
		if err != nil {
			t.Fatal(err)
		}
		runAll(t, c.Run)
		return c
	}
	e1, e2 := edge("e1"), edge("e2")
	eventually(t, "both are connected", func() bool { return e1.Connected() && e2.Connected() })
	var leases []balance.LeaseID
	for _, link := range []balance.Link{balance.LinkRoute, balance.LinkRedirect} {
		g, err := e1.Pick(t.Context(), "web", &balance.Request{Link: link})
		if err != nil {
			t.Fatal(err)
		}
		if (g.Tag != 0) != (link == balance.LinkRedirect) {
			t.Errorf("link %s: tag %x", link, g.Tag)
		}
		leases = append(leases, g.Lease)
	}
	for _, lease := range leases {
		e2.Done("web", lease, balance.Outcome{Result: balance.Fault})
	}
	eventually(t, "the stranger's words are refused", func() bool { return r.refusedWords("edge", "done") == "2" })
	if n := r.open(); n != 2 || r.view("s1").Success != 1 {
		t.Errorf("%d leases are open, success %v; want 2 and 1", n, r.view("s1").Success)
	}
	for _, lease := range leases {
		e1.Done("web", lease, balance.Outcome{})
	}
	eventually(t, "their owner ends them", func() bool { return r.open() == 0 })
}
