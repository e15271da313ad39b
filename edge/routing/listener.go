package routing

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"slices"
	"time"

	"github.com/evenkeel-lb/evenkeel/http1"
)

// Listener is one address that clients connect to.
type Listener struct {
	Listen         string         // host:port
	Mode           Mode           // what its connections carry
	Routes         []Route        // the most specific one that matches is taken
	Certificate    Certificate    // clients speak TLS, and by it HTTP/2 if they can; nil: they do not
	TLSPolicy      TLSPolicy      // which versions and suites of TLS clients may speak
	ClientCerts    ClientCerts    // whether clients prove who they are
	Tickets        *Tickets       // by which TLS sessions are resumed; nil: the listener's own
	Allow          []netip.Prefix // addresses that may connect; empty: all
	Deny           []netip.Prefix // addresses that may not connect, whatever Allow says
	ClientLimits   ClientLimits   // of each client; zero: none
	H2C            bool           // clients without TLS may begin with HTTP/2 (RFC 9113, 3.3)
	TrustedProxies []netip.Prefix // peers whose word on Forwarded and X-Forwarded-* counts
	HeaderLimit    int            // bytes of a request's head; more is answered 431; zero: 32 KiB
	HeaderCount    int            // lines of a request's head; more is answered 431; zero: 100
	HeaderTimeout  time.Duration  // until a request's head has arrived; zero: 10 s
	IdleTimeout    time.Duration  // how long a connection may stay without a request, or within one without a byte that its client should send or take; zero: 75 s
	BodyLimit      int64          // bytes of a request's body; more is answered 413; zero: any
	ProxyTrusted   []netip.Prefix // peers that begin every connection with a PROXY header, and no other peer may connect; empty: no header is expected
	Paths          Paths          // what paths are taken
	HalfClosed     HalfClosed     // whether clients are answered that close their side behind a request
	ServerTiming   bool           // responses tell by Server-Timing what the pick took, and how long the request waited in the queue
}

// ClientCerts is how clients prove by TLS who they are. The zero value asks for nothing.
type ClientCerts struct {
	Authorities *x509.CertPool // that certificates must come from; nil: none are asked for
	Optional    bool           // a client without one is served too; a wrong one is refused in any case
	Binding     [32]byte       // identifies these authorities: a session of others is not resumed
}

// HalfClosed is what becomes of a request whose client closes its sending side while it
// waits. One that has closed the whole connection, since it wants no answer any more, looks the same until
// something is sent to it.
type HalfClosed uint8

const (
	HalfClosedLast   HalfClosed = iota // it is answered if it has announced that no other request follows (Connection: close, HTTP/1.0)
	HalfClosedAnswer                   // it is answered
	HalfClosedRefuse                   // it has left
)

var halfClosedNames = [...]string{"last", "answer", "refuse"}

func (h HalfClosed) String() string { return halfClosedNames[h] }

// Answers reports whether the client gets its answer. keepAlive: another request may follow.
func (h HalfClosed) Answers(keepAlive bool) bool {
	return h == HalfClosedAnswer || h == HalfClosedLast && !keepAlive
}

// Mode is what a listener's connections carry.
type Mode uint8

const (
	ModeHTTP Mode = iota
	ModeTCP       // anything: bytes are carried as they are
)

var modeNames = [...]string{"http", "tcp"}

func (m Mode) String() string { return modeNames[m] }

const (
	defaultHeaderLimit   = 32 << 10
	defaultHeaderCount   = 100
	defaultHeaderTimeout = 10 * time.Second
	DefaultIdleTimeout   = 75 * time.Second
	defaultTunnelTimeout = time.Hour // of a connection that may be quiet for good reasons
)

// withDefaults returns the listener with every zero that stands for a default replaced.
func (l Listener) withDefaults() Listener {
	l.HeaderLimit = cmp.Or(l.HeaderLimit, defaultHeaderLimit)
	l.HeaderCount = cmp.Or(l.HeaderCount, defaultHeaderCount)
	l.HeaderTimeout = cmp.Or(l.HeaderTimeout, defaultHeaderTimeout)
	if l.Mode == ModeTCP {
		l.IdleTimeout = cmp.Or(l.IdleTimeout, defaultTunnelTimeout)
	}
	l.IdleTimeout = cmp.Or(l.IdleTimeout, DefaultIdleTimeout)
	return l
}

// parserLimits returns a listener's limits for the parser.
func (l *Listener) parserLimits() http1.Limits {
	return http1.Limits{Head: l.HeaderLimit, Line: max(8<<10, l.HeaderLimit/4), Fields: l.HeaderCount}
}

// SilentTime is how long a new connection may be silent.
func (l *Listener) SilentTime() time.Duration { return min(l.HeaderTimeout, l.IdleTimeout) }

// BoundListener is a Listener prepared for use.
type BoundListener struct {
	Listener
	BoundRoutes   boundRoutes
	HeadLimits    http1.Limits
	access        Access         // which addresses may connect
	Limiter       *ClientLimiter // nil: none
	TLS           *tls.Config    // nil: not encrypted
	looksAtPaths  bool           // routes or Paths depend on paths
	KeepsRequests bool           // a route keeps requests for later answers, which clients ask for below KeptPath
	RoutesByName  bool           // with ModeTCP: routes are chosen by server name, which clients send by TLS
}

// Bind prepares a listener. poolNumber numbers the pools of its routes.
func Bind(l Listener, poolNumber func(name string) int) (*BoundListener, error) {
	routes, err := bindRoutes(l.Routes, len(l.TrustedProxies) > 0, poolNumber)
	if err != nil {
		return nil, err
	}
	ready := &BoundListener{Listener: l.withDefaults(), BoundRoutes: routes}
	ready.HeadLimits, ready.TLS = ready.parserLimits(), ready.tlsConfig()
	ready.looksAtPaths = ready.lookAtPaths()
	ready.access = Access{Allow: NewPrefixes(l.Allow), Deny: NewPrefixes(l.Deny)}
	ready.Limiter = newClientLimiter(&l.ClientLimits)
	ready.KeepsRequests = slices.ContainsFunc(l.Routes, func(r Route) bool { return r.RespondAsync })
	ready.RoutesByName = slices.ContainsFunc(l.Routes, func(r Route) bool { return r.Host != "" })
	return ready, nil
}

// KeptPath is the path below which clients ask for the requests that are kept for them.
const KeptPath = "/.evenkeel/requests/"

// NeedsHandshake reports whether something comes before a client's first request.
func (l *BoundListener) NeedsHandshake() bool {
	return l.TLS != nil || l.WantsProxyHeader() || l.H2C
}
