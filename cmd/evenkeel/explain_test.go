package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/master"
)

// operated is a master of pools web, with one server too busy, and turns, whose API is
// served, and a lease of pool web.
func operated(t *testing.T) (m *master.Master, admin string, lease balance.LeaseID) {
	t.Helper()
	server := func(id balance.ServerID) balance.ServerSpec {
		return balance.ServerSpec{ID: id, Address: string(id) + ".test:80"}
	}
	m, err := master.New(master.Config{Seed: 1, Pools: []master.PoolConfig{
		{Name: "web", Servers: []balance.ServerSpec{server("s1"), server("s2"), server("s3")}},
		{Name: "turns", Policy: "round-robin", Servers: []balance.ServerSpec{server("t1"), server("t2")}},
		{Name: "limited", Servers: []balance.ServerSpec{{ID: "l1", Address: "l1.test:80", Slots: 2, Speed: 2}, {ID: "l2", Address: "l2.test:80", Slots: 8}}},
		{Name: "empty"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(unguarded(m))
	t.Cleanup(s.Close)
	e := m.Edge("e1")
	for _, busy := range []balance.ServerID{"s1", "s2"} {
		e.Report("web", balance.Report{Server: busy, Metrics: []balance.Metric{{Name: balance.InFlight, Value: 20}}})
	}
	g, err := e.Pick(context.Background(), "web", &balance.Request{Key: "user-17", Priority: 4})
	if err != nil {
		t.Fatal(err)
	}
	return m, s.URL, g.Lease
}

func TestExplain(t *testing.T) {
	m, admin, lease := operated(t)
	turn, err := m.Edge("e1").Pick(context.Background(), "turns", &balance.Request{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		says []string // regular expressions
	}{
		{[]string{lease.String()}, []string{`^lease ` + lease.String() + ` went to s3 because its score [0-9.]+ was the lowest of 3\n`,
			`pool web; it is open, for .*, held by edge e1\n`, `key "sha256:9da2aeb24657b466"\npriority 4\n`, `server +why +score +n +x +limit +room +c +told +b +g +sr +affinity +distance +reported +b from +c from\ns3 +chosen .* never +the pool\x27s mean +assumed\n`,
			`s1 +higher score +[0-9.]+ +20 +20 +- +- .* ago +the pool`}},
		{[]string{"--pool", "limited"}, []string{`\nl1 +chosen +[0-9.]+ +0 +0 +2 +2 +2 +2 `, `\nl2 +higher score +[0-9.]+ +0 +0 +8 +8 +8 +8 `}},
		{[]string{turn.Lease.String()}, []string{`because policy round-robin, which compares nothing, took it from 2\n`, `t[12] +chosen +-`, `and 1 further from being chosen`}},
		{[]string{"--pool", "web", "--exclude", "s3"}, []string{`^a request to pool web would go to s[12] because its score [0-9.]+ was the lowest of those that could take it`, `s3 +excluded: it has already failed`}},
		{[]string{"--pool", "web", "--label", "zone=b"}, []string{`^a request to pool web would get no server now; 0 wait in its queue\n`, `lacks the labels`}},
		{[]string{"--pool", "turns"}, []string{`would go to any server that may be chosen: policy round-robin compares nothing`}},
		{[]string{"--pool", "empty"}, []string{`would get no server now`}},
	} {
		code, stdout, stderr := say(t, append([]string{"explain", "--admin", admin}, c.args...)...)
		if code != 0 {
			t.Errorf("explain %v: got exit code %d: %s", c.args, code, stderr)
		}
		for _, want := range c.says {
			if !regexp.MustCompile(want).MatchString(stdout) {
				t.Errorf("explain %v: got\n%s\nwant it to match %s", c.args, stdout, want)
			}
		}
	}
	m.Edge("e1").Done("web", lease, balance.Outcome{})
	if _, stdout, _ := say(t, "explain", "--admin", admin, lease.String()); !strings.Contains(stdout, "it is over, and was granted") {
		t.Errorf("got\n%s\nwant that the lease is over", stdout)
	}
	code, stdout, _ := say(t, "explain", "--admin", strings.TrimPrefix(admin, "http://"), "--json", lease.String())
	var told struct {
		Server   string
		Decision struct{ Candidates []any }
	}
	if err := json.Unmarshal([]byte(stdout), &told); code != 0 || err != nil || told.Server != "s3" || len(told.Decision.Candidates) != 3 {
		t.Errorf("--json: got exit code %d, %v and\n%s", code, err, stdout)
	}
}

func TestDrain(t *testing.T) {
	m, admin, _ := operated(t)
	for _, c := range []struct {
		verb, says string
		up         balance.State
	}{{"drain", "server s1 of pool web gets no new requests", balance.Draining}, {"undrain", "server s1 of pool web takes requests", balance.Up}} {
		code, stdout, stderr := say(t, c.verb, "s1", "--pool", "web", "--admin", admin)
		if state := m.Edge("e1").Snapshot("web").Servers[0].State; code != 0 || strings.TrimSpace(stdout) != c.says || state != c.up {
			t.Errorf("%s: got exit code %d, %q %s and s1 %s, want %s", c.verb, code, stdout, stderr, state, c.up)
		}
	}
}

func TestOperatorsAreToldWhatIsWrong(t *testing.T) {
	_, admin, _ := operated(t)
	stranger := httptest.NewServer(http.NotFoundHandler())
	defer stranger.Close()
	dead := httptest.NewServer(nil)
	dead.Close()
	for _, c := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"status", "--admin", stranger.URL}, 1, []string{"does not serve a master's API: 404"}},
		{[]string{"drain", "s1", "--pool", "web", "--deadline", "2"}, 2, []string{"--deadline", "a time needs its unit, such as 10s"}},
		{[]string{"run", "--server", "http://127.0.0.1:1", "--admin", "7480"}, 2, []string{`"7480" is a port alone, want host:port, such as :7480`}},
		{[]string{"explain"}, 2, []string{"either one request or lease, or a --pool, or a --server", "hint:"}},
		{[]string{"explain", "0003f00000000017", "--pool", "web"}, 2, []string{"either one request or lease, or a --pool, or a --server"}},
		{[]string{"explain", "--admin", admin, "xyz"}, 1, []string{"error: request xyz: not among the recent decisions", "hint:  decisions"}},
		{[]string{"explain", "--admin", admin, "--server", "s9"}, 1, []string{`error: no pool has a server "s9"`, "hint:  evenkeel status"}},
		{[]string{"explain", "--admin", admin, "--server", "s9", "--pool", "web"}, 1, []string{`pool web has no server "s9"`}},
		{[]string{"explain", "--pool", "web", "--label", "x"}, 2, []string{`--label "x"`}},
		{[]string{"explain", "--pool", "web", "--admin", "ftp://x"}, 2, []string{`--admin "ftp://x": want a URL`}},
		{[]string{"explain", "--admin", admin, "0003f00000000017"}, 1, []string{"error: lease 0003f00000000017: not open", "hint:  decisions"}},
		{[]string{"explain", "--admin", admin, "--pool", "wbe"}, 1, []string{`no pool "wbe"`, "hint:"}},
		{[]string{"explain", "--admin", dead.URL, "--pool", "web"}, 1, []string{"error: no master answers at " + dead.URL, "refused", "hint:  --admin"}},
		{[]string{"explain", "--admin", stranger.URL, "--pool", "web"}, 1, []string{"does not serve a master's API: 404", "hint:"}},
		{[]string{"drain"}, 2, []string{"drain takes one server and its --pool"}},
		{[]string{"undrain", "a", "b", "--pool", "web"}, 2, []string{"undrain takes one server"}},
		{[]string{"drain", "s9", "--pool", "web", "--admin", admin}, 1, []string{`has no server "s9"`, "hint:"}},
		{[]string{"drain", "s1", "--pool", "web", "--admin", dead.URL}, 1, []string{"no master answers"}},
	} {
		code, stdout, stderr := say(t, c.args...)
		if code != c.code {
			t.Errorf("evenkeel %v: got exit code %d, want %d:\n%s%s", c.args, code, c.code, stdout, stderr)
		}
		for _, want := range c.says {
			if !strings.Contains(stderr, want) {
				t.Errorf("evenkeel %v: got\n%s\nwant it to say %q", c.args, stderr, want)
			}
		}
	}
}

// An explanation says how far the request's tenant was believed.
func TestExplanationsTellHowFarATenantIsBelieved(t *testing.T) {
	for _, c := range []struct{ tenant, belief, want string }{
		{"", "", ""},
		{"acme", "told", "tenant \"acme\"\n"},
		{"acme", "proven", "tenant \"acme\", proven\n"},
		{"acme", "disbelieved", "tenant \"acme\", which is not proven: the request shares a line with all such\n"},
		{"", "disbelieved", "tenant not proven: the request shares a line with all such\n"},
	} {
		var d decisionAnswer
		d.Request.Tenant, d.Request.Belief = c.tenant, c.belief
		var out strings.Builder
		if d.printTenant(&out); out.String() != c.want {
			t.Errorf("%q, %s: got %q, want %q", c.tenant, c.belief, out.String(), c.want)
		}
	}
}
