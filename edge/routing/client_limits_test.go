package routing

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/edge/limits"
)

func TestBadClientLimitsAreRefused(t *testing.T) {
	for _, c := range []struct {
		limits ClientLimits
		mode   Mode
		want   string // field; empty: it is good
	}{
		{ClientLimits{}, ModeHTTP, ""},
		{ClientLimits{Connections: 5, OpenRequests: 7, RequestsPerSecond: .5, Burst: 3, By: "header:X-Key", Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, ModeHTTP, ""},
		{ClientLimits{Connections: 5, By: "address"}, ModeTCP, ""},
		{ClientLimits{RequestsPerSecond: .001, Burst: 1e6}, ModeHTTP, ""},
		{ClientLimits{RequestsPerSecond: 1e6, By: "header:X"}, ModeHTTP, ""},
		{ClientLimits{RequestsPerSecond: .0009}, ModeHTTP, "requests_per_second"},
		{ClientLimits{RequestsPerSecond: 1, Burst: 1e6 + 1}, ModeHTTP, "burst"},
		{ClientLimits{OpenRequests: 1, By: "header:X"}, ModeHTTP, ""},
		{ClientLimits{Connections: -1}, ModeHTTP, "connections"},
		{ClientLimits{OpenRequests: -1}, ModeHTTP, "open_requests"},
		{ClientLimits{RequestsPerSecond: -1}, ModeHTTP, "requests_per_second"},
		{ClientLimits{RequestsPerSecond: 1e9}, ModeHTTP, "requests_per_second"},
		{ClientLimits{RequestsPerSecond: 1, Burst: -1}, ModeHTTP, "burst"},
		{ClientLimits{RequestsPerSecond: 1, Burst: 1e7}, ModeHTTP, "burst"},
		{ClientLimits{Burst: 1}, ModeHTTP, "burst"},
		{ClientLimits{OpenRequests: 1, By: "cookie:a"}, ModeHTTP, "by"},
		{ClientLimits{OpenRequests: 1, By: "header:"}, ModeHTTP, "by"},
		{ClientLimits{Connections: 1, By: "header:X"}, ModeHTTP, "by"},
		{ClientLimits{Connections: 1, By: "header:X"}, ModeTCP, "by"},
		{ClientLimits{OpenRequests: 1}, ModeTCP, "open_requests"},
		{ClientLimits{RequestsPerSecond: 1}, ModeTCP, "requests_per_second"},
		{ClientLimits{Connections: 1, Exempt: make([]netip.Prefix, 1)}, ModeHTTP, "exempt[0]"},
	} {
		var fields []string
		c.limits.validate(c.mode, func(field, _ string) { fields = append(fields, field) })
		if got := strings.Join(fields, " "); got != c.want {
			t.Errorf("%v, %+v: got problems with %q, want %q", c.mode, c.limits, got, c.want)
		}
	}
}

// Each limit is kept by itself, for all addresses but those that are exempt.
func TestClientLimiters(t *testing.T) {
	if c := newClientLimiter(&ClientLimits{Burst: 3, By: "header:X"}); c != nil {
		t.Errorf("without a limit: %+v", c)
	}
	for _, c := range []struct {
		limits          ClientLimits
		conns, requests bool
	}{
		{ClientLimits{Connections: 1}, true, false},
		{ClientLimits{OpenRequests: 1}, false, true},
		{ClientLimits{RequestsPerSecond: 1}, false, true},
		{ClientLimits{Connections: 1, OpenRequests: 1}, true, true},
	} {
		ready := newClientLimiter(&c.limits)
		if ready == nil || (ready.Conns != nil) != c.conns || (ready.Requests != nil) != c.requests {
			t.Fatalf("%+v: made ready as %+v, want connections %v, requests %v", c.limits, ready, c.conns, c.requests)
		}
		if !c.requests {
			continue
		}
		key := ready.byPrefix(netip.MustParseAddr("192.0.2.1"))
		if v, _ := ready.Requests.Enter(0, key); v != limits.Admitted {
			t.Errorf("%+v: the first request is refused: %v", c.limits, v)
		}
		if v, _ := ready.Requests.Enter(0, key); v == limits.Admitted {
			t.Errorf("%+v: the second request at once is admitted", c.limits)
		}
	}
}

func TestClientsOfRequestsAreKnownByWhatIsSaid(t *testing.T) {
	exempt := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	one, other, free := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("127.0.0.1")
	told := func(key string) *RequestInfo { return &RequestInfo{Headers: lines{"x-key": {key}}} }
	byAddress := newClientLimiter(&ClientLimits{OpenRequests: 1, Exempt: exempt})
	if a, b := byAddress.KeyOf(told("a"), one), byAddress.KeyOf(told("b"), one); a != b || a == 0 || a == byAddress.KeyOf(told("a"), other) {
		t.Errorf("by address: one client has keys %v and %v, want one, and another's other", a, b)
	}
	byHeader := newClientLimiter(&ClientLimits{OpenRequests: 1, By: "header:X_Key", Exempt: exempt})
	if a := byHeader.KeyOf(told("a"), one); a == 0 || a != byHeader.KeyOf(told("a"), other) || a == byHeader.KeyOf(told("b"), one) {
		t.Error("by header: the key does not follow the header's value alone")
	}
	if byHeader.KeyOf(told(""), one) != byHeader.byPrefix(one) {
		t.Error("by header: a request without it is not known by its address")
	}
	for _, c := range []*ClientLimiter{byAddress, byHeader} {
		if k := c.KeyOf(told("a"), free); k != 0 {
			t.Errorf("an exempt address has key %v", k)
		}
	}
}

// Who may connect: addresses that are allowed and not denied, as many times at once as the limit says.
func TestConnectionsAreLimited(t *testing.T) {
	one, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	l := bound(t, Listener{ClientLimits: ClientLimits{Connections: 2}, Deny: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Routes: []Route{{}}})
	for _, step := range []struct {
		release bool
		client  netip.Addr
		want    error
	}{
		{false, one, nil}, {false, one, nil}, {false, one, ErrConnections}, {false, other, nil}, {true, one, nil}, {false, one, nil}, {false, one, ErrConnections},
		{false, netip.MustParseAddr("10.0.0.1"), ErrDenied},
	} {
		if step.release {
			l.ReleaseConn(step.client)
			continue
		}
		if err := l.LimitConn(step.client); err != step.want {
			t.Errorf("%v connects: %v, want %v", step.client, err, step.want)
		}
	}
	l = bound(t, Listener{ClientLimits: ClientLimits{OpenRequests: 1}, Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Routes: []Route{{}}})
	for range 3 {
		if err := l.LimitConn(one); err != nil {
			t.Errorf("without a limit of connections: %v", err)
		}
	}
	l.ReleaseConn(one)
	if err := l.LimitConn(other); err != ErrDenied {
		t.Errorf("who is not allowed connects: %v, want %v", err, ErrDenied)
	}
}
