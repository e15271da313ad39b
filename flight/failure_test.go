package flight

import (
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// What each failure of a link means for its server, what the client is told where nothing else can be tried, and how often the request is
// sent to the same server again.
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		name    string
		why     Failure
		result  balance.Result
		status  int
		reason  string
		server  bool // the client is told which
		later   bool // and to come again
		resends int
	}{
		{"the edge's own", Failure{Ours: true, Unreachable: true}, balance.Canceled, 503, ReasonEdge, false, true, 0},
		{"late", Failure{Late: true, Begun: true}, balance.Broken, 504, ReasonTimeout, true, false, 0},
		{"a name that is not known", Failure{Unresolved: true, Unreachable: true}, balance.Unreachable, 502, ReasonUnresolved, true, false, 0},
		{"out of reach", Failure{Unreachable: true}, balance.Unreachable, 502, ReasonUnreachable, true, false, 0},
		{"not taken by a connection that was kept", Failure{NotTaken: true, Kept: true}, balance.Canceled, 503, ReasonNotTaken, true, true, mostResends},
		{"not taken, and sent in part", Failure{NotTaken: true, Spent: true}, balance.Canceled, 502, ReasonNotTaken, true, false, 1},
		{"not taken", Failure{NotTaken: true}, balance.Full, 503, ReasonNotTaken, true, true, 1},
		{"a kept connection that broke", Failure{Kept: true}, balance.Broken, 502, ReasonBroken, true, false, 1},
		{"broken", Failure{}, balance.Broken, 502, ReasonBroken, true, false, 0},
	} {
		c.why.Error = "why"
		o, a := blame(&c.why), answer(c.why, "s")
		if o.Result != c.result || (o.Error == "why") != (c.result != balance.Canceled) {
			t.Errorf("%s: the server is blamed for %s, %q; want %s", c.name, o.Result, o.Error, c.result)
		}
		if a.Status != c.status || a.Reason != c.reason || (a.Server == "s") != c.server || (a.RetryAfter > 0) != c.later {
			t.Errorf("%s: the client is told %+v, want %d %s", c.name, a, c.status, c.reason)
		}
		if got := resends(c.why); got != c.resends {
			t.Errorf("%s: sent again %d times, want %d", c.name, got, c.resends)
		}
	}
}
