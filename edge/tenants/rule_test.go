package tenants

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func TestWhoseWordOnATenantCounts(t *testing.T) {
	header := Rule{Source: Plain, Header: "x-tenant", From: Trusted}
	everybody := Rule{Source: Plain, Header: "x-tenant", From: Any}
	cert := Rule{Source: Subject}
	long := strings.Repeat("a", balance.MaxName+1)
	for _, c := range []struct {
		name string
		rule Rule
		said Said
		want balance.Belief
		why  error
	}{
		{"nothing", header, Said{}, balance.Told, nil},
		{"no rule", Rule{}, Said{Value: "acme", Trusted: true}, balance.Told, nil},
		{"everybody's word", everybody, Said{Value: "acme"}, balance.Told, nil},
		{"everybody's word by a proxy", everybody, Said{Value: "acme", Trusted: true}, balance.Told, nil},
		{"a stranger's", header, Said{Value: "acme"}, balance.Disbelieved, errUntrusted},
		{"a proxy's", header, Said{Value: "acme", Trusted: true}, balance.Proven, nil},
		{"a proxy's beside its client's", header, Said{Value: "acme", Trusted: true, Several: true}, balance.Disbelieved, errSeveral},
		{"a certificate's", cert, Said{Value: "CN=acme"}, balance.Proven, nil},
		{"a certificate's that would be cut", cert, Said{Value: long}, balance.Disbelieved, errLong},
		{"a proxy's that would be cut", header, Said{Value: long, Trusted: true}, balance.Disbelieved, errLong},
	} {
		got := c.rule.Judge(time.Time{}, c.said)
		if got.Belief != c.want || !errors.Is(got.Why, c.why) || (c.why == nil) != (got.Why == nil) {
			t.Errorf("%s: got %+v, want %v and %v", c.name, got, c.want, c.why)
		}
		if name := got.Name; name != c.said.Value && c.name != "no rule" {
			t.Errorf("%s: got the name %q, want %q", c.name, name, c.said.Value)
		}
	}
}

func TestSourcesAreRead(t *testing.T) {
	for spec, want := range map[string]Source{"": None, "header:X": None, "client": None, "cert:subject": Subject, "cert:san": AltName, "jwt:sub": Token, "jwt:https://x/t": Token} {
		if got, _, err := Parse(spec); got != want || err != nil {
			t.Errorf("%q: got %v, %v, want %v", spec, got, err, want)
		}
	}
	for _, spec := range []string{"cert:", "cert:cn", "jwt", "jwt:"} {
		if _, _, err := Parse(spec); err == nil {
			t.Errorf("%q is read", spec)
		}
	}
}
