package balance

import (
	"fmt"
	"net/netip"
	"slices"
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
	Edge     EdgeID        // who asks; its leases end when it is lost. Empty: of no edge, so the lease always has a time limit
	Key      string        // requests of equal key profit from the same server; empty: none
	Client   netip.Addr    // the client's address; the zero Addr: unknown
	Priority int           // larger is served first from the queue
	Tenant   string        // tenants share the queue evenly
	Belief   Belief        // how far Tenant is to be believed
	Deadline Instant       // after it the answer is worthless; zero: none
	Link     Link          //
	Exclude  []ServerID    // servers that have just failed this request
	Labels   []Label       // only servers that carry all of these
	Location string        // where the client is, in the pool's words
	Method   string        // request facts, passed on to the server by a dispatch
	Host     string        //
	Path     string        //
	ID       uint64        // HashID of the request's id, by which its decision is found; zero: none
	Hold     time.Duration // time limit of the lease; zero: the pool's for a redirected or edgeless one, none for a routed one
	Size     float64       // how much work it is, in the pool's own unit, such as tokens, frames or bytes; zero: not told
	Class    string        // requests of one class take alike long for their size; empty: it has none

	MayOverflow bool // who asks can ask another pool, if this one says so

	Follow bool           // who asks is told where it stands in the queue while it waits
	Stands func(Standing) // with Follow: is called at once and with each change, on any goroutine, without locks of a pool; it must not block. It does not travel

	side side // on which a server is looked for; the pool's own, zero between its calls
}

// Belief is how far the name of a request's tenant is to be believed.
type Belief uint8

const (
	Told        Belief = iota // anybody may have written it
	Proven                    // by a trusted proxy, a verified certificate or a signed token
	Disbelieved               // it had to be proven and was not; all such requests share a line in the queue
)

var beliefNames = [...]string{"told", "proven", "disbelieved"}

// String returns the word by which the belief goes through the API and logs.
func (b Belief) String() string {
	if int(b) < len(beliefNames) {
		return beliefNames[b]
	}
	return fmt.Sprintf("belief-%d", uint8(b))
}

// ParseBelief reads such a word. The empty one is Told.
func ParseBelief(word string) (b Belief, ok bool) {
	if word == "" {
		return Told, true
	}
	i := slices.Index(beliefNames[:], word)
	return Belief(max(i, 0)), i >= 0
}

// HashID returns what stands for a request's id where the id itself would be too long: its
// FNV-1a hash of 64 bits; zero for no id.
func HashID(id string) uint64 {
	if id == "" {
		return 0
	}
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	return h
}

// Grant is the answer to a Request that got a server.
type Grant struct {
	Lease   LeaseID
	Server  ServerID
	Address string        // host:port, https://host:port or unix:/path, where edges connect
	At      string        // where that leads, if it is a name; see AtEdge
	Public  string        // base URL for redirected clients; empty: http:// and Address
	Expires Instant       // the lease ends by itself then; zero: it lasts until it is done or its edge is lost
	Waited  time.Duration // how long the request was in the queue
	Serial  uint32        // stands for Server, Address, At and Public: another whenever one of them is; zero: for none
	Tag     uint64        // lets others than its edge end the lease; zero: only its edge may. The pool's owner sets it, as Fence
	Fence   uint64        // grows with every change of the pool's leader; zero: the master was not elected
}

// Told is the lease as those outside are told of it, in headers and URLs.
func (g *Grant) Told() TaggedLease { return TaggedLease{g.Lease, g.Tag} }

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
	Overflowed                    // it would wait too long: Refusal.Pool is to be asked
)

var reasonNames = [...]string{NoServer: "no-server", Saturated: "saturated", Shed: "shed", UnknownPool: "unknown-pool",
	Declined: "declined", NotLeader: "not-leader", Malformed: "malformed", Overflowed: "overflow"}

// String returns the word by which the reason goes through the API, metrics and logs.
func (r Reason) String() string {
	if int(r) < len(reasonNames) && reasonNames[r] != "" {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason-%d", uint8(r))
}

// statuses are what each reason is answered by over HTTP, by an edge to its client and by a master's API alike.
var statuses = [...]int{
	NoServer:    503,
	Saturated:   503,
	Shed:        429, // the client's own limit of time, or others that go before it
	UnknownPool: 503, // a master that has just started may not know a pool yet that agents open
	Declined:    503,
	NotLeader:   503,
	Malformed:   400,
}

// HTTPStatus returns the status of the HTTP response that tells the reason; 503 for one that this build does not know.
func (r Reason) HTTPStatus() int {
	if int(r) < len(statuses) && statuses[r] != 0 {
		return statuses[r]
	}
	return 503
}

// Refusal is the error of a Pick that got no server.
type Refusal struct {
	Reason     Reason
	RetryAfter time.Duration // when it may be worth asking again; zero: unknown
	Detail     string        // for people: what, where, why
	Needs      time.Duration // of Shed, for a request that did not wait, because answers take so long that it would be no use; zero: it waited, or its time was over
	Pool       string        // of Overflowed: the pool to ask in this one's place
	Leader     string        // of NotLeader: the address of the master that leads; empty: unknown
	LeaderID   string        // of NotLeader: its id; empty: unknown
}

func (r *Refusal) Error() string {
	if r.Detail == "" {
		return r.Reason.String()
	}
	return r.Reason.String() + ": " + r.Detail
}
