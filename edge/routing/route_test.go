package routing

import "testing"

func TestMatch(t *testing.T) {
	list := []Route{
		{Pool: "any"},
		{Path: "/v1/", Pool: "any-v1/"},
		{Host: "*.example", Pool: "suffix"},
		{Host: "*.b.example", Pool: "longer"},
		{Host: "A.example", Path: "/v1", Pool: "exact-v1"},
		{Host: "a.example", Path: "/v1/deep", Pool: "exact-deep"},
	}
	rs, err := bindRoutes(list, false, func(string) int { return 0 })
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
		got := rs.Match(c.host, c.path)
		if got == nil || got.Pool != c.want {
			t.Errorf("%s%s: got %+v, want %s", c.host, c.path, got, c.want)
		}
	}
	if got := rs[:1].Match("x", "/"); got != nil {
		t.Errorf("no route matches, got %+v", got)
	}
}
