package balance

import (
	"fmt"
	"net/netip"
	"time"
)

// Link is how client and server are brought together.
type Link uint8

const (
	LinkRoute    Link = iota // bytes pass through the edge
	LinkRedirect             // the client is sent to the server's public address
)

func (l Link) String() string {
	if l == LinkRedirect {
		return "redirect"
	}
	return "route"
}

// Request is what an edge asks for. The zero value asks for any server.
//
// Pick keeps nothing of a Request: its strings and slices may live in the caller's read buffer.
type Request struct {
	Edge     EdgeID        // who asks; its leases end when it is lost. Empty: nobody's, so the lease always has a time limit
	Key      string        // requests of equal key profit from the same server; empty: none
	Client   netip.Addr    // the client's address; the zero Addr: unknown
	Priority int           // larger is served first from the queue
	Tenant   string        // tenants share the queue evenly
	Deadline Instant       // after it the answer is worthless; zero: none
	Link     Link          //
	Exclude  []ServerID    // servers that have just failed this request
	Labels   []Label       // only servers that carry all of these
	Location string        // where the client is, in the pool's words
	Method   string        // request facts, passed on to the server by a dispatch
	Host     string        //
	Path     string        //
	Hold     time.Duration // time limit of the lease; zero: the pool's for a redirected or edgeless one, none for a routed one
}

// Grant is the answer to a Request that got a server.
type Grant struct {
	Lease   LeaseID
	Server  ServerID
	Address string        // host:port or https://host:port, where edges connect
	Public  string        // base URL for redirected clients; empty: http:// and Address
	Expires Instant       // the lease ends by itself then; zero: it lasts until it is done or its edge is lost
	Waited  time.Duration // how long the request was in the queue
	Serial  uint32        // stands for Server, Address and Public: another whenever one of them is; zero: for none
	Fence   uint64        // grows with every change of the pool's leader; zero: the master was not elected
}

// Reason says why a request got no server.
type Reason uint8

const (
	NoServer    Reason = iota + 1 // the pool has no eligible server
	Saturated                     // every eligible server is at its limit and the queue is full
	Shed                          // given up in the queue: the deadline or the longest wait came first
	UnknownPool                   // the master has no pool of that name
	Declined                      // every eligible server refused the dispatch
	NotLeader                     // this master does not lead the pool
	Malformed                     // the request itself is impossible
)

var reasonNames = [...]string{NoServer: "no-server", Saturated: "saturated", Shed: "shed", UnknownPool: "unknown-pool",
	Declined: "declined", NotLeader: "not-leader", Malformed: "malformed"}

// String returns the word by which the reason goes through the API, metrics and logs.
func (r Reason) String() string {
	if int(r) < len(reasonNames) && reasonNames[r] != "" {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason-%d", uint8(r))
}

// Refusal is the error of a Pick that got no server.
type Refusal struct {
	Reason     Reason
	RetryAfter time.Duration // when it may be worth asking again; zero: unknown
	Detail     string        // for people: what, where, why
	Leader     string        // of NotLeader: the address of the master that leads; empty: unknown
}

func (r *Refusal) Error() string {
	if r.Detail == "" {
		return r.Reason.String()
	}
	return r.Reason.String() + ": " + r.Detail
}

// Result is how a lease ended.
type Result uint8

const (
	OK          Result = iota // the server answered, and not with a fault of its own
	Fault                     // the server answered 5xx, or broke off its answer
	Unreachable               // no connection to the server could be made
	Refused                   // the server refused the dispatch
	Canceled                  // the client went away; says nothing about the server
	Expired                   // nobody said done in time; says nothing about the server
)

var resultNames = [...]string{OK: "ok", Fault: "fault", Unreachable: "unreachable", Refused: "refused", Canceled: "canceled", Expired: "expired"}

func (r Result) String() string {
	if int(r) < len(resultNames) {
		return resultNames[r]
	}
	return fmt.Sprintf("result-%d", uint8(r))
}

// ParseResult reads what Result.String wrote.
func ParseResult(s string) (Result, error) {
	for r, name := range resultNames {
		if s == name {
			return Result(r), nil
		}
	}
	return 0, fmt.Errorf("result %q: want one of ok, fault, unreachable, refused, canceled, expired", s)
}

// Outcome is what an edge says of a lease that is over.
type Outcome struct {
	Result   Result
	Duration time.Duration // from the request's first byte to the server until the response's last; zero: not measured
}
