package main

import (
	"bytes"
	"io"
	"log"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/agent"
	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/edge"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/logs"
	"github.com/evenkeel-lb/evenkeel/internal/probe"
	"github.com/evenkeel-lb/evenkeel/master"
	"github.com/spf13/cobra"
)

func TestParseServer(t *testing.T) {
	for _, c := range []struct {
		flag, pool string
		want       settings.Server
		problem    string
	}{
		{flag: "http://a", want: settings.Server{Address: "a:80"}},
		{flag: "http://10.0.0.5:8000/", want: settings.Server{Address: "10.0.0.5:8000"}},
		{flag: "http://[::1]:8000", want: settings.Server{Address: "[::1]:8000"}},
		{flag: "http://[::1]", want: settings.Server{Address: "[::1]:80"}},
		{flag: "http://b,slots=8,speed=2.5,id=x,public=https://x.example,location=eu", want: settings.Server{ID: "x", Address: "b:80", Public: "https://x.example", Slots: 8, Speed: 2.5, Location: "eu"}},
		{flag: "http://b:1,pool=render", pool: "render", want: settings.Server{Address: "b:1"}},
		{flag: "https://a", want: settings.Server{Address: "https://a:443"}},
		{flag: "a:80", want: settings.Server{Address: "a:80"}},
		{flag: "tcp://a", problem: "want host:port, with http:// or https://"},
		{flag: "", problem: "want host:port"},
		{flag: "http://", problem: "want host:port"},
		{flag: "http://a/path", problem: "nothing behind it"},
		{flag: "http://u@a", problem: "nothing behind it"},
		{flag: "http://a,slots=many", problem: `slots "many"`},
		{flag: "http://a,max_in_flight=3", want: settings.Server{Address: "a:80", MaxInFlight: 3}},
		{flag: "http://a,max_in_flight=0", problem: "leave it out for no cap"},
		{flag: "http://a,max_in_flight=1.5", problem: `max_in_flight "1.5"`},
		{flag: "http://a,weight=3", problem: `"weight" is not known`},
	} {
		pool, got, err := settings.ParseServer(c.flag)
		switch {
		case c.problem == "" && (err != nil || pool != c.pool || !reflect.DeepEqual(got, c.want)):
			t.Errorf("%q: got %q, %+v, %v; want %q, %+v", c.flag, pool, got, err, c.pool, c.want)
		case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
			t.Errorf("%q: got error %v, want one with %q", c.flag, err, c.problem)
		}
	}
}

func TestParseRoute(t *testing.T) {
	for _, c := range []struct {
		flag string
		want settings.Route
		ok   bool
	}{
		{"www.example/v1/=render", settings.Route{Host: "www.example", Path: "/v1/", Pool: "render"}, true},
		{"/=web", settings.Route{Path: "/", Pool: "web"}, true},
		{"*.example=web", settings.Route{Host: "*.example", Pool: "web"}, true},
		{"=web", settings.Route{Pool: "web"}, true},
		{"web", settings.Route{}, false},
		{"/=", settings.Route{}, false},
	} {
		if got, err := settings.ParseRoute(c.flag); !reflect.DeepEqual(got, c.want) || (err == nil) != c.ok {
			t.Errorf("%q: got %+v, %v; want %+v, ok %v", c.flag, got, err, c.want, c.ok)
		}
	}
}

// parsed returns a command that has read its flags.
func parsed(t *testing.T, flags ...string) *cobra.Command {
	t.Helper()
	cmd := commandNamed(t, flags[0])
	if err := cmd.ParseFlags(flags[1:]); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func commandNamed(t *testing.T, name string) *cobra.Command {
	t.Helper()
	for _, c := range commands(logs.NewSink(io.Discard)) {
		if c.Name() == name {
			return c
		}
	}
	t.Fatalf("there is no command %s", name)
	return nil
}

func TestRunFlags(t *testing.T) {
	f := runFlags{listen: ":81", pool: "default", policy: "random", servers: []string{"http://a", "http://b:8,slots=2"}}
	s, err := f.settings(parsed(t, "run"))
	if err != nil {
		t.Fatal(err)
	}
	wantMaster := []master.PoolConfig{{Name: "default", Policy: "random", Servers: []balance.ServerSpec{{ID: "a:80", Address: "a:80"}, {ID: "b:8", Address: "b:8", Slots: 2}}}}
	if got := s.MasterConfig().Pools; !reflect.DeepEqual(got, wantMaster) {
		t.Errorf("got pools %+v, want %+v", got, wantMaster)
	}
	wantEdge := []routing.Listener{{Listen: ":81", Routes: []routing.Route{{Pool: "default"}}}}
	if got := s.EdgeConfig().Listeners; !reflect.DeepEqual(got, wantEdge) {
		t.Errorf("got listeners %+v, want %+v", got, wantEdge)
	}
	if id := string(s.EdgeConfig().ID); !strings.HasSuffix(id, "-81") || strings.Contains(id, ":") {
		t.Errorf("got edge id %q, want HOSTNAME-81", id)
	}
}

func TestMasterFlags(t *testing.T) {
	f := masterFlags{id: "m", pools: []string{"a=random", "b"}, servers: []string{"http://x,pool=b", "http://y,pool=c"}, openPools: true}
	s, err := f.settings(parsed(t, "master"))
	if err != nil {
		t.Fatal(err)
	}
	got := s.MasterConfig()
	got.Version = ""
	want := master.Config{ID: "m", OpenPools: true, Pools: []master.PoolConfig{
		{Name: "a", Policy: "random"},
		{Name: "b", Servers: []balance.ServerSpec{{ID: "x:80", Address: "x:80"}}},
		{Name: "c", Servers: []balance.ServerSpec{{ID: "y:80", Address: "y:80"}}},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestEdgeFlags(t *testing.T) {
	f := edgeFlags{id: "e", listen: ":80", routes: []string{"x.example/v1=a"}, pool: "b", link: "redirect"}
	s, err := f.settings(parsed(t, "edge"))
	if err != nil {
		t.Fatal(err)
	}
	want := edge.Config{ID: "e", Listeners: []routing.Listener{{Listen: ":80", Routes: []routing.Route{
		{Host: "x.example", Path: "/v1", Pool: "a", Link: balance.LinkRedirect}, {Pool: "b", Link: balance.LinkRedirect}}}}}
	if got := s.EdgeConfig(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := s.Edge.PoolNames(), []string{"a", "b"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got pools %v, want %v", got, want)
	}
	if got := s.Edge.MasterAddresses(); len(got) != 1 || got[0] != settings.DefaultWire {
		t.Errorf("got masters %v, want the one of this machine", got)
	}
}

func TestAgentFlags(t *testing.T) {
	f := agentFlags{pool: "p", address: "10.0.0.5:8000", slots: 4, labels: []string{"zone=b", "arch=arm"}, sample: false, interval: time.Second, health: "/healthz",
		prometheus: "http://127.0.0.1/m", metrics: []string{`queue=q{a="b"}`}, orca: "http://127.0.0.1/o"}
	s, err := f.settings(parsed(t, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	spec := s.Agent.Spec()
	if !strings.HasSuffix(string(spec.ID), ":8000") {
		t.Errorf("got id %q, want HOSTNAME:8000", spec.ID)
	}
	want := agent.Config{Server: spec.ID, Interval: time.Second, Application: agent.Application{Address: "10.0.0.5:8000"}, Health: agent.Health{Address: "10.0.0.5:8000", Check: probe.Check{HTTP: "/healthz"}}, ORCA: agent.ORCA{URL: "http://127.0.0.1/o"},
		Prometheus: agent.Prometheus{URL: "http://127.0.0.1/m", Metrics: []agent.Series{{Name: "queue", Selector: `q{a="b"}`}}}}
	if got := s.AgentConfig(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if want := []balance.Label{{Key: "arch", Value: "arm"}, {Key: "zone", Value: "b"}}; !reflect.DeepEqual(spec.Labels, want) || spec.Slots != 4 {
		t.Errorf("got %+v, want labels %v and 4 slots", spec, want)
	}
}

func TestTerminalLog(t *testing.T) {
	var out bytes.Buffer
	sink := logs.NewSink(&out)
	log, _, err := (&logFlags{format: "text", level: "info"}).logger(sink)
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("not this")
	log.With("pool", "web").WithGroup("g").Warn("a message", "err", "two words", "n", 3, slog.Group("in", "side", "\x1b[2J"), "empty", "")
	sink.Close(patience)
	_, got, _ := strings.Cut(strings.TrimSpace(out.String()), " ")
	if want := `WARN  a message pool=web g.err="two words" g.n=3 g.in.side="\x1b[2J" g.empty=""`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// What libraries say through package log goes the same way, and waits for no reader either.
func TestLogsOfLibraries(t *testing.T) {
	var out bytes.Buffer
	sink := logs.NewSink(&out)
	before := slog.Default()
	defer slog.SetDefault(before)
	if _, _, err := (&logFlags{format: "json", level: "info"}).logger(sink); err != nil {
		t.Fatal(err)
	}
	log.Print("Unsolicited response")
	sink.Close(patience)
	if !strings.Contains(out.String(), `"msg":"Unsolicited response"`) {
		t.Errorf("got %q, want a record with the library's words", out.String())
	}
}

// The access log does not depend on the level of the other logs.
func TestAccessLog(t *testing.T) {
	for _, c := range []struct {
		word, file string
		want       string
		client     bool
	}{
		{"on", "", `"msg":"request"`, false}, {"off", "", "", false}, {"", "", `"msg":"request"`, false}, {"", "off", "", false}, {"on", "off", `"msg":"request"`, false},
		{"json", "combined", `"msg":"request"`, false}, {"", "combined", `"GET / -" `, true}, {"{status} {method}", "", "- GET\n", false},
	} {
		var out bytes.Buffer
		sink := logs.NewSink(&out)
		access, client, err := (&accessFlag{c.word}).logger(c.file, logFlags{format: "json", level: "error"}, sink)
		if err != nil {
			t.Fatal(err)
		}
		if access != nil {
			access.Info("request", "method", "GET", "target", "/")
		}
		sink.Close(patience)
		if got := out.String(); (got == "") != (c.want == "") || !strings.Contains(got, c.want) || client != c.client {
			t.Errorf("--access-log=%s, the file says %q: got %q, of the client %t", c.word, c.file, got, client)
		}
	}
	if _, _, err := (&accessFlag{"{stats}"}).logger("", logFlags{}, nil); err == nil || !strings.Contains(err.Error(), `no field {stats}; did you mean "status"?`) {
		t.Errorf("an unknown field: %v", err)
	}
	if _, _, err := (&accessFlag{"combine"}).logger("", logFlags{}, nil); err == nil || !strings.Contains(err.Error(), "want on, off, json, common, combined") {
		t.Errorf("an unknown format: %v", err)
	}
}
