package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/agent"
	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
)

// checked runs check on a file with this text and returns its exit code and all that it says.
func checked(t *testing.T, text string, flags ...string) (code int, said string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, stderr strings.Builder
	code = execute(context.Background(), append([]string{"check", path}, flags...), &out, &stderr)
	return code, strings.ReplaceAll(out.String()+stderr.String(), path, "f.yaml")
}

// What cannot work is a problem, at its line, with what to write instead.
func TestCheckNamesLineCauseAndCure(t *testing.T) {
	const tail = "pools: { web: { servers: [ { address: \"127.0.0.1:1\" } ] } }\n"
	server := func(address string) string {
		return fmt.Sprintf("pools:\n  web:\n    servers:\n      - { address: %q }\n", address)
	}
	listener := func(words string) string { return tail + "edge:\n  listeners:\n    - { " + words + " }\n" }
	route := func(words string) string {
		return listener("listen: \":8080\", routes: [ { pool: web, " + words + " } ]")
	}
	for _, c := range []struct {
		text string
		want []string
	}{
		{listener("listen: \":8080\", header_count: 0, routes: [ { pool: web } ]"), []string{"f.yaml:4:", `header_count: "0": want more than 0; leave it out for the default`}},
		{listener("listen: \":8080\", header_limit: 10 GB, routes: [ { pool: web } ]"), []string{"f.yaml:4:", "10000000000 bytes, want at most 16MiB"}},
		{listener("listen: \":8080\", body_limit: 10gb, routes: [ { pool: web } ]"), []string{"f.yaml:4:", `did you mean "10GB"?`}},
		{server("fd00::7:90"), []string{"f.yaml:4:", "[fd00::7]:90"}},
		{server("app.internal"), []string{"f.yaml:4:", "has no port", "app.internal:8000"}},
		{server("http://app:90/v1"), []string{"f.yaml:4:", "nothing behind it"}},
		{server("app:70000"), []string{"f.yaml:4:", "1 to 65535"}},
		{server("two words:90"), []string{"f.yaml:4:", `host "two words"`}},
		{server("90"), []string{"f.yaml:4:", "10.0.0.5:90"}},
		{"pools:\n  web:\n    servers:\n      - { id: a, address: \"h:1\" }\n      - { id: b, address: \"http://h:1/\" }\n", []string{"f.yaml:5:", "also the address of servers[0]"}},
		{"pools:\n  a:\n    servers: [ { address: \"h:1\", slots: 2 } ]\n  b:\n    servers: [ { address: \"https://H:1\", slots: 3 } ]\n", []string{"f.yaml:5:", "3, but pool a has 2 for the same server, h:1 (pools.a.servers[0].slots, on line 3)"}},
		{"pools:\n  a:\n    max_in_flight: 1\n    servers: [ { address: \"h:1\" } ]\n  b:\n    servers: [ { address: \"h:1\", max_in_flight: 2 } ]\n", []string{"f.yaml:6:", "2, but pool a has 1 for the same server, h:1 (pools.a.max_in_flight, on line 3)"}},
		{"pools:\n  web:\n    servers: [ { address: \"h:1\", pools: [ wbe ] } ]\n", []string{"f.yaml:3:", `"wbe" is none of the file's pools`, `did you mean "web"?`}},
		{"pools:\n  a:\n    servers: [ { address: \"h:1\", pools: [ b ] } ]\n  b:\n    servers: [ { address: \"h:1\" } ]\n", []string{"f.yaml:3:", "pool b lists a server at h:1 itself"}},
		{"pools:\n  web:\n    policy: LeastConn\n", []string{"f.yaml:3:", `did you mean "least-load"?`}},
		{"pools:\n  web:\n    share: { version=2: 0.05 }\n", []string{"f.yaml:3:", `pools.web.share: version=2: "0.05"`, "want a percentage, such as 0.05% or 5%"}},
		{"pools:\n  web:\n    share: { version=2: 5 }\n", []string{"f.yaml:3:", "want a percentage, such as 5%\n"}},
		{"pools:\n  web:\n    share: { \"version=2,version=3\": 5% }\n", []string{"f.yaml:3:", `"version=2,version=3": a label is there twice, and a server carries one value of each`}},
		{"pools:\n  web:\n    share: { version=2: 105% }\n", []string{"f.yaml:3:", "105%, want 0% to 100%"}},
		{"pools:\n  web:\n    share: { version: 5% }\n", []string{"f.yaml:3:", `"version", want the labels`, "such as version=2"}},
		{"pools:\n  web:\n    share: { version=2: 5%, version=3: 5% }\n", []string{"f.yaml:3:", "2 of them, want one"}},
		{"pools:\n  web:\n    overflow: { pool: cloud, when: wait > 5s }\n", []string{"f.yaml:3:", `"cloud" is none of the pools`}},
		{"pools:\n  web:\n    overflow: { pool: clod, when: wait > 5s }\n  cloud: {}\n", []string{"f.yaml:3:", `did you mean "cloud"?`}},
		{"pools:\n  web:\n    overflow: { when: wait > 5s }\n", []string{"f.yaml:3:", "empty, want the pool that takes the requests"}},
		{"pools:\n  web:\n    overflow: { pool: web, when: wait > 5s }\n", []string{"f.yaml:3:", "requests would go round in a circle: web to web"}},
		{"pools:\n  a:\n    overflow: { pool: b }\n  b:\n    overflow: { pool: a }\n", []string{"f.yaml:3:", "in a circle: a to b to a", "f.yaml:5:", "in a circle: b to a to b"}},
		{"pools:\n  web:\n    overflow: { pool: cloud, when: 5s }\n  cloud: {}\n", []string{"f.yaml:3:", "such as wait > 5s"}},
		{"pools:\n  web:\n    policy: ring_hash\n", []string{`did you mean "consistent-hash"?`}},
		{"pools:\n  web:\n    utilization: \"queue_depth / 9\"\n", []string{"f.yaml:3:", "named_metrics.queue_depth"}},
		{"pools:\n  web:\n    utilization: \"cpu_utilisation\"\n", []string{"did you mean cpu_utilization?"}},
		{"pools:\n  web:\n    utilization: \"named_metrics.a-b\"\n", []string{`metric("named_metrics.a-b")`}},
		{"pools:\n  web:\n    utilization: \"app:load\"\n", []string{`metric("named_metrics.app:load")`}},
		{"pools:\n  web:\n    utilization: \"median(rps)\"\n", []string{"functions are min, max"}},
		{"pools:\n  web:\n    utilization: \"max(\"\n", []string{"more has to follow"}},
		{listener(`listen: "*:90", routes: [ { pool: web } ]`), []string{"f.yaml:4:", "want :90"}},
		{listener(`listen: 90, routes: [ { pool: web } ]`), []string{"f.yaml:4:", ":90"}},
		{listener(`listen: "::1:90", routes: [ { pool: web } ]`), []string{"[::1]:90"}},
		{listener(`listen: ":90", mode: layer4, routes: [ { pool: web } ]`), []string{`did you mean "tcp"?`}},
		{listener(`listen: ":90", trusted_proxies: [ "::ffff:192.0.2.0/120" ], routes: [ { pool: web } ]`), []string{"f.yaml:4:", "want 192.0.2.0/24"}},
		{listener(`listen: ":90", trusted_proxies: [ "::ffff:192.0.2.9" ], routes: [ { pool: web } ]`), []string{"want 192.0.2.9/32"}},
		{listener(`listen: ":90", routes: [ { pool: wbe } ]`), []string{"f.yaml:4:", `did you mean "web"?`}},
		{route(`path: "/api/*"`), []string{"f.yaml:4:", `want "/api"`}},
		{route(`path: "/*"`), []string{"leave the path out"}},
		{route(`path: "/a?x=1"`), []string{`want "/a"`}},
		{route(`path: "/a%20b"`), []string{`want "/a b"`}},
		{route(`path: "api"`), []string{`"/api"`}},
		{route(`path: "~ ^/api"`), []string{"regular expression"}},
		{route(`host: "münchen.example"`), []string{`"xn--mnchen-3ya.example"`}},
		{route(`host: "*.münchen.example"`), []string{`"*.xn--mnchen-3ya.example"`}},
		{route(`host: "https://a.example:90/x"`), []string{`"a.example"`}},
		{route(`link: direct`), []string{`did you mean "redirect"?`}},
		{route(`server_protocol: grpc`), []string{`did you mean "h2"?`}},
		{listener(`listen: ":90", routes: [ { pool: web, path: /api }, { pool: web, path: /api/ } ]`), []string{"f.yaml:4:", "matches the same as routes[0]"}},
		{"master: { listen: \"127.0.0.1:90\" }\n" + listener(`listen: ":90", routes: [ { pool: web } ]`), []string{"f.yaml:5:", "port of master.listen, on line 1"}},
		{listener(`listen: ":90", routes: [ { pool: web } ]`) + "    - { listen: \"[::1]:90\", routes: [ { pool: web } ] }\n", []string{"f.yaml:5:", "port of edge.listeners[0].listen, on line 4"}},
		{listener(`listen: "127.0.0.1:90", routes: [ { pool: web } ]`) + "  admin: \"localhost:90\"\n", []string{"f.yaml:5:", "edge.listeners[0].listen"}},
		{"master:\n  listen: \"10.0.0.9:90\"\n  admin: \":91\"\n" + tail, []string{"f.yaml:2:", "f.yaml:3:", "insecure: true", "tls: { cert, key, ca }"}},
		{"edge:\n  masters: [\"10.0.0.9:90\"]\n  listeners: [ { listen: \":92\", routes: [ { pool: web } ] } ]\n", []string{"f.yaml:2:", "without certificates neither side is authenticated"}},
		{"agent:\n  pool: web\n  address: \"h:1\"\n  interval: 0s\n  masters: [\"10.0.0.9:90\"]\n", []string{"f.yaml:4:", "want more than 0", "f.yaml:5:"}},
		{"agent:\n  pool: web\n  address: \"h:1\"\n  prometheus: { url: \"h:1/metrics\", metrics: [ { name: q, selector: q } ] }\n", []string{"has no scheme", "http://h:1/metrics"}},
		{"master:\n  election:\n    etcd: { endpoints: [ nowhere ], ttl: 1ms }\n    kubernetes: { ttl: 2ms }\n" + tail, []string{"nowhere:", "1ms", "2ms", "beside etcd"}},
	} {
		code, said := checked(t, c.text)
		for _, want := range c.want {
			if code != exitFailure || !strings.Contains(said, want) {
				t.Errorf("exit code %d without %q for:\n%s\n%s", code, want, c.text, said)
			}
		}
	}
}

// Roles of one file that are processes of their own may be on machines of their own.
func TestPlacesOfSeveralProcessesDoNotClash(t *testing.T) {
	text := "master: { listen: \"127.0.0.1:90\", admin: \"127.0.0.1:91\" }\npools: { web: {} }\nedge:\n  masters: [ \"127.0.0.1:90\" ]\n  admin: \"127.0.0.1:91\"\n  listeners: [ { listen: \":92\", routes: [ { pool: web } ] } ]\n"
	if code, said := checked(t, text); code != exitFine {
		t.Errorf("exit code %d: %s", code, said)
	}
}

func TestCheckLiveSaysWhoListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	text := fmt.Sprintf("pools: { web: {} }\nedge:\n  listeners: [ { listen: %q, routes: [ { pool: web } ] } ]\n", l.Addr())
	if code, said := checked(t, text); code != exitFine {
		t.Errorf("without --live: exit code %d: %s", code, said)
	}
	code, said := checked(t, text, "--live")
	if code != exitFailure || !strings.Contains(said, "f.yaml:3:") || !strings.Contains(said, "already in use") || !strings.Contains(said, fmt.Sprint("process ", os.Getpid())) && !strings.Contains(said, "ss -ltnp") {
		t.Errorf("with --live: exit code %d: %s", code, said)
	}
	_ = l.Close()
	if code, said := checked(t, text, "--live"); code != exitFine {
		t.Errorf("with --live and a free port: exit code %d: %s", code, said)
	}
}

// Numbers that make no sense are problems, and are told as they have to be written.
func TestNumbersThatCannotBeMeant(t *testing.T) {
	pool := func(more, server string) string {
		return "pools: { web: { servers: [ { address: \"127.0.0.1:80\"" + server + " } ]" + more + " } }\n"
	}
	for text, want := range map[string]string{
		pool(", tenants: { a: 0 }", ""):                    "want more than 0; leave it out",
		pool(", tenants: { a: { weight: 0 } }", ""):        "want more than 0; leave it out",
		pool(", tenants: { a: 1e-300 }", ""):               "1e-300, want 0.0001 to 10000",
		pool(", tenants: { a: 1e300 }", ""):                "1e+300, want 0.0001 to 10000",
		pool(", tenants: { a: { max_in_flight: 0 } }", ""): "want more than 0; leave it out",
		pool("", ", max_in_flight: -1"):                    "-1, want 1 to 1000000; leave it out for no cap",
		pool("", ", slots: 1e-300"):                        "1e-300, want 0.001 to 1000000, or 0 if they are not known",
		pool("", ", speed: 1e-300"):                        "1e-300, want 1e-06 to 1000000",
		pool(", affinity: { hit: 1e-300 }", ""):            "1e-300, want the share of the work that is left on a hit, 1e-06 to 1",
		pool(", tenants: { a: 0.0001, b: 1, c: 10000 }, affinity: { hit: .1 }", ", slots: .4, speed: .5, max_in_flight: 1"): "",
	} {
		code, said := checked(t, text)
		if wantCode := map[bool]int{true: exitFine, false: exitFailure}[want == ""]; code != wantCode || !strings.Contains(said, want) {
			t.Errorf("%s: exit code %d, %s, want %d, %q", text, code, said, wantCode, want)
		}
	}
}

// What a pool does not do alike for all requests and servers is told.
func TestCheckTellsOfCanaryBackupAndOverflow(t *testing.T) {
	code, said := checked(t, `pools:
  web:
    share: { "version=2,zone=b": 12.5% }
    overflow: { pool: cloud, when: wait > 5s }
    servers:
    - { id: a, address: "127.0.0.1:1", labels: { version: "2" } }
    - { id: b, address: "127.0.0.1:2", labels: { version: "2", zone: b } }
    - { id: c, address: "127.0.0.1:3", backup: true }
  cloud: { share: { version=3: 0% } }
`)
	if code != exitFine {
		t.Fatalf("exit code %d: %s", code, said)
	}
	for _, want := range []string{"12.5% of the requests go to what carries version=2,zone=b: 1 server: b", "only for what would be refused otherwise: 1 server: c",
		"requests that would wait longer than 5s go on to pool cloud", "0% of the requests go to what carries version=3: no server of the file"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
}

func TestCheckLiveKnowsTheMachinesMemory(t *testing.T) {
	text := "pools: { web: {} }\nedge:\n  buffer_memory: 8000000GiB\n  listeners: [ { listen: \"127.0.0.1:0\", routes: [ { pool: web } ] } ]\n"
	if code, said := checked(t, text); code != exitFine {
		t.Errorf("without --live: exit code %d: %s", code, said)
	}
	want, wantCode := "f.yaml:3:", exitFailure
	if agent.MemoryLimit() == 0 {
		want, wantCode = "is fine", exitFine // this system does not tell
	}
	if code, said := checked(t, text, "--live"); code != wantCode || !strings.Contains(said, want) {
		t.Errorf("with --live: exit code %d: %s", code, said)
	}
}

// Secrets that come from the environment are not shown, whether the file is fine or not.
func TestCheckDoesNotShowTheEnvironment(t *testing.T) {
	t.Setenv("CHECK_HOST", "secret.internal")
	code, said := checked(t, "pools: { web: { servers: [ { address: \"${CHECK_HOST}:1\" } ] } }\n")
	if code != exitFine || strings.Contains(said, "secret.internal") || !strings.Contains(said, "${CHECK_HOST}:1") {
		t.Errorf("exit code %d: %s", code, said)
	}
	code, said = checked(t, "pools: { web: { servers: [ { address: \"${CHECK_HOST}\" } ] } }\n")
	if code != exitFailure || strings.Contains(said, "secret.internal") {
		t.Errorf("exit code %d: %s", code, said)
	}
}

func TestFlagsAreSuggested(t *testing.T) {
	for args, want := range map[string]string{"run --polcy x": "did you mean --policy?", "run --bind :1": "did you mean --listen?", "edge --confg f": "did you mean --config?",
		"master --zzzzzz 1": "--help lists the flags", "run --server http://h:1 --policy leastconn": `did you mean "least-load"?`, "edge --pool a --link direct": `did you mean "redirect"?`,
		"run --server h:1,weight=2": `did you mean "speed"?`} {
		var out, stderr strings.Builder
		if code := execute(context.Background(), strings.Fields(args), &out, &stderr); code != exitUsage || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: exit code %d, %q, want %q", args, code, stderr.String(), want)
		}
	}
}

// Each refusal has one status, which docs/refusals.md and the API's description tell.
func TestRefusalsAreDocumentedWithTheirStatus(t *testing.T) {
	text, err := os.ReadFile("../../docs/refusals.md")
	if err != nil {
		t.Fatal(err)
	}
	api, err := os.ReadFile("../../master/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for r := balance.NoServer; r <= balance.Overflowed; r++ {
		if want := fmt.Sprintf("| `%s` | %d |", r, r.HTTPStatus()); !strings.Contains(string(text), want) {
			t.Errorf("docs/refusals.md has no row %s", want)
		}
		if want := fmt.Sprintf("| %s | %d |", r, r.HTTPStatus()); !strings.Contains(string(api), want) {
			t.Errorf("openapi.yaml has no row %s", want)
		}
	}
}

// A file that check passes is refused by no role without check saying so.
func TestCheckSaysWhichRolesRefuseAFile(t *testing.T) {
	const pools = "pools: { web: { servers: [ { address: \"127.0.0.1:1\" } ] } }\n"
	const edge = "edge: { listeners: [ { listen: \"127.0.0.1:0\", routes: [ { pool: web } ] } ] }\n"
	for _, c := range []struct{ text, fit string }{
		{pools + edge, "run master edge"}, {pools, "master"}, {edge, "edge"},
		{"agent: { pool: web, address: \"127.0.0.1:1\" }\n", "agent"}, {"master: { open_pools: true }\n" + edge, "run master edge"},
	} {
		code, said := checked(t, c.text)
		if code != exitFine {
			t.Fatalf("exit code %d: %s", code, said)
		}
		path := filepath.Join(t.TempDir(), "f.yaml")
		write(t, path, c.text)
		for _, role := range settings.Roles {
			_, err := settings.ReadFor(role, path)
			refuses := strings.Contains(said, fmt.Sprintf("evenkeel %s refuses it: it ", role))
			if fits := slices.Contains(strings.Fields(c.fit), string(role)); (err == nil) != fits || refuses == fits {
				t.Errorf("%s%s: fits is %t, started with it: %v, check says:\n%s", c.text, role, fits, err, said)
			}
		}
	}
}

// A server may stand in several pools, and check says so.
func TestCheckNamesServersOfSeveralPools(t *testing.T) {
	const said = "server h:1 stands in pools a, b: it counts once for all of them"
	for _, text := range []string{
		"master: {}\npools:\n  a:\n    servers: [ { address: \"h:1\", slots: 2 } ]\n  b:\n    servers: [ { address: \"h:1\" } ]\n",
		"master: {}\npools:\n  a: {}\n  b:\n    servers: [ { address: \"h:1\", pools: [ a, b ] } ]\n",
	} {
		if code, out := checked(t, text); code != 0 || !strings.Contains(out, said) || strings.Count(out, "1 server: h:1") != 2 {
			t.Errorf("exit code %d without %q, or one server in each pool, for:\n%s\n%s", code, said, text, out)
		}
	}
	if _, out := checked(t, "master: {}\npools:\n  a:\n    servers: [ { address: \"h:1\" } ]\n  b:\n    servers: [ { address: \"h:2\" } ]\n"); strings.Contains(out, "stands in") {
		t.Errorf("no server stands in several pools:\n%s", out)
	}
}
