package routing

import (
	"cmp"
	"crypto/tls"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
)

// Route sends requests to a pool.
type Route struct {
	Host           string            // exactly, or *.suffix; empty: any
	Path           string            // its first segments; empty: any
	Upgrade        []string          // protocols to which clients may switch by Upgrade; nil: websocket and tcp
	Pool           string            //
	Where          string            // where the configuration has it, for people, such as edge.listeners[0].routes[2] (edge.yaml:14); empty: not known
	Link           balance.Link      // upgrades and gRPC calls are routed in any case, since their clients follow no redirect
	LeaseParam     string            // query parameter by which a redirected client brings its lease to the server; empty: none
	Key            string            // where the request's key is: header:NAME, cookie:NAME, query:NAME, json:/POINTER, expr:FORMULA, client or path; empty: it has none
	Tenant         string            // where the request's tenant is, in the same form, or cert:subject, cert:san or jwt:CLAIM
	TenantFrom     tenants.From      // which clients are believed about a tenant in a header
	TenantTokens   *tenants.Verifier // of jwt:CLAIM
	Facts          Facts             // where requests say what they say about their work
	ServerProtocol Protocol          // what the pool's servers speak
	ServerTLS      *tls.Config       // TLS to the pool's servers; nil: to those whose address begins with https://, as the system's roots have it
	Timeout        time.Duration     // how long one ask may wait for a server; zero: 10 s
	Paths          Paths             // what paths are taken; zero: as the listener has it
	BufferRequest  int64             // bytes of a request's body that are read before a server is asked for; zero: 1 MiB; negative: none
	BodyRate       int64             // bytes a second, over 10 s, that must come of a request's body; zero: 4 KiB; negative: any
	WhileWaiting   string            // what clients are sent while their requests wait for a server: Interim, or nothing
	RespondAsync   bool              // clients that prefer it are answered 202 at once, and fetch the answer later
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

// WhileWaitingInterim has clients sent interim responses with status 103 (RFC 8297) while their requests wait for a server.
const WhileWaitingInterim = "103"

const (
	defaultRouteTimeout  = 10 * time.Second
	defaultBufferRequest = 1 << 20
	defaultBodyRate      = 4 << 10
)

// withDefaults returns the route in plain form, with every zero that stands for a default replaced, and what is negative by zero.
func (r Route) withDefaults() Route {
	r.Host, r.Path = plainHost(r.Host), plainPath(r.Path)
	r.Timeout = cmp.Or(r.Timeout, defaultRouteTimeout)
	r.BufferRequest = max(0, cmp.Or(r.BufferRequest, defaultBufferRequest))
	r.BodyRate = max(0, cmp.Or(r.BodyRate, defaultBodyRate))
	return r
}
