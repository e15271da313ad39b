package edge

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Config is what an Edge is told once. Its defaults are meant for the open internet.
type Config struct {
	ID              balance.EdgeID
	Listeners       []Listener
	ConnectTimeout  time.Duration // until a server has taken the connection; zero: 2 s
	ResponseTimeout time.Duration // from the request's last byte to the head of the response; zero: none, since requests may be long
	DrainTime       time.Duration // how long Run lets requests finish once its context has ended; zero: 30 s
	Engine          Engine        // what carries the bytes
	Loops           int           // of EngineLoop; zero: one for each CPU
	SingleCalls     bool          // loops ask the system for one read or write at a time, though it may take several (io_uring)
	Log             *slog.Logger  // nil: none
	AccessLog       *slog.Logger  // a record for each request; nil: none

	crowded bool // loops take every turn for a crowded one; for tests
}

// Engine is what carries the bytes between clients and servers.
type Engine string

const (
	EngineAny        Engine = ""           // loops where there are any, else goroutines
	EngineLoop       Engine = "loop"       // one event loop for each core, on Linux
	EngineGoroutines Engine = "goroutines" // one goroutine for each client's connection
)

// Listener is one address that clients connect to.
type Listener struct {
	Listen         string         // host:port
	Mode           Mode           // what its connections carry
	Routes         []Route        // the most specific one that matches is taken
	Certificate    Certificate    // clients speak TLS, and by it HTTP/2 if they can; nil: they do not
	H2C            bool           // clients without TLS may begin with HTTP/2 (RFC 9113, 3.3)
	TrustedProxies []netip.Prefix // peers whose word on Forwarded and X-Forwarded-* counts
	HeaderLimit    int            // bytes of a request's head; more is answered 431; zero: 32 KiB
	HeaderCount    int            // lines of a request's head; more is answered 431; zero: 100
	HeaderTimeout  time.Duration  // until a request's head has arrived; zero: 10 s
	IdleTimeout    time.Duration  // how long a connection may stay without a request, or amid one without a byte that its client should send or take; zero: 75 s
	BodyLimit      int64          // bytes of a request's body; more is answered 413; zero: any
	ProxyTrusted   []netip.Prefix // peers that begin every connection with a PROXY protocol header, and nobody else may connect; empty: no header is expected
	ServerTiming   bool           // responses tell by Server-Timing what the pick took, and how long the request waited in the queue
}

// Mode is what a listener's connections carry.
type Mode uint8

const (
	ModeHTTP Mode = iota
	ModeTCP       // anything: octets are carried as they are
)

var modeNames = [...]string{"http", "tcp"}

func (m Mode) String() string { return modeNames[m] }

// Route sends requests to a pool.
type Route struct {
	Host           string        // exactly, or *.suffix; empty: any
	Path           string        // its first segments; empty: any
	Pool           string        //
	Link           balance.Link  // an upgrade is routed in any case, since browsers follow no redirect of one
	LeaseParam     string        // query parameter by which a redirected client brings its lease to the server; empty: none
	Key            string        // where the request's key is: header:NAME, cookie:NAME, query:NAME, client or path; empty: it has none
	Tenant         string        // where the request's tenant is, likewise
	ServerProtocol Protocol      // what the pool's servers speak
	ServerTLS      *tls.Config   // TLS to the pool's servers; nil: to those whose address begins with https://, as the system's roots have it
	Timeout        time.Duration // how long one ask may wait for a server; zero: 10 s
	SendProxy      int           // version of the PROXY protocol's header that servers are told clients' addresses by, with ModeTCP; zero: none
}

// Protocol is a version of HTTP between the edge and servers. The zero value is HTTP/1.1.
type Protocol uint8

const (
	HTTP1 Protocol = iota
	HTTP2          // by TLS as it is agreed upon there, otherwise from the first octet; for clients of HTTP/2 only
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
	mostLoops             = 1024
)

// Validate calls bad once for every field that cannot be worked with.
func (c *Config) Validate(bad func(field, problem string)) {
	if !isToken(string(c.ID)) || len(c.ID) > 255 {
		bad("id", fmt.Sprintf("%q, want 1 to 255 letters, digits or marks, without blanks: it stands in a header", c.ID))
	}
	notNegative(bad, "connect_timeout", c.ConnectTimeout)
	notNegative(bad, "response_timeout", c.ResponseTimeout)
	notNegative(bad, "drain_time", c.DrainTime)
	switch {
	case c.Engine != EngineAny && c.Engine != EngineLoop && c.Engine != EngineGoroutines:
		bad("engine", fmt.Sprintf("%q, want %s or %s", c.Engine, EngineLoop, EngineGoroutines))
	case c.Engine == EngineLoop && !loopsHere:
		bad("engine", fmt.Sprintf("%q is for Linux; want %s here, or leave it out", c.Engine, EngineGoroutines))
	}
	if c.Loops < 0 || c.Loops > mostLoops {
		bad("loops", fmt.Sprintf("%d, want 1 to %d, or 0 for one for each CPU", c.Loops, mostLoops))
	}
	if len(c.Listeners) == 0 {
		bad("listeners", "none, want at least one")
	}
	for i := range c.Listeners {
		c.Listeners[i].Validate(func(field, problem string) { bad(fmt.Sprintf("listeners[%d].%s", i, field), problem) })
	}
}

// Validate calls bad once for every field that cannot be worked with.
func (l *Listener) Validate(bad func(field, problem string)) {
	if _, _, err := net.SplitHostPort(l.Listen); err != nil {
		bad("listen", fmt.Sprintf("%q, want host:port or :port, such as :8080", l.Listen))
	}
	switch {
	case l.H2C && l.Certificate != nil:
		bad("h2c", "true beside tls: clients that speak TLS agree on HTTP/2 there")
	case l.H2C && l.Mode == ModeTCP:
		bad("h2c", "a listener with mode tcp reads no requests")
	}
	notNegative(bad, "header_limit", l.HeaderLimit)
	notNegative(bad, "header_count", l.HeaderCount)
	notNegative(bad, "header_timeout", l.HeaderTimeout)
	notNegative(bad, "idle_timeout", l.IdleTimeout)
	notNegative(bad, "body_limit", l.BodyLimit)
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
		r.suits(l.Mode, of)
		matches := strings.ToLower(r.Host) + " " + r.Path
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
	host := strings.TrimPrefix(r.Host, "*.")
	if strings.ContainsAny(host, "*/ ") || r.Host != "" && host == "" || strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		bad("host", fmt.Sprintf("%q, want a name without port, such as www.example or *.example", r.Host))
	}
	if r.Path != "" && !strings.HasPrefix(r.Path, "/") {
		bad("path", fmt.Sprintf("%q, want a leading /", r.Path))
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
	if _, err := newSource(r.Key); err != nil {
		bad("key", err.Error())
	}
	if _, err := newSource(r.Tenant); err != nil {
		bad("tenant", err.Error())
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
	if r.Key != "" && r.Key != "client" {
		bad("key", fmt.Sprintf("%q, want client: %s", r.Key, unread))
	}
	if r.Tenant != "" && r.Tenant != "client" {
		bad("tenant", fmt.Sprintf("%q, want client: %s", r.Tenant, unread))
	}
	if r.ServerTLS != nil {
		bad("server_tls", "a listener with mode tcp carries octets as they are")
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
	c.Loops = cmp.Or(c.Loops, runtime.NumCPU())
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
