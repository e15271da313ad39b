package balance

import (
	"strings"
	"testing"
)

func TestGrantsTellWhereANameLeads(t *testing.T) {
	p, now := New(Config{Name: "p"}, ByScore{nothing{}}, 1), second
	spec := ServerSpec{ID: "a", Address: "app.test:80", Public: "http://app.test"}
	if err := p.Put(now, spec, true); err != nil {
		t.Fatal(err)
	}
	pick := func() Grant {
		t.Helper()
		g, err := p.Pick(now, &Request{Edge: "e"})
		if err != nil {
			t.Fatal(err)
		}
		p.Done(now, g.Lease, Outcome{})
		return g
	}
	serials := make(map[uint32]string)
	for _, at := range []string{"", "?", "10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80,10.0.0.2:80"} {
		if changed := p.Locate(now, "a", Location{At: at}); changed != (at != "") {
			t.Errorf("%q: changed: %t", at, changed)
		}
		if p.Locate(now, "a", Location{At: at}) {
			t.Errorf("%q, once more, has changed something", at)
		}
		g := pick()
		if g.Server != "a" || g.Address != spec.Address || g.At != at || g.Public != spec.Public {
			t.Errorf("%q: granted %+v", at, g)
		}
		if was, known := serials[g.Serial]; known {
			t.Errorf("%q has the serial of %q", at, was)
		}
		serials[g.Serial] = at
		if told := p.Snapshot(now).Servers[0]; told.At != at || told.Address != spec.Address {
			t.Errorf("%q: edges are told %+v", at, told)
		}
		now += second
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
	}
	spec.Address = "10.0.0.9:80"
	if err := p.Put(now, spec, true); err != nil {
		t.Fatal(err)
	}
	if g := pick(); g.At != "" || g.Address != spec.Address {
		t.Errorf("a new address: granted %+v", g)
	}
}

func TestANameThatLeadsNowhereIsUnhealthy(t *testing.T) {
	p, now := New(Config{Name: "p"}, ByScore{nothing{}}, 1), second
	for _, id := range []ServerID{"a", "b"} {
		if err := p.Put(now, ServerSpec{ID: id, Address: string(id) + ".test:80"}, true); err != nil {
			t.Fatal(err)
		}
	}
	p.Locate(now, "b", Location{At: "10.0.0.2:80"})
	p.Locate(now, "a", Location{At: NowhereFor("a.test: no such host"), Problem: "a.test: no such host", Since: now})
	g, err := p.Pick(now, &Request{})
	if err != nil || g.Server != "b" {
		t.Errorf("granted %+v, %v", g, err)
	}
	v := p.Views(now)[0]
	if got := OutageWords(v.Outages); v.State != Ejected || !strings.Contains(got, "unhealthy since 0s ago by its name; last error: a.test: no such host") {
		t.Errorf("%s: %s", v.State, got)
	}
	if turns := p.Turns(now, nil, 0, 2); len(turns) != 1 || turns[0].Out == nil {
		t.Errorf("the log is told %+v", turns)
	}
	// Where no other is left it is tried, so that its client hears why.
	g, err = p.Pick(now, &Request{Exclude: []ServerID{"b"}})
	if why, nowhere := Nowhere(g.At); err != nil || !nowhere || why != "a.test: no such host" {
		t.Errorf("granted %+v, %v", g, err)
	}
	p.Locate(now, "a", Location{At: "10.0.0.1:80"})
	if v := p.Views(now)[0]; v.State != Up || v.Unhealthy != "" {
		t.Errorf("when it leads somewhere: %s, %s", v.State, v.Unhealthy)
	}
}

func TestANameThatCannotBeLookedUpIsToldAndUsed(t *testing.T) {
	p, now := New(Config{Name: "p"}, ByScore{nothing{}}, 1), second
	if err := p.Put(now, ServerSpec{ID: "a", Address: "a.test:80"}, true); err != nil {
		t.Fatal(err)
	}
	p.Locate(now, "a", Location{At: "10.0.0.1:80"})
	now += 60 * second
	p.Locate(now, "a", Location{At: "10.0.0.1:80", Problem: "a.test: no answer of a resolver", Since: now})
	now += 3 * second
	v := p.Views(now)[0]
	if got := OutageWords(v.Outages); v.State != Up || got != "name-fails since 3s ago by its name: it is taken to be where its name led last, 10.0.0.1:80; last error: a.test: no answer of a resolver; tried next in some seconds" {
		t.Errorf("%s: %s", v.State, got)
	}
	if g, err := p.Pick(now, &Request{}); err != nil || g.At != "10.0.0.1:80" {
		t.Errorf("granted %+v, %v", g, err)
	}
	p.Locate(now, "a", Location{At: "10.0.0.1:80"})
	if v := p.Views(now)[0]; len(v.Outages) > 0 {
		t.Errorf("when it can be looked up again: %s", OutageWords(v.Outages))
	}
}

// What was found of a server where it was says nothing of where it is now.
func TestAServerThatMovesIsTriedAtOnce(t *testing.T) {
	p, now := New(Config{Name: "p"}, ByScore{nothing{}}, 1), second
	for _, id := range []ServerID{"a", "b"} {
		if err := p.Put(now, ServerSpec{ID: id, Address: string(id) + ".test:80"}, true); err != nil {
			t.Fatal(err)
		}
		p.Locate(now, id, Location{At: "10.0.0.1:80"})
	}
	g, err := p.Pick(now, &Request{Edge: "e", Exclude: []ServerID{"b"}})
	if err != nil {
		t.Fatal(err)
	}
	p.Done(now, g.Lease, Outcome{Result: Unreachable, Error: "connection refused"})
	if v := p.Views(now)[0]; v.State != Ejected || v.Unreached != 1 {
		t.Fatalf("it could not be reached: %s, by %d edges", v.State, v.Unreached)
	}
	now += second / 10
	p.Locate(now, "a", Location{At: "10.0.0.2:80"})
	if v := p.Views(now)[0]; v.State != Up || v.Unreached != 0 {
		t.Errorf("it has moved: %s, not reached by %d edges", v.State, v.Unreached)
	}
	if err := p.Check(); err != nil {
		t.Error(err)
	}
}

func TestUnixSocketsAreAddresses(t *testing.T) {
	for address, good := range map[string]bool{
		"unix:/run/app/web.sock": true, "unix:/a": true, "unix:run/app.sock": false, "unix:": false, "unix:/a,b": false, "unix:/run/*": false,
		"unix:@abstract": false, "https://unix:/a": false, "unix:/" + strings.Repeat("a", 107): false,
	} {
		if problem := BadAddress(address); (problem == "") != good {
			t.Errorf("%s: %q", address, problem)
		}
	}
	if BaseURL("unix:/a") != "" {
		t.Errorf("the URL of a unix socket is %q", BaseURL("unix:/a"))
	}
}
