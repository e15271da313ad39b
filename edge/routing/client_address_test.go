package routing

import (
	"net/netip"
	"testing"
)

func TestClientAddress(t *testing.T) {
	trusting := &BoundListener{Listener: Listener{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	for _, c := range []struct {
		l     *BoundListener
		peer  string
		chain []string
		want  string
	}{
		{&BoundListener{}, "10.0.0.1", []string{"1.1.1.1"}, "10.0.0.1"},
		{trusting, "9.9.9.9", []string{"1.1.1.1"}, "9.9.9.9"},
		{trusting, "10.0.0.1", nil, "10.0.0.1"},
		{trusting, "10.0.0.1", []string{"1.1.1.1"}, "1.1.1.1"},
		{trusting, "10.0.0.1", []string{"6.6.6.6, 1.1.1.1", "10.0.0.2"}, "1.1.1.1"},
		{trusting, "10.0.0.1", []string{"nonsense"}, "10.0.0.1"},
		{trusting, "10.0.0.1", []string{"[2001:db8::1]:80"}, "2001:db8::1"},
	} {
		h := RequestInfo{Peer: netip.MustParseAddr(c.peer), Headers: lines{"x-forwarded-for": c.chain}}
		if got := c.l.ClientAddr(&h); got.String() != c.want {
			t.Errorf("peer %s, chain %q: client %v, want %s", c.peer, c.chain, got, c.want)
		}
	}
}
