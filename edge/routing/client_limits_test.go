package routing

import (
	"net/netip"
	"strings"
	"testing"
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
