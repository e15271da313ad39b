package edge

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func TestValidate(t *testing.T) {
	good := func() Config {
		return Config{ID: "e1", Listeners: []Listener{{Listen: ":8080", Routes: []Route{{Pool: "web"}}}}}
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
			c.Listeners[0] = Listener{Listen: "8080", HeaderLimit: -1, HeaderCount: -1, HeaderTimeout: -1, IdleTimeout: -1, BodyLimit: -1}
		},
			[]string{"listeners[0].listen", "listeners[0].header_limit", "listeners[0].header_count", "listeners[0].header_timeout", "listeners[0].idle_timeout", "listeners[0].body_limit", "listeners[0].routes"}},
		{func(c *Config) {
			c.Listeners[0].Routes[0] = Route{Host: "a.example:80", Path: "v1", Link: balance.LinkRedirect + 1, LeaseParam: "a&b", Key: "header", Tenant: "cookie:", Timeout: -time.Second}
		}, []string{"listeners[0].routes[0].pool", "listeners[0].routes[0].host", "listeners[0].routes[0].path", "listeners[0].routes[0].link",
			"listeners[0].routes[0].lease_param", "listeners[0].routes[0].key", "listeners[0].routes[0].timeout", "listeners[0].routes[0].tenant"}},
		{func(c *Config) { c.Listeners[0].Routes = append(c.Listeners[0].Routes, Route{Pool: "other"}) }, []string{"listeners[0].routes[1]"}},
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

func TestMatch(t *testing.T) {
	list := []Route{
		{Pool: "any"},
		{Path: "/v1/", Pool: "any-v1/"},
		{Host: "*.example", Pool: "suffix"},
		{Host: "*.b.example", Pool: "longer"},
		{Host: "A.example", Path: "/v1", Pool: "exact-v1"},
		{Host: "a.example", Path: "/v1/deep", Pool: "exact-deep"},
	}
	rs, err := bindRoutes(list, func(name string) *pool { return nil })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ host, path, want string }{
		{"", "/", "any"},
		{"other.example.org", "/", "any"},
		{"other.org", "/v1/x", "any-v1/"},
		{"other.org", "/v1", "any-v1/"},
		{"example", "/", "any"},
		{"x.example", "/v1/x", "suffix"},
		{"x.b.example", "/", "longer"},
		{"a.example", "/v1", "exact-v1"},
		{"a.example:8080", "/v1/x", "exact-v1"},
		{"A.EXAMPLE.", "/v1/deep/x", "exact-deep"},
		{"a.example", "/v1/deeper", "exact-v1"},
		{"a.example", "/v10", "suffix"},
		{"[::1]:80", "/", "any"},
	} {
		got := rs.match(c.host, c.path)
		if got == nil || got.Pool != c.want {
			t.Errorf("%s%s: got %+v, want %s", c.host, c.path, got, c.want)
		}
	}
	if got := rs[:1].match("x", "/"); got != nil {
		t.Errorf("no route matches, got %+v", got)
	}
}

func TestSources(t *testing.T) {
	h := requestInfo{path: "/p", query: "a=1&b%20c=d+e&bad=%zz&bad=ok", headers: lines{"x-user": {"ann", "bob"}, "cookie": {"a=1; sid=x=y", "sid=second"}}}
	for spec, want := range map[string]string{
		"": "", "client": "192.0.2.1", "path": "/p", "header:X-User": "ann", "header:None": "", "cookie:sid": "x=y", "cookie:none": "",
		"query:a": "1", "query:b c": "d e", "query:bad": "ok", "query:none": "",
	} {
		s, err := newKeySource(spec)
		if err != nil {
			t.Errorf("%s: %v", spec, err)
		}
		if got := s.read(&h, netip.MustParseAddr("192.0.2.1")); got != want {
			t.Errorf("%s: got %q, want %q", spec, got, want)
		}
	}
	for _, spec := range []string{"header", "header:", "body:x", "client:x", "path:", "x"} {
		if _, err := newKeySource(spec); err == nil || !strings.Contains(err.Error(), spec) {
			t.Errorf("%s: error %v, want one that names it", spec, err)
		}
	}
}
