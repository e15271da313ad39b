package resolve

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/evenkeel-lb/evenkeel/internal/dnstest"
)

func look(t *testing.T, name string, resolvers ...string) Answer {
	t.Helper()
	return Lookup(t.Context(), NewQuery(name, resolvers))
}

func TestLookup(t *testing.T) {
	dns := dnstest.Start(t)
	dns.Set("both.test", 40*time.Second, "10.0.0.1", "10.0.0.2", "fd00::1")
	dns.Set("none.test", time.Minute)
	dns.Answer("broken.test", func() dnstest.Records { return dnstest.Records{Code: dnsmessage.RCodeServerFailure} })
	a := look(t, "both.test", dns.Address)
	slices.SortFunc(a.V4, netip.Addr.Compare)
	if got := fmt.Sprint(a.V4, a.V6, a.TTL, a.Err); got != "[10.0.0.1 10.0.0.2] [fd00::1] 40s <nil>" {
		t.Errorf("got %s", got)
	}
	for name, want := range map[string]string{"none.test": "no such host", "missing.test": "no such host", "broken.test": "server misbehaving"} {
		a := look(t, name, dns.Address)
		if a.Err == nil || !strings.Contains(a.Err.Error(), want) || !strings.Contains(a.Err.Error(), dns.Address) || a.Unresolved != (want == "no such host") {
			t.Errorf("%s: got %v, unresolved: %t, want %q and who was asked", name, a.Err, a.Unresolved, want)
		}
	}
}

func TestLongAnswersComeByTCP(t *testing.T) {
	dns := dnstest.Start(t)
	dns.Truncate()
	dns.Set("long.test", 7*time.Second, "10.0.0.1")
	if a := look(t, "long.test", dns.Address); len(a.V4) != 1 || a.TTL != 7*time.Second {
		t.Errorf("got %+v", a)
	}
}

func TestTheNextResolverIsAskedIfOneIsSilent(t *testing.T) {
	silent, dns := dnstest.Start(t), dnstest.Start(t)
	silent.Answer("app.test", func() dnstest.Records { return dnstest.Records{Silent: true} })
	dns.Set("app.test", time.Second, "10.0.0.1")
	if a := look(t, "app.test", silent.Address, dns.Address); len(a.V4) != 1 {
		t.Errorf("got %+v", a)
	}
}

// An answer for one family is not lost because the other's question is not answered, and that one's
// addresses are not taken to be gone.
func TestOneFamilyIsEnough(t *testing.T) {
	dns := dnstest.Start(t)
	asked := 0
	dns.Answer("app.test", func() dnstest.Records {
		asked++
		return dnstest.Records{Addrs: []string{"10.0.0.1"}, TTL: time.Second}
	})
	if a := look(t, "app.test", dns.Address); len(a.V4) != 1 || a.Kept4 || a.Kept6 || a.Err != nil {
		t.Errorf("no IPv6 addresses: got %+v", a)
	}
}

func TestTheFileOfHostsIsHonoured(t *testing.T) {
	dns := dnstest.Start(t)
	if a := look(t, "localhost", dns.Address); a.Err != nil || a.TTL != 0 || dns.Asked("localhost") != 0 {
		t.Errorf("localhost: got %+v, and its resolver was asked %d times", a, dns.Asked("localhost"))
	}
}

func TestLookupEndsWithItsContext(t *testing.T) {
	dns := dnstest.Start(t)
	dns.Answer("app.test", func() dnstest.Records { return dnstest.Records{Silent: true} })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a := Lookup(ctx, NewQuery("app.test", []string{dns.Address})); a.Err == nil || a.Unresolved {
		t.Errorf("got %+v", a)
	}
}
