package resolve

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// When a name is looked up again. A name that moves is followed within 10 s, whatever its TTL says:
// operators change addresses without lowering it first, and the resolver asked keeps what is costly.
const (
	longest   = 5 * time.Second         // between two look-ups of a name whose TTL is longer
	shortest  = time.Second             // the same for a name whose TTL is shorter
	ofNoTTL   = 2500 * time.Millisecond // of a name from a file of hosts, which costs nothing
	ofFailing = 2 * time.Second

	// An address that answers do not give any more may come back with the next ones, as where
	// they rotate. It is remembered for so many TTLs, and so long at least.
	rememberedTTLs  = 3
	rememberedLeast = time.Minute
	longestTTL      = time.Hour
)

// Answer is what one look-up gave.
type Answer struct {
	V4, V6     []netip.Addr  // without doubles, in any order
	Kept4      bool          // the IPv4 addresses could not be looked up: those known stay
	Kept6      bool          // the same of the IPv6 addresses
	TTL        time.Duration // the least of all records; zero: none was told, as by a file of hosts
	Err        error         // why there is no address at all; nil: there is one
	Unresolved bool          // Err is the word of a resolver, that there is no such name; otherwise none could be asked
}

// Name is what is known of one name. The zero value was never looked up.
type Name struct {
	v4, v6  family
	ttl     time.Duration   // of the last good answer
	taken   balance.Instant // when the last answer came; zero: none has
	problem string          // why the last look-up failed; empty: it did not
	failing balance.Instant // the first failure in a row
}

// family is the addresses of one family.
type family struct {
	now   []netip.Addr // of the last good answer, in order
	first netip.Addr   // of these, the one in use for as long as it is among them
	left  []left       // in order
}

// left is an address that answers do not give any more.
type left struct {
	addr  netip.Addr
	until balance.Instant // it is remembered
}

// Take takes an answer. It reports whether anything has changed.
func (n *Name) Take(now balance.Instant, a Answer) (changed bool) {
	first := n.taken == 0
	n.taken = now
	if a.Err != nil {
		if n.problem == "" {
			n.failing = now
		}
		changed = first || n.problem != a.Err.Error()
		n.problem = a.Err.Error()
		return changed
	}
	changed = first || n.problem != ""
	n.problem = ""
	ttl := min(a.TTL, longestTTL)
	until := now.Add(max(rememberedTTLs*max(ttl, n.ttl), rememberedLeast))
	n.ttl = ttl
	if !a.Kept4 && n.v4.take(now, a.V4, until) {
		changed = true
	}
	if !a.Kept6 && n.v6.take(now, a.V6, until) {
		changed = true
	}
	return changed
}

// take takes what an answer gave of the family.
func (f *family) take(now balance.Instant, addrs []netip.Addr, until balance.Instant) (changed bool) {
	addrs = slices.Clone(addrs)
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	for _, was := range f.now {
		if !slices.Contains(addrs, was) {
			f.left = append(f.left, left{was, until})
		}
	}
	f.left = slices.DeleteFunc(f.left, func(l left) bool { return l.until <= now || slices.Contains(addrs, l.addr) })
	slices.SortFunc(f.left, func(a, b left) int { return a.addr.Compare(b.addr) })
	changed = !slices.Equal(addrs, f.now)
	f.now = addrs
	if !slices.Contains(addrs, f.first) {
		f.first = netip.Addr{}
		if len(addrs) > 0 {
			f.first = addrs[0]
		}
	}
	return changed
}

// Due returns when the name is to be looked up next.
func (n *Name) Due() balance.Instant {
	switch {
	case n.taken == 0:
		return 0
	case n.problem != "":
		return n.taken.Add(ofFailing)
	case n.ttl == 0:
		return n.taken.Add(ofNoTTL)
	}
	return n.taken.Add(min(max(n.ttl, shortest), longest))
}

// Asked reports whether the name was ever looked up, with whatever result.
func (n *Name) Asked() bool { return n.taken != 0 }

// Known reports whether the name leads anywhere, as far as is known.
func (n *Name) Known() bool { return len(n.v4.now)+len(n.v6.now) > 0 }

// Problem returns why the name could not be looked up last, and since when that is so; "" if it could.
func (n *Name) Problem() (why string, since balance.Instant) { return n.problem, n.failing }

// Place is where one server is.
type Place struct {
	Addr    netip.Addr // tells it from the name's other places
	Other   netip.Addr // the same server's address of the other family; not valid: it has none
	Leaving bool       // answers do not give it any more
}

// One returns the place of a name that is one server. The one in use stays for as long as answers give
// it. ok is false if the name is not known to lead anywhere.
func (n *Name) One() (p Place, ok bool) {
	p = Place{Addr: n.v6.first, Other: n.v4.first}
	if !p.Addr.IsValid() {
		p.Addr, p.Other = p.Other, netip.Addr{}
	}
	return p, p.Addr.IsValid()
}

// All returns the places of a name each of whose addresses is a server, in order, and behind them those
// that are leaving. A server with addresses of both families must not count twice, and answers do not say which
// two belong together: where there are several, the IPv4 addresses are the servers, if there are any.
func (n *Name) All(now balance.Instant) (places []Place) {
	f := &n.v4
	if len(f.now) == 0 {
		f = &n.v6
	}
	for _, addr := range f.now {
		places = append(places, Place{Addr: addr})
	}
	if len(n.v4.now) == 1 && len(n.v6.now) == 1 {
		places[0].Other = n.v6.now[0]
	}
	for _, l := range f.left {
		if now < l.until {
			places = append(places, Place{Addr: l.addr, Leaving: true})
		}
	}
	return places
}

// Next returns when All will leave out a place that is leaving; zero: there is none.
func (n *Name) Next(now balance.Instant) (next balance.Instant) {
	for _, f := range []*family{&n.v4, &n.v6} {
		for _, l := range f.left {
			if now < l.until && (next == 0 || l.until < next) {
				next = l.until
			}
		}
	}
	return next
}

// Addresses returns all that the last good answer gave, in order.
func (n *Name) Addresses() []netip.Addr { return slices.Concat(n.v4.now, n.v6.now) }

// Several reports whether the name leads to more than one server, as far as one can tell.
func (n *Name) Several() bool { return len(n.v4.now) > 1 || len(n.v6.now) > 1 }

// clone returns a copy that does not change.
func (n *Name) clone() Name {
	c := *n
	for _, f := range []*family{&c.v4, &c.v6} {
		f.now, f.left = slices.Clone(f.now), slices.Clone(f.left)
	}
	return c
}

// At writes a place as edges are told it (balance.Grant.At).
func (p Place) At(port string) string {
	n, _ := strconv.ParseUint(port, 10, 16) // the pool has checked it
	at := netip.AddrPortFrom(p.Addr, uint16(n)).String()
	if p.Other.IsValid() {
		at += "," + netip.AddrPortFrom(p.Other, uint16(n)).String()
	}
	return at
}

// Keep returns the place with only those of its addresses that judge takes; ok is false if it takes none, and
// then err is what judge said of the first.
func (p Place) Keep(judge func(netip.Addr) error) (_ Place, err error) {
	err = judge(p.Addr)
	if p.Other.IsValid() {
		other := judge(p.Other)
		switch {
		case err == nil && other != nil:
			p.Other = netip.Addr{}
		case err != nil && other == nil:
			return Place{Addr: p.Other, Leaving: p.Leaving}, nil
		}
	}
	return p, err
}

// Host returns the name and the port of a server's address, as balance.ServerSpec has it; named is
// false if it needs no look-up.
func Host(address string) (name, port string, named bool) {
	_, hostPort := balance.SplitAddress(address)
	if balance.IsUnix(hostPort) {
		return "", "", false
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return "", "", false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return "", "", false
	}
	return strings.ToLower(host), port, true
}

// Query is a name, and the resolvers to ask for it. It is comparable.
type Query struct {
	Name      string
	Resolvers string // host:port, commas between; empty: those of the machine
}

// NewQuery returns a Query.
func NewQuery(name string, resolvers []string) Query {
	return Query{Name: name, Resolvers: strings.Join(resolvers, ",")}
}

func (q Query) resolvers() []string {
	if q.Resolvers == "" {
		return nil
	}
	return strings.Split(q.Resolvers, ",")
}

// Compare orders queries.
func (q Query) Compare(other Query) int {
	return cmp.Or(cmp.Compare(q.Name, other.Name), cmp.Compare(q.Resolvers, other.Resolvers))
}
