package resolve

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	patience    = 8 * time.Second        // for a look-up by the machine's resolvers, each of which has 5 s by default
	ofOne       = time.Second            // for each of the resolvers that are named, before the next is asked
	forTheOther = 500 * time.Millisecond // for the other family, once one has given addresses
)

// Lookup asks for the addresses of a name, of both families at once. It is Go's own resolver, which honours the
// machine's file of hosts and its settings, and the TTLs are read from the packets that it gets.
func Lookup(ctx context.Context, q Query) Answer {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var least ttls
	var v4, v6 part
	var both sync.WaitGroup
	family := func(own *part, network string) {
		own.addrs, own.err = askAll(ctx, q, network, &least)
		if len(own.addrs) > 0 {
			time.AfterFunc(forTheOther, cancel)
		}
	}
	both.Go(func() { family(&v6, "ip6") })
	family(&v4, "ip4")
	both.Wait()
	a := Answer{V4: v4.addrs, V6: v6.addrs, Kept4: v4.failed(), Kept6: v6.failed(), TTL: least.ttl()}
	if len(a.V4)+len(a.V6) == 0 {
		a.Err = v4.err
		if v4.err == nil || !v4.failed() && v6.failed() {
			a.Err = v6.err
		}
		a.Unresolved = !v4.failed() && !v6.failed()
	}
	return a
}

// part is what came of one family.
type part struct {
	addrs []netip.Addr
	err   error
}

// failed reports whether the family could not be looked up; that there are no addresses of it is an answer.
func (p *part) failed() bool { return p.err != nil && !errors.Is(p.err, errNone) }

// errNone is wrapped by the word of a resolver that the name has no address.
var errNone = errors.New("no such host")

// askAll asks the machine's resolvers, or those of the query one after the other.
func askAll(ctx context.Context, q Query, network string, least *ttls) (addrs []netip.Addr, err error) {
	named := q.resolvers()
	if named == nil {
		return ask(ctx, q.Name, network, "", least)
	}
	for _, resolver := range named {
		one, cancel := context.WithTimeout(ctx, ofOne)
		addrs, err = ask(one, q.Name, network, resolver, least)
		cancel()
		if err == nil || errors.Is(err, errNone) || ctx.Err() != nil {
			break
		}
	}
	return addrs, err
}

// ask asks one resolver, or those of the machine if none is named.
func ask(ctx context.Context, name, network, resolver string, least *ttls) ([]netip.Addr, error) {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if resolver != "" {
			address = resolver
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return least.watch(conn), nil
	}}
	found, err := r.LookupNetIP(ctx, network, name)
	if err != nil {
		return nil, inWords(ctx, err, name, resolver)
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	return found, nil
}

// inWords says for people why a name could not be looked up.
func inWords(ctx context.Context, err error, name, resolver string) error {
	by := ""
	var dns *net.DNSError
	var none *net.AddrError // the file of hosts has addresses, but of the other family
	isDNS := errors.As(err, &dns)
	switch {
	case resolver != "":
		by = " (asked " + resolver + ")"
	case isDNS && dns.Server != "":
		by = " (asked " + dns.Server + ")"
	}
	switch {
	case isDNS && dns.IsNotFound, errors.As(err, &none):
		return fmt.Errorf("%s: %w%s", name, errNone, by)
	case ctx.Err() != nil, isDNS && dns.IsTimeout:
		return fmt.Errorf("%s: no answer of a resolver%s", name, by)
	case isDNS:
		return fmt.Errorf("%s: %s%s", name, dns.Err, by)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// ttls finds the least TTL of the packets that come of resolvers. It is safe for concurrent use.
type ttls struct {
	mu    sync.Mutex
	seen  bool
	least uint32 // seconds
}

func (t *ttls) ttl() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.seen {
		return 0
	}
	return max(time.Duration(t.least)*time.Second, time.Millisecond) // zero stands for none
}

// read reads one message.
func (t *ttls) read(message []byte) {
	var p dnsmessage.Parser
	if head, err := p.Start(message); err != nil || !head.Response || p.SkipAllQuestions() != nil {
		return
	}
	for {
		head, err := p.AnswerHeader()
		if err != nil || p.SkipAnswer() != nil {
			return
		}
		switch head.Type {
		case dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeCNAME:
			t.mu.Lock()
			if !t.seen || head.TTL < t.least {
				t.seen, t.least = true, head.TTL
			}
			t.mu.Unlock()
		}
	}
}

// watch returns the connection to a resolver, whose messages are read on their way.
func (t *ttls) watch(conn net.Conn) net.Conn {
	if u, ok := conn.(*net.UDPConn); ok { // by its type the resolver knows that messages are packets
		return &packets{u, t}
	}
	return &stream{Conn: conn, ttls: t}
}

type packets struct {
	*net.UDPConn
	ttls *ttls
}

func (p *packets) Read(b []byte) (int, error) {
	n, err := p.UDPConn.Read(b)
	if err == nil {
		p.ttls.read(b[:n])
	}
	return n, err
}

// stream is a connection by TCP, where the length of each message goes before it.
type stream struct {
	net.Conn
	ttls *ttls
	got  []byte
}

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.got = append(s.got, b[:n]...)
	for len(s.got) >= 2 {
		length := int(binary.BigEndian.Uint16(s.got))
		if len(s.got) < 2+length {
			break
		}
		s.ttls.read(s.got[2 : 2+length])
		s.got = s.got[2+length:]
	}
	return n, err
}

// BadResolver returns what is wrong with the address of a resolver, or "".
func BadResolver(address string) string {
	at, err := netip.ParseAddrPort(address)
	if err != nil || at.Port() == 0 || at.Addr().IsUnspecified() || strings.ContainsAny(address, ", ") {
		return fmt.Sprintf("%q, want the IP address and port of a DNS server, such as 127.0.0.11:53", address)
	}
	return ""
}
