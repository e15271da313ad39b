package tenants

import (
	"fmt"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Source is where a request says its tenant.
type Source uint8

const (
	None    Source = iota // it has none
	Plain                 // a part of the request that its sender can write as he likes
	Subject               // the subject of the client's verified certificate
	AltName               // the first alternative name of the client's verified certificate
	Token                 // a claim of a signed token
)

// From is whose word counts on a tenant that a header tells.
type From uint8

const (
	Default From = iota // Trusted where the listener has trusted proxies and the tenant is a header's; else Any
	Any                 // everybody's; the name is not proven
	Trusted             // that of trusted proxies; the word of others is dropped, and their requests share a line
)

var fromNames = [...]string{"", "any", "trusted"}

func (f From) String() string { return fromNames[f] }

// Whose are those that can be written.
func Whose() []From { return []From{Any, Trusted} }

// Rule is a route's. Its zero value reads no tenant.
type Rule struct {
	Source Source
	Header string    // in lower case; of Plain: the header that tells the tenant, empty if something else does. Of Token: the one that brings it
	From   From      // of Plain, never Default
	Tokens *Verifier // of Token
}

// Words that stand before what a route's tenant names.
const (
	certificate = "cert"
	token       = "jwt"
)

// Parse reads cert:subject, cert:san and jwt:CLAIM; None: it is something else, or empty. claim is that of jwt.
func Parse(spec string) (source Source, claim string, err error) {
	kind, name, named := strings.Cut(spec, ":")
	switch {
	case kind == certificate && name == "subject":
		return Subject, "", nil
	case kind == certificate && name == "san":
		return AltName, "", nil
	case kind == certificate && named:
		return None, "", fmt.Errorf("%q, want cert:subject or cert:san", spec)
	case kind == token && named && name != "":
		return Token, name, nil
	case kind == token:
		return None, "", fmt.Errorf("%q, want jwt:CLAIM, such as jwt:sub", spec)
	}
	return None, "", nil
}

// Said is what a request says at a rule's place, and who says it.
type Said struct {
	Value   string // as written; empty: nothing
	Several bool   // the header is there more than once
	Trusted bool   // the peer is a trusted proxy
}

// Tenant is what a request's rule makes of that.
type Tenant struct {
	Name   string // shares the memory of Said.Value, unless it is a token's
	Belief balance.Belief
	Why    error // of Disbelieved
}

// Judge says whose tenant a request is. now is the time of day, by which tokens are valid.
func (r *Rule) Judge(now time.Time, said Said) Tenant {
	if said.Value == "" {
		return Tenant{}
	}
	var t Tenant
	switch {
	case r.Source == None:
		return Tenant{}
	case r.Source == Token:
		t.Name, t.Why = r.Tokens.Verify(now, said.Value)
	case r.Source == Plain && r.From == Any:
		return Tenant{Name: said.Value}
	case r.Source == Plain && !said.Trusted:
		t.Name, t.Why = said.Value, errUntrusted
	case r.Source == Plain && said.Several:
		t.Name, t.Why = said.Value, errSeveral // one of them may be what the proxy's client has written
	default:
		t.Name = said.Value
	}
	if t.Why == nil && len(t.Name) > balance.MaxName {
		t.Why = errLong // two that are cut might be the same
	}
	if t.Belief = balance.Proven; t.Why != nil {
		t.Belief = balance.Disbelieved
	}
	return t
}

// Drops reports whether the rule's header of a client that is not trusted goes on to no server, which might
// take it for proven.
func (r *Rule) Drops() bool { return r.Source == Plain && r.From == Trusted && r.Header != "" }
