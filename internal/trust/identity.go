// Package trust authenticates our own components to each other: a certificate of a private certificate authority names one role and one
// name, as the URI
//
//	evenkeel://agent/r1
//
// and no other name in it is used. The holder of a master's certificate is a master, at any address; an edge is the edge of that name, and
// an agent reports for the server of that name. A Keeper reads certificates from files and reloads them when they change.
package trust

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
)

// Role is what a component is.
type Role string

// The roles, as certificates and commands write them.
const (
	Master Role = "master"
	Edge   Role = "edge"
	Agent  Role = "agent"

	// Operator and Reader are people and programs that use components' admin addresses.
	Operator Role = "operator"
	Reader   Role = "reader"
)

// Roles lists all.
var Roles = []Role{Master, Edge, Agent, Operator, Reader}

// Identity is who a component is.
type Identity struct {
	Role Role
	Name string // a master's or edge's id; for an agent, that of its server
}

const scheme = "evenkeel"

// Heir stands between an edge's name and a number where several processes in a row are
// the edge of that name. No edge's own name has it in it.
const Heir = "~"

// URI is the identity as a certificate has it.
func (i Identity) URI() *url.URL {
	return &url.URL{Scheme: scheme, Host: string(i.Role), Path: "/" + i.Name}
}

// String is the identity for people: agent r1.
func (i Identity) String() string { return string(i.Role) + " " + i.Name }

var errNameless = errors.New("the certificate has no evenkeel://ROLE/NAME among its names")

// IdentityOf reads the identity of a certificate. Two of them are none.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	u, err := nameOf(cert)
	if err != nil {
		return Identity{}, err
	}
	return identityIn(u), nil
}

func identityIn(u *url.URL) Identity {
	return Identity{Role(u.Host), strings.TrimPrefix(u.Path, "/")}
}

// nameOf returns the one URI of a certificate that says who its owner is.
func nameOf(cert *x509.Certificate) (*url.URL, error) {
	var found []*url.URL
	for _, u := range cert.URIs {
		if u.Scheme == scheme {
			found = append(found, u)
		}
	}
	switch {
	case len(found) == 0:
		return nil, errNameless
	case len(found) > 1:
		return nil, fmt.Errorf("the certificate has %d identities, want one", len(found))
	case identityIn(found[0]).Name == "":
		return nil, errNameless
	case !slices.Contains(Roles, identityIn(found[0]).Role):
		return nil, fmt.Errorf("the certificate is for role %q, want master, edge, agent, operator or reader", found[0].Host)
	}
	return found[0], nil
}

// Reason is why one component would not have another.
type Reason uint8

// The reasons, in the order of a Tally.
const (
	Plaintext        Reason = iota // it spoke plainly where a certificate is wanted
	Encrypted                      // it spoke TLS, or wants it, and this side has no certificate
	NoCertificate                  // it showed none
	UnknownAuthority               // another authority than ours has signed it
	Expired                        // or is not valid yet
	Unfit                          // anything else that is wrong with the certificate
	WrongRole                      // an edge's where an agent's is wanted, and the like
	WrongName                      // another edge's, another server's
	WrongPool                      // neither it nor the pool's configuration lets its owner speak there
	WrongAddress                   // the server is not where its agent is, nor where the pool's may be
	Denied                         // a list names it, or its certificate
	BadToken                       // it is unknown, used up or over, or not for this pool or place
	BrokenHandshake                // the peer or the network ended it half way
	ByPeer                         // the other side would not have us
	reasons
)

var reasonNames = [reasons]string{Plaintext: "plaintext", Encrypted: "encrypted", NoCertificate: "no-certificate", UnknownAuthority: "unknown-authority",
	Expired: "expired", Unfit: "unfit", WrongRole: "wrong-role", WrongName: "wrong-name", WrongPool: "wrong-pool", WrongAddress: "wrong-address",
	Denied: "denied", BadToken: "bad-token", BrokenHandshake: "broken-handshake", ByPeer: "by-peer"}

// String is the reason as metrics have it.
func (r Reason) String() string { return reasonNames[r] }

// Refusal is the error of a peer that is not to be talked to.
type Refusal struct {
	Reason Reason
	Detail string
}

func (r *Refusal) Error() string { return r.Detail }

// Refuse returns a Refusal.
func Refuse(why Reason, format string, args ...any) error { return refusef(why, format, args...) }

func refusef(why Reason, format string, args ...any) *Refusal {
	return &Refusal{why, fmt.Sprintf(format, args...)}
}

// Want refuses an identity that is not the one wanted. An empty name is any; an edge's
// certificate is good for its heirs too.
func (i Identity) Want(role Role, name string) error {
	if role == Edge {
		name, _, _ = strings.Cut(name, Heir)
	}
	switch {
	case i.Role != role:
		return refusef(WrongRole, "the certificate is for %s, want one for role %s", i, role)
	case name != "" && i.Name != name:
		return refusef(WrongName, "the certificate is for %s, which may not speak as %s", i, Identity{role, name})
	}
	return nil
}

// Tally counts refusals by reason. Its zero value is ready; any goroutine may use it.
type Tally struct{ counts [reasons]atomic.Uint64 }

// Add counts a refusal; other errors are nothing to it.
func (t *Tally) Add(err error) {
	if r, ok := errors.AsType[*Refusal](err); ok {
		t.counts[r.Reason].Add(1)
	}
}

// Each calls f with every reason, as metrics have it, and its count.
func (t *Tally) Each(f func(reason string, n uint64)) {
	for r := range reasons {
		f(r.String(), t.counts[r].Load())
	}
}
