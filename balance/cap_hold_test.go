package balance

import (
	"testing"
	"time"
)

// A time limit, which a client may choose, does not make room at a server with a cap while an edge has the request under way. Elsewhere, and
// where no edge tells when a request ends, it counts.
func TestATimeLimitDoesNotLiftACap(t *testing.T) {
	for _, c := range []struct {
		name string
		cap  int
		req  Request
		open int // when the limit is over
	}{
		{"under way, with a cap", 1, Request{Edge: "e", Hold: time.Second}, 1},
		{"under way, without", 0, Request{Edge: "e", Hold: time.Second}, 0},
		{"redirected", 1, Request{Edge: "e", Hold: time.Second, Link: LinkRedirect}, 0},
		{"of the API", 1, Request{Hold: time.Second}, 0},
	} {
		p, now := New(Config{Name: "web"}, ByScore{byLeases{}}, 1), Instant(time.Hour)
		if err := p.Put(now, ServerSpec{ID: "a", Address: "a:1", MaxInFlight: c.cap}, true); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Pick(now, &c.req); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		now = now.Add(time.Minute)
		p.Expire(now)
		if _, err := p.Pick(now, &Request{Edge: "e"}); p.Open() != c.open+map[bool]int{true: 1}[err == nil] || (c.cap > 0 && c.open > 0) != (err != nil) {
			t.Errorf("%s: when the limit is over %d are open, and another gets %v", c.name, p.Open(), err)
		}
	}
}
