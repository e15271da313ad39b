package edge

import (
	"crypto/tls"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// servers are the connections to servers that an engine keeps, apart by how their
// servers prove who they are: a connection made on one route's word must not serve
// another's.
type servers struct {
	plain  *upstreams
	secure *upstreams                 // of servers whose address says so, and whose route says nothing of it
	own    map[*tls.Config]*upstreams // of routes that do
}

// resumedMost is how many servers' TLS sessions are remembered for each setting.
const resumedMost = 1024

func newServers(e *Edge) *servers {
	connect := e.cfg.ConnectTimeout
	s := &servers{plain: newUpstreams(connect, nil), secure: newUpstreams(connect, toServers(nil)), own: make(map[*tls.Config]*upstreams)}
	for _, l := range e.listeners {
		for _, r := range l.routes {
			if r.ServerTLS != nil && s.own[r.ServerTLS] == nil {
				s.own[r.ServerTLS] = newUpstreams(connect, toServers(r.ServerTLS))
			}
		}
	}
	return s
}

// toServers completes what a route says of TLS; nil: nothing.
func toServers(told *tls.Config) *tls.Config {
	if told == nil {
		told = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cfg := told.Clone()
	cfg.NextProtos = []string{protoHTTP1}
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(resumedMost)
	return cfg
}

// of returns the connections among which one to the granted server is, and where the
// server is reached.
func (s *servers) of(x *exchange) (kept *upstreams, hostPort string) {
	secure, hostPort := balance.SplitAddress(x.grant.Address)
	switch {
	case x.route.ServerTLS != nil:
		return s.own[x.route.ServerTLS], hostPort
	case secure:
		return s.secure, hostPort
	}
	return s.plain, hostPort
}

func (s *servers) each(do func(*upstreams)) {
	do(s.plain)
	do(s.secure)
	for _, u := range s.own {
		do(u)
	}
}

// tend closes what nobody has used for too long.
func (s *servers) tend(now balance.Instant) { s.each(func(u *upstreams) { u.tend(now) }) }

func (s *servers) close() { s.each((*upstreams).close) }
