package balance

import (
	"net/netip"
	"testing"
)

func TestClientsAreToldApartByPrefix(t *testing.T) {
	of := func(s string) ClientPrefix { return PrefixOf(netip.MustParseAddr(s)) }
	for _, same := range [][2]string{{"192.0.2.1", "::ffff:192.0.2.1"}, {"2001:db8:1:1100::1", "2001:db8:1:11ff:2::9"}, {"fe80::1%a", "fe80::2%b"}} {
		if of(same[0]) != of(same[1]) {
			t.Errorf("%s and %s are two clients, want one", same[0], same[1])
		}
	}
	for _, two := range [][2]string{{"192.0.2.1", "192.0.2.2"}, {"2001:db8:1:1100::1", "2001:db8:1:1200::1"}, {"0.0.0.1", "::1"}, {"0.0.0.0", "::"}} {
		if of(two[0]) == of(two[1]) {
			t.Errorf("%s and %s are one client, want two", two[0], two[1])
		}
	}
	if PrefixOf(netip.Addr{}) != 0 || of("0.0.0.0") == 0 {
		t.Error("only an unknown address is no client")
	}
}
