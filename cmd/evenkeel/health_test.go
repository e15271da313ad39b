package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
)

// Checks speak as the first route to the pool does, unless the pool says otherwise.
func TestChecksSpeakAsRoutesDo(t *testing.T) {
	dir := t.TempDir()
	ca, key := files(t, dir, "back.test")
	other, _ := files(t, dir, "other.test")
	path := filepath.Join(dir, "evenkeel.yaml")
	for _, c := range []struct {
		health, listeners string
		http2             bool
		name              string // of TLS; "-": none
	}{
		{"http: /", "[{ listen: 127.0.0.1:0, routes: [{ pool: web }] }]", false, "-"},
		{"http: /", "[{ listen: 127.0.0.1:0, routes: [{ pool: web, server_protocol: h2 }] }]", true, "-"},
		{"grpc: true", "[{ listen: 127.0.0.1:0, routes: [{ pool: web, server_protocol: h2 }] }]", false, "-"},
		{"http: /", fmt.Sprintf("[{ listen: 127.0.0.1:0, routes: [{ pool: others, path: /o }, { pool: web, server_tls: { ca: %s, server_name: back.test } }] }]", ca), false, "back.test"},
		{"tcp: true", fmt.Sprintf("[{ listen: 127.0.0.1:0, routes: [{ pool: web, server_tls: { ca: %s, server_name: back.test } }] }]", ca), false, "back.test"},
		{"http: /", fmt.Sprintf("[{ listen: 127.0.0.1:0, mode: tcp, routes: [{ pool: web }] }, { listen: 127.0.0.1:1, routes: [{ pool: web, server_tls: { ca: %s, server_name: back.test } }] }]", ca), false, "back.test"},
		{"{ http: /, server_protocol: http/1.1 }", "[{ listen: 127.0.0.1:0, routes: [{ pool: web, server_protocol: h2 }] }]", false, "-"},
		{fmt.Sprintf("{ http: /, server_tls: { ca: %s, server_name: other.test } }", other),
			fmt.Sprintf("[{ listen: 127.0.0.1:0, routes: [{ pool: web, server_tls: { ca: %s, server_name: back.test } }] }]", ca), false, "other.test"},
		{fmt.Sprintf("{ http: /, server_protocol: h2, server_tls: { ca: %s, server_name: back.test, cert: %s, key: %s } }", ca, ca, key), "", true, "back.test"},
	} {
		health := c.health
		if !strings.HasPrefix(health, "{") {
			health = "{ " + health + " }"
		}
		text := fmt.Sprintf("pools: { web: { health: %s }, others: {} }\n", health)
		if c.listeners != "" {
			text += "edge: { listeners: " + c.listeners + " }\n"
		}
		write(t, path, text)
		s, err := settings.Read(path)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got, name = s.PoolConfig("web").Health, "-"
		if got.TLS != nil {
			name = got.TLS.ServerName
		}
		if got.HTTP2 != c.http2 || name != c.name {
			t.Errorf("%sgot HTTP/2 %t, TLS %s; want %t, %s", text, got.HTTP2, name, c.http2, c.name)
		}
		if others := s.PoolConfig("others").Health; others.Enabled() || others.TLS != nil {
			t.Errorf("%s: the other pool is checked by %+v", text, others)
		}
	}
}

// An agent checks as its own part says, and else as the file's routes to its pool do.
func TestAgentsCheckSpeaks(t *testing.T) {
	dir := t.TempDir()
	ca, _ := files(t, dir, "back.test")
	path := filepath.Join(dir, "evenkeel.yaml")
	write(t, path, fmt.Sprintf(`agent: { pool: web, address: "127.0.0.1:1", health: { grpc: true, service: render, server_tls: { ca: %s, server_name: back.test } } }`, ca))
	s, err := settings.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.AgentConfig().Health.Check; !got.GRPC || got.Service != "render" || got.TLS == nil || got.TLS.ServerName != "back.test" {
		t.Errorf("got %+v", got)
	}
}

// What is wrong with a check is said where it stands.
func TestCheckSaysWhatIsWrongWithChecks(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "evenkeel.yaml")
	for _, c := range []struct{ health, want string }{
		{"{ http: /, grpc: true }", "evenkeel.yaml:1:42: pools.web.health: grpc: beside http"},
		{"{ grpc: true, status: 200 }", "pools.web.health: status: is for http"},
		{"{ tcp: true, service: render }", "pools.web.health: service: without grpc"},
		{"{ http: /, server_protocol: h3 }", "want http/1.1 or h2"},
		{"{ http: /, server_tls: { ca: " + dir + "/none.pem } }", "there is no file " + dir + "/none.pem"},
		{"{ interval: 2s }", "says how, but not what to check"},
	} {
		write(t, path, "pools: { web: { health: "+c.health+" } }\n")
		code, stdout, stderr := say(t, "check", path)
		if said := stdout + stderr; code == 0 || !strings.Contains(said, c.want) {
			t.Errorf("%s: got exit code %d and\n%s\nwant %q", c.health, code, said, c.want)
		}
	}
}
