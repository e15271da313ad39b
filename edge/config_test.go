package edge

import (
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

func TestValidate(t *testing.T) {
	good := func() Config {
		return Config{ID: "e1", Listeners: []routing.Listener{{Listen: ":8080", Routes: []routing.Route{{Pool: "web"}}}}}
	}
	for _, c := range []struct {
		change func(*Config)
		want   []string
	}{
		{func(*Config) {}, nil},
		{func(c *Config) { c.Listeners[0].Routes[0].Host = "*.example" }, nil},
		{func(c *Config) { c.Listeners[0].Routes[0].Host = "[::1]" }, nil},
		{func(c *Config) { c.ID = "" }, []string{"id"}},
		{func(c *Config) { c.ID = "a\nb" }, []string{"id"}},
		{func(c *Config) { c.Listeners = nil }, []string{"listeners"}},
		{func(c *Config) { c.ConnectTimeout, c.ResponseTimeout, c.DrainTime = -1, -1, -1 }, []string{"connect_timeout", "response_timeout", "drain_time"}},
		{func(c *Config) {
			c.Listeners[0] = routing.Listener{Listen: "8080", HeaderLimit: -1, HeaderCount: -1, HeaderTimeout: -1, IdleTimeout: -1, BodyLimit: -1}
		},
			[]string{"listeners[0].listen", "listeners[0].header_limit", "listeners[0].header_count", "listeners[0].header_timeout", "listeners[0].idle_timeout", "listeners[0].body_limit", "listeners[0].routes"}},
		{func(c *Config) {
			c.Listeners[0].Routes[0] = routing.Route{Host: "a.example:80", Path: "v1", Link: balance.LinkRedirect + 1, LeaseParam: "a&b", Key: "header", Tenant: "cookie:", Timeout: -time.Second}
		}, []string{"listeners[0].routes[0].pool", "listeners[0].routes[0].host", "listeners[0].routes[0].path", "listeners[0].routes[0].link",
			"listeners[0].routes[0].lease_param", "listeners[0].routes[0].key", "listeners[0].routes[0].timeout", "listeners[0].routes[0].tenant"}},
		{func(c *Config) { c.Listeners[0].Routes = append(c.Listeners[0].Routes, routing.Route{Pool: "other"}) }, []string{"listeners[0].routes[1]"}},
	} {
		cfg := good()
		c.change(&cfg)
		var got []string
		cfg.Validate(func(field, problem string) {
			if problem == "" {
				t.Errorf("%s: no problem told", field)
			}
			got = append(got, field)
		})
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: problems with %q, want %q", cfg, got, c.want)
		}
		if _, err := New(cfg, newFakePicker()); (err != nil) != (len(c.want) > 0) {
			t.Errorf("%+v: New says %v", cfg, err)
		}
	}
}
