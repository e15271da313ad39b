package edge

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/edge/policy"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// Config configures an Edge. Its defaults are meant for the open internet.
type Config struct {
	ID              balance.EdgeID
	Listeners       []Listener
	Inside          *inside.Set   // where our own components listen, which no server does; nil: unknown
	ConnectTimeout  time.Duration // until a server has taken the connection; zero: 2 s
	ResponseTimeout time.Duration // from the request's last byte to the head of the response; zero: none, since requests may be long
	Via             string        // what this edge is called in Via, by requests and responses (RFC 9110, 7.6.3); empty: evenkeel
	MaxHops         int           // how often a request may have come through an edge of that name; more is answered 508; zero: 3
	DrainTime       time.Duration // how long Run lets requests finish once its context has ended; zero: 30 s
	Resolvers       []string      // DNS servers, ip:port, that are asked for names that are to be looked up here; nil: those of the machine
	TCP             fd.TCPOptions // of connections to clients and to servers; zero fields: probed after 45 s without a byte, 3 times 15 s apart, and given up after 90 s without an acknowledgement
	Connections     int           // of clients at once; those beyond it wait in the listeners' queues; zero: by how many descriptors there are
	Places          *Places       // that are counted, shared with the edges that this one follows; nil: its own
	Loops           int           // event loops; zero: one for each CPU
	SingleCalls     bool          // loops ask the system for one read or write at a time, though it may take several (io_uring)
	Log             *slog.Logger  // nil: none
	AccessLog       *slog.Logger  // a record for each request; nil: none
	BufferMemory    int64         // bytes of request bodies that are read before a server is asked for, of all requests; zero: 256 MiB
	LogDropped      func() uint64 // log lines that were not written; nil: there is no metric
	ReloadFailed    func() string // why the last reload failed, empty: it did not; nil: there is no metric

	bodyWindow  time.Duration // over which a body must come at its least rate; zero: limits.Window; for tests
	maxTurn     time.Duration // how long a loop handles one client's frames before others have a turn; zero: 500 µs; for tests
	alwaysBatch bool          // loops batch in every iteration; for tests
}

// Places are those of client connections, which edges that follow one another share.
type Places = limits.Places

// Listener is one address that clients connect to.
type Listener struct {
	Listen         string         // host:port
	Mode           Mode           // what its connections carry
	Routes         []Route        // the most specific one that matches is taken
	Certificate    Certificate    // clients speak TLS, and by it HTTP/2 if they can; nil: they do not
	TLSPolicy      policy.TLS     // which versions and suites of TLS clients may speak
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

// answers reports whether the client gets its answer. keepAlive: another request may follow.
func (h HalfClosed) answers(keepAlive bool) bool {
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

// Route sends requests to a pool.
type Route struct {
	Host           string            // exactly, or *.suffix; empty: any
	Path           string            // its first segments; empty: any
	Upgrade        []string          // protocols to which clients may switch by Upgrade; nil: websocket and tcp
	Pool           string            //
	Link           balance.Link      // upgrades and gRPC calls are routed in any case, since their clients follow no redirect
	LeaseParam     string            // query parameter by which a redirected client brings its lease to the server; empty: none
	Key            string            // where the request's key is: header:NAME, cookie:NAME, query:NAME, client or path; empty: it has none
	Tenant         string            // where the request's tenant is, in the same form, or cert:subject, cert:san or jwt:CLAIM
	TenantFrom     tenants.From      // which clients are believed about a tenant in a header
	TenantTokens   *tenants.Verifier // of jwt:CLAIM
	ServerProtocol Protocol          // what the pool's servers speak
	ServerTLS      *tls.Config       // TLS to the pool's servers; nil: to those whose address begins with https://, as the system's roots have it
	Timeout        time.Duration     // how long one ask may wait for a server; zero: 10 s
	Paths          Paths             // what paths are taken; zero: as the listener has it
	BufferRequest  int64             // bytes of a request's body that are read before a server is asked for; zero: 1 MiB; negative: none
	BodyRate       int64             // bytes a second, over 10 s, that must come of a request's body; zero: 4 KiB; negative: any
	SendProxy      int               // version of the PROXY header that servers are sent, with ModeTCP; zero: none
}

// Paths is which paths of requests are taken, and how they go on.
type Paths uint8

const (
	PathsAsSent    Paths = iota // byte for byte, unless a server that reads the path in another way would take the request for another route's
	PathsNormalize              // as RFC 3986, 6.2.2, has them, and with one / where there are several
	PathsStrict                 // byte for byte, those that everybody reads alike
)

var pathsNames = [...]string{"as-sent", "normalize", "strict"}

func (p Paths) String() string { return pathsNames[p] }

// Protocol is a version of HTTP between the edge and servers. The zero value is HTTP/1.1.
type Protocol uint8

const (
	HTTP1 Protocol = iota
	HTTP2          // by TLS as it is agreed upon there, otherwise from the first byte; for clients of HTTP/2 only
)

var protocolNames = [...]string{"http/1.1", "h2"}

func (p Protocol) String() string { return protocolNames[p] }

const (
	defaultHeaderLimit    = 32 << 10
	defaultHeaderCount    = 100
	defaultHeaderTimeout  = 10 * time.Second
	defaultIdleTimeout    = 75 * time.Second
	defaultTunnelTimeout  = time.Hour // of a connection that may be quiet for good reasons
	defaultConnectTimeout = 2 * time.Second
	defaultDrainTime      = 30 * time.Second
	defaultRouteTimeout   = 10 * time.Second
	defaultBufferRequest  = 1 << 20
	defaultBufferMemory   = 256 << 20
	leastBufferMemory     = 1 << 20
	defaultBodyRate       = 4 << 10

	// A peer that vanished is noticed within two minutes, whether anything was on its way or not.
	defaultKeepaliveIdle     = 45 * time.Second
	defaultKeepaliveInterval = 15 * time.Second
	defaultKeepaliveCount    = 3
	defaultUserTimeout       = 90 * time.Second
	defaultVia               = "evenkeel"
	defaultMaxHops           = 3
	defaultTurn              = 500 * time.Microsecond
	maxLoops                 = 1024
)

// Validate calls bad once for every field that cannot be worked with.
func (c *Config) Validate(bad func(field, problem string)) {
	if problem := balance.BadEdgeID(c.ID); problem != "" {
		bad("id", problem)
	}
	notNegative(bad, "connect_timeout", c.ConnectTimeout)
	notNegative(bad, "response_timeout", c.ResponseTimeout)
	notNegative(bad, "drain_time", c.DrainTime)
	notNegative(bad, "max_hops", c.MaxHops)
	if c.Via != "" && !isToken(c.Via) {
		bad("via", fmt.Sprintf("%q, want letters, digits or marks, without blanks: it stands in a header", c.Via))
	}
	validateTCP(&c.TCP, func(field, problem string) { bad("tcp."+field, problem) })
	if c.BufferMemory != 0 && c.BufferMemory < leastBufferMemory {
		bad("buffer_memory", fmt.Sprintf("%d bytes, want at least 1 MiB: it is shared by all requests; to buffer no bodies, set buffer_request: 0 on the routes", c.BufferMemory))
	}
	notNegative(bad, "connections", c.Connections)
	for i, r := range c.Resolvers {
		if problem := resolve.BadResolver(r); problem != "" {
			bad(fmt.Sprintf("resolvers[%d]", i), problem)
		}
	}
	if c.Loops < 0 || c.Loops > maxLoops {
		bad("loops", fmt.Sprintf("%d, want 1 to %d, or 0 for one for each CPU", c.Loops, maxLoops))
	}
	if len(c.Listeners) == 0 {
		bad("listeners", "none, want at least one")
	}
	for i := range c.Listeners {
		c.Listeners[i].Validate(func(field, problem string) { bad(fmt.Sprintf("listeners[%d].%s", i, field), problem) })
	}
}

// validateTCP holds the options to what the kernel takes.
func validateTCP(o *fd.TCPOptions, bad func(field, problem string)) {
	notNegative(bad, "user_timeout", o.UserTimeout)
	if o.KeepaliveCount < 0 || o.KeepaliveCount > 127 {
		bad("keepalive_count", fmt.Sprintf("%d, want 1 to 127", o.KeepaliveCount))
	}
	for field, d := range map[string]time.Duration{"keepalive_idle": o.KeepaliveIdle, "keepalive_interval": o.KeepaliveInterval} {
		if d != 0 && (d < time.Second || d > 32767*time.Second) {
			bad(field, fmt.Sprintf("%v, want 1s to 9h", d))
		}
	}
}

// Validate calls bad once for every field that cannot be worked with.
func (l *Listener) Validate(bad func(field, problem string)) {
	if problem := balance.BadListen(l.Listen); problem != "" {
		bad("listen", problem)
	}
	switch {
	case l.H2C && l.Certificate != nil:
		bad("h2c", "true beside tls: clients that speak TLS agree on HTTP/2 there")
	case l.H2C && l.Mode == ModeTCP:
		bad("h2c", "a listener with mode tcp reads no requests")
	}
	if l.Mode == ModeTCP && l.Paths != PathsAsSent {
		bad("paths", "a listener with mode tcp reads no requests")
	}
	notNegative(bad, "header_limit", l.HeaderLimit)
	notNegative(bad, "header_count", l.HeaderCount)
	notNegative(bad, "header_timeout", l.HeaderTimeout)
	notNegative(bad, "idle_timeout", l.IdleTimeout)
	notNegative(bad, "body_limit", l.BodyLimit)
	for field, list := range map[string][]netip.Prefix{"allow": l.Allow, "deny": l.Deny} {
		for i, p := range list {
			if err := policy.CheckPrefix(p); err != nil {
				bad(fmt.Sprintf("%s[%d]", field, i), err.Error())
			}
		}
	}
	l.ClientLimits.validate(l.Mode, func(field, problem string) { bad("client_limits."+field, problem) })
	if l.HalfClosed > HalfClosedRefuse {
		bad("half_closed", fmt.Sprintf("%d, want %s, %s or %s", l.HalfClosed, HalfClosedLast, HalfClosedAnswer, HalfClosedRefuse))
	}
	if l.Mode == ModeTCP && l.Certificate != nil {
		bad("tls", "a listener with mode tcp ends no TLS: it carries it to servers as it is")
	}
	if l.Mode > ModeTCP {
		bad("mode", fmt.Sprintf("%d, want http or tcp", l.Mode))
	}
	if len(l.Routes) == 0 {
		bad("routes", "none, want at least one")
	}
	seen := make(map[string]int)
	for i := range l.Routes {
		r := &l.Routes[i]
		of := func(field, problem string) { bad(fmt.Sprintf("routes[%d].%s", i, field), problem) }
		r.Validate(of)
		r.validateTenant(l, of)
		r.suits(l.Mode, of)
		matches := plainHost(r.Host) + " " + plainPath(r.Path)
		if first, twice := seen[matches]; twice {
			bad(fmt.Sprintf("routes[%d]", i), fmt.Sprintf("matches the same as routes[%d]", first))
		}
		seen[matches] = i
	}
}

// Validate calls bad once for every field that cannot be worked with.
func (r *Route) Validate(bad func(field, problem string)) {
	if !isToken(r.Pool) {
		bad("pool", fmt.Sprintf("%q, want the name of a pool", r.Pool))
	}
	if problem := badRouteHost(r.Host); problem != "" {
		bad("host", problem)
	}
	if problem := badRoutePath(r.Path); problem != "" {
		bad("path", problem)
	}
	for i, name := range r.Upgrade {
		switch plain, _, _ := strings.Cut(strings.ToLower(name), "/"); {
		case !isToken(plain):
			bad(fmt.Sprintf("upgrade[%d]", i), fmt.Sprintf("%q, want the name of a protocol, such as websocket", name))
		case policy.NeverUpgraded(plain):
			bad(fmt.Sprintf("upgrade[%d]", i), fmt.Sprintf("%q: requests of another HTTP would pass the routes unseen; h2c: true takes clients that begin with HTTP/2", name))
		}
	}
	if r.Link > balance.LinkRedirect {
		bad("link", fmt.Sprintf("%d, want route or redirect", r.Link))
	}
	if r.ServerProtocol > HTTP2 {
		bad("server_protocol", fmt.Sprintf("%d, want http/1.1 or h2", r.ServerProtocol))
	}
	if strings.ContainsAny(r.LeaseParam, "&=#? ") {
		bad("lease_param", fmt.Sprintf("%q, want a plain name", r.LeaseParam))
	}
	if _, err := newKeySource(r.Key); err != nil {
		bad("key", err.Error())
	}
	notNegative(bad, "timeout", r.Timeout)
}

// suits calls bad once for every field that a listener of this mode has no use for.
func (r *Route) suits(m Mode, bad func(field, problem string)) {
	if m != ModeTCP {
		if r.SendProxy != 0 {
			bad("send_proxy", "a connection to an HTTP server is shared by clients, which a PROXY header cannot tell; servers find them in Forwarded and X-Forwarded-For")
		}
		return
	}
	const unread = "a listener with mode tcp reads no requests"
	if r.Paths != PathsAsSent {
		bad("paths", unread)
	}
	if r.Path != "" {
		bad("path", unread)
	}
	if r.ServerProtocol != HTTP1 {
		bad("server_protocol", unread)
	}
	if r.Link == balance.LinkRedirect {
		bad("link", unread+", so it cannot redirect")
	}
	if r.LeaseParam != "" {
		bad("lease_param", unread)
	}
	if r.Upgrade != nil {
		bad("upgrade", unread)
	}
	if r.Key != "" && r.Key != "client" {
		bad("key", fmt.Sprintf("%q, want client: %s", r.Key, unread))
	}
	if r.Tenant != "" && r.Tenant != "client" {
		bad("tenant", fmt.Sprintf("%q, want client: %s", r.Tenant, unread))
	}
	if r.ServerTLS != nil {
		bad("server_tls", "a listener with mode tcp carries bytes as they are")
	}
	if r.BufferRequest > 0 {
		bad("buffer_request", unread)
	}
	if r.BodyRate > 0 {
		bad("body_rate", unread)
	}
	if r.SendProxy < 0 || r.SendProxy > 2 {
		bad("send_proxy", fmt.Sprintf("version %d, want v1 or v2", r.SendProxy))
	}
}

func notNegative[T ~int | ~int64](bad func(field, problem string), field string, v T) {
	if v < 0 {
		bad(field, fmt.Sprintf("%v is negative", v))
	}
}

// withDefaults returns the config with every zero that stands for a default replaced.
func (c Config) withDefaults() Config {
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, defaultConnectTimeout)
	c.DrainTime = cmp.Or(c.DrainTime, defaultDrainTime)
	c.TCP.KeepaliveIdle = cmp.Or(c.TCP.KeepaliveIdle, defaultKeepaliveIdle)
	c.TCP.KeepaliveInterval = cmp.Or(c.TCP.KeepaliveInterval, defaultKeepaliveInterval)
	c.TCP.KeepaliveCount = cmp.Or(c.TCP.KeepaliveCount, defaultKeepaliveCount)
	c.TCP.UserTimeout = cmp.Or(c.TCP.UserTimeout, defaultUserTimeout)
	c.Via = cmp.Or(c.Via, defaultVia)
	c.MaxHops = cmp.Or(c.MaxHops, defaultMaxHops)
	c.maxTurn = cmp.Or(c.maxTurn, defaultTurn)
	c.BufferMemory = cmp.Or(c.BufferMemory, defaultBufferMemory)
	c.Loops = cmp.Or(c.Loops, runtime.NumCPU())
	if most := fd.Limit(); c.Connections == 0 && most > 0 {
		c.Connections = limits.DefaultPlaces(most, c.Loops)
	}
	if c.Places == nil {
		c.Places = new(limits.Places)
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return c
}

func (l Listener) withDefaults() Listener {
	l.HeaderLimit = cmp.Or(l.HeaderLimit, defaultHeaderLimit)
	l.HeaderCount = cmp.Or(l.HeaderCount, defaultHeaderCount)
	l.HeaderTimeout = cmp.Or(l.HeaderTimeout, defaultHeaderTimeout)
	if l.Mode == ModeTCP {
		l.IdleTimeout = cmp.Or(l.IdleTimeout, defaultTunnelTimeout)
	}
	l.IdleTimeout = cmp.Or(l.IdleTimeout, defaultIdleTimeout)
	return l
}
