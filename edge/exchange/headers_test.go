package exchange

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

func TestForwarded(t *testing.T) {
	for _, c := range []struct{ peer, host, want string }{
		{"192.0.2.1", "a.example", "for=192.0.2.1;host=a.example;proto=http"},
		{"2001:db8::1", "a.example:80", `for="[2001:db8::1]";host="a.example:80";proto=http`},
		{"192.0.2.1", `a";for=x`, `for=192.0.2.1;host="a\";for=x";proto=http`},
	} {
		if got := string(appendForwarded(nil, []byte(c.peer), c.host, "http")); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
	if got := string(appendForwarded(nil, routing.AppendNode(nil, netip.Addr{}), "a", "http")); got != "for=unknown;host=a;proto=http" {
		t.Errorf("without an address: %s", got)
	}
}

func TestRequestID(t *testing.T) {
	for _, told := range []string{"a", "0af7651916cd43dd8448eb211c80319c", "A_b-c.d~e+f/g=h:i@j", strings.Repeat("x", 128)} {
		if got := new(Exchange).requestID(told); got != told {
			t.Errorf("%q became %q", told, got)
		}
	}
	for _, told := range []string{"", " ", "a b", "a\"b", "é", strings.Repeat("x", 129)} {
		if got := new(Exchange).requestID(told); got == told || len(got) != 32 {
			t.Errorf("%q became %q, want a new id", told, got)
		}
	}
}

func TestHex(t *testing.T) {
	for _, v := range []uint64{0, 1, 0x0123456789abcdef, 0xfedcba9876543210, 0x9a9a9a9aa9a9a9a9, 1<<64 - 1} {
		if got, want := string(appendHex([]byte("x"), v)), fmt.Sprintf("x%016x", v); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// What clients write into a head reaches headers and logs.
func FuzzHeaders(f *testing.F) {
	f.Add("www.example:80", "id-1")
	f.Add("[::1]", "")
	f.Add("a\"\\\r\n", " ")
	client := netip.MustParseAddr("127.0.0.1")
	f.Fuzz(func(t *testing.T, host, id string) {
		if kept := new(Exchange).requestID(id); kept == "" || len(kept) > 128 || strings.ContainsAny(kept, " \"\r\n") {
			t.Errorf("id %q became %q", id, kept)
		}
		element := string(appendForwarded(nil, routing.AppendNode(nil, client), host, "http"))
		rest, ok := strings.CutSuffix(element, ";proto=http")
		_, told, found := strings.Cut(rest, ";host=")
		if !ok || !found || !routing.IsToken(told) && !quoted(told) {
			t.Errorf("host %q: Forwarded %q", host, element)
		}
	})
}

// quoted reports whether s is one quoted string from its first byte to its last.
func quoted(s string) bool {
	if len(s) < 2 || s[0] != '"' {
		return false
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i == len(s)-1
		}
	}
	return false
}
