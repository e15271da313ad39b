package wire

import (
	"math"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Versions of the protocol that this build speaks. A Hello names a range, the
// Welcome one version in it.
const (
	MinVersion = 2
	MaxVersion = 2
)

// Limits on what either side accepts. Append keeps to them by itself: it cuts a
// string or a list that is longer, and spreads Reports and a Snapshot over several
// frames. Decode answers what exceeds them with a *FrameError.
const (
	MaxFrame      = 1 << 20            // a frame, in bytes with its header
	MaxHello      = 4096               // a Hello, in bytes with its header
	MaxName       = balance.MaxName    // an id, a pool, a label's key or value, a tenant, a location, a method, a metric's name; bytes
	MaxText       = balance.MaxText    // a key, a host, a path, an address, a public URL, a detail; bytes
	MaxExclude    = balance.MaxExclude // servers that an Ask excludes
	MaxLabels     = balance.MaxLabels  // labels of an Ask or a Register
	MaxMetrics    = 128                // metrics of a report
	MaxAskReports = 16                 // reports that ride in an Ask
	MaxForms      = 64                 // number of a Form
	MaxReports    = 1024               // reports of a Reports
	MaxSharers    = 4096               // edges that a Snapshot or a Change names
	MaxServers    = 4096               // servers of one frame of a Snapshot or a Change
	MaxNumber     = 1 << 16            // number of a Granted
	MaxMoved      = 16384              // loads, and capacities, of a Change
	MaxConnected  = 64                 // masters that a hello names
	MaxInside     = 8                  // addresses of its own that a hello names
	MaxRequest    = 2048               // a certificate request, in bytes
	MaxChain      = 4                  // certificates of an Enrolled
	MaxCert       = 4096               // one of them, in bytes
	MaxReason     = 1024               // why an Override was said, in bytes
	MaxProof      = 8192               // of an Override, in bytes
	MaxPlaces     = 1 << 20            // servers of a pool that an edge is told of
	MaxWorking    = 4096               // leases of a Working
)

// Type tells what a frame carries. Numbers are never reused.
type Type uint8

const (
	THello    Type = 1  // edge, agent: role and id; first frame on every connection
	TWelcome  Type = 2  // master: version and epoch agreed on
	TFail     Type = 3  // either side: why I am closing
	TPing     Type = 4  // either side: are you there? Every receiver answers at once
	TPong     Type = 5  // either side: the answer
	TAsk      Type = 16 // edge
	TGranted  Type = 17 // master
	TQueued   Type = 18 // master: a Granted or Refused for the same ask will follow
	TRefused  Type = 19 // master
	TCancel   Type = 20 // edge: it no longer waits for the answer to this ask
	TDone     Type = 21 // edge, agent
	TReports  Type = 22 // edge, agent: when no ask or done is about to carry them
	THold     Type = 23 // edge: a lease it still holds, told to a master that may not know
	TWatch    Type = 24 // edge: send me this pool's snapshots
	TSnapshot Type = 25 // master: a pool as it is; edge: as the master before had it, told to a master that takes it
	TChange   Type = 26 // master: what has changed of it since
	TForm     Type = 27 // edge, agent: the names of metrics, for reports that give values only
	TLead     Type = 28 // master: the leader of a pool
	TDrain    Type = 29 // master: what an operator says of a server; edge, agent: the same, told to a master that may not know
	TFence    Type = 30 // edge, agent: it has seen a larger fence than that with which the master claims to lead
	TUnplaced Type = 31 // master: the pool of the registration is not here, or may be by now
	TRegister Type = 32 // agent: my server, at the start and when it changes
	TDispatch Type = 33 // master
	TVerdict  Type = 34 // agent: the answer to a dispatch
	TGoodbye  Type = 35 // edge, agent: I am leaving in good order
	TEnrol    Type = 36 // agent, in place of a hello: sign my key
	TEnrolled Type = 37 // master: the certificate; it then closes
	TChosen   Type = 38 // edge: a request for which it has chosen a server itself
	TEnded    Type = 39 // master: a lease of the agent's server is over
	TWorking  Type = 40 // agent: the leases that its server has accepted and of whose end it has not heard
	TOverride Type = 41 // as TDrain, of another setting of a server; edge, agent: only to a master that takes it
)

// Role of the sender of a Hello.
type Role uint8

const (
	RoleEdge  Role = 1
	RoleAgent Role = 2
)

// Hello opens a connection.
type Hello struct {
	Min, Max uint32 // 1, 2: versions
	Role     Role   // 3
	ID       string // 4: edge id, or the agent's server id
	Software string // 5: name and version, for logs

	Instance  uint64   // 6: an edge's: tells two processes of one id apart; zero: unknown
	Connected []uint64 // 7*: an edge's: epochs of the masters that it has a connection to
	Inside    []string // 8*: addresses where it serves operators, host:port, so where no server is
}

// Welcome answers a Hello that can be served.
type Welcome struct {
	Version uint32 // 1
	Master  string // 2: the master's id
	Epoch   uint64 // 3: differs from one process to the next, also between two of one id
	Elected bool   // 4: it leads only the pools of which a Lead says so; without it, all

	Inside []string // 5*: as a Hello's, of the master

	Recalls bool // 6: it takes an edge's last Snapshot from the master before
	Ends    bool // 7: it sends agents an Ended for each lease of a pool that dispatches, and takes Working

	Overrides bool // 8: it sends and takes frames of type TOverride
}

// Code of a Fail.
type Code uint16

const (
	BadVersion  Code = 1  // no common version
	BadFrame    Code = 2  // the bytes are malformed; the detail says where
	BadRole     Code = 3  // this role may not send that frame
	Taken       Code = 4  // another open connection has this id
	BadRegister Code = 5  // the registration is impossible; the detail says why
	Unknown     Code = 6  // no such pool
	Forbidden   Code = 7  // the certificate does not allow it
	GoingAway   Code = 8  // shutting down
	Connected   Code = 9  // the edge has a connection to this master, as its hello says
	Busy        Code = 10 // a limit of this master is reached; later there may be room
)

// Fail is the last frame on a connection that its sender gives up.
type Fail struct {
	Code   Code   // 1
	Detail string // 2: for people
}

// Ping asks for a Pong with the same Seq. An edge that has heard nothing for a second sends one,
// and gives the connection up if it hears nothing for two seconds more; an agent does so after
// five seconds and five more.
type Ping struct {
	Seq uint64 // 1
}

// Pong answers a Ping.
type Pong struct {
	Seq uint64 // 1
}

// Ask asks for a server. Seq is chosen by the edge and named by the answer.
type Ask struct {
	Seq     uint64          // 1
	Pool    string          // 2; empty in an Ask or a Done: as in the last of them that had one
	Request balance.Request // 3 key, 4 client (4 or 16 bytes), 5 priority (zigzag), 6 tenant, 7 deadline (µs from now), 8 link, 9* exclude, 10* label: 1 key, 2 value, 11 location, 12 method, 13 host, 14 path, 15 hold (µs), 17 id, 18 belief, 19 may overflow, 20 size (fixed64), 21 class, 22 follow
	Reports []PoolReport    // 16*: load metrics encoded in the ask
}

// PoolReport is a report and the pool of its server, or with a Form a report whose metrics
// have no names: those of the form stand for them.
type PoolReport struct {
	Pool   string         // 1; empty: the ask's, or that of the agent's server
	Report balance.Report // 2 server, empty: the agent's; 3 age (µs), 7 window (µs), 4* metric: 1 name, 2 value (fixed64, an IEEE 754 double)
	Form   uint32         // 5; then 6 values, 8 bytes each, is there in place of 4
}

// Form lists the names of the metrics in later reports that refer to it, until the number is defined again.
type Form struct {
	Number uint32   // 1
	Names  []string // 2*
}

// Lead says which master leads a pool. It is sent when the watch of the pool begins and when the leader changes. A master without an
// election never sends it.
type Lead struct {
	Pool   string // 1
	Fence  uint64 // 2: this master leads, with this fencing number; 0: it does not
	Leader string // 3: the address of the one that does; empty: unknown
	Master string // 4: the id of the one that does; empty: unknown
}

// Fence tells a master that claims to lead a pool that a lead with a larger fence was seen.
type Fence struct {
	Pool string // 1
	Seen uint64 // 2
}

// Unplaced tells an agent that the master does not have the pool of its registration: the connection
// stays, and nothing is to be sent over it. A second one, without a detail, asks for the registration again.
type Unplaced struct {
	Detail string // 1
}

// Override tells what an operator last said of a server: of its drain in a frame of type TDrain, of another setting in one of type
// TOverride. A master tells the edges that watch the pool, and the server's agent. They keep it for the next master.
type Override struct {
	Pool     string           // 1
	Server   balance.ServerID // 2
	Override balance.Override // 3 on, 4 at (µs since 1970), 5 by, 6 reason, 7 proof; of a TOverride 8 setting, 9 value
}

// Granted answers an Ask. Lease, server and addresses as in balance.Grant, whose Serial does
// not travel; Expires travels as µs from now, 0 for none.
type Granted struct {
	Seq    uint64        // 1
	Grant  balance.Grant // 2 lease, 3 server, 4 address, 5 public, 6 expires (µs from now), 9 fence, 10 tag (fixed64), 11 at
	Queue  time.Duration // 7: how long the request waited in the master
	Number uint32        // 8: alias of the server on this connection; without 3 it stands for 3, 4, 5 and 11 of the last Granted that had both 8 and 3; zero: no alias
}

// Queued tells that an Ask waits in the master's queue. It comes again with each change if the Ask follows it.
type Queued struct {
	Seq      uint64        // 1
	Position uint32        // 2: 1 is next
	Wait     time.Duration // 3: until a server is expected; zero: unknown
}

// WatchSeq is the Seq of a Refused that answers a Watch: the master does not know that pool. No ask has it. The master
// tells of the pool once it knows it.
const WatchSeq = math.MaxUint64

// Refused answers an Ask that got no server.
type Refused struct {
	Seq     uint64          // 1
	Refusal balance.Refusal // 2 reason, 3 retry-after (µs), 4 detail, 5 leader, 6 leader's id, 7 needs (µs)
}

// Cancel withdraws an Ask. If it was granted meanwhile, the lease ends as Canceled.
type Cancel struct {
	Seq uint64 // 1
}

// Chosen tells of a request that the edge has sent to a server of its own choice. It opens the lease.
type Chosen struct {
	Pool    string           // 1; empty: as in an Ask
	Lease   balance.LeaseID  // 2: 1 to balance.MaxOwnLease, which no other open lease of the edge has
	Server  balance.ServerID // 3
	Request balance.Request  // 4 key, 5 client, 6 priority (zigzag), 7 tenant, 8 belief, 9 id, 10 size (fixed64), 11 class
}

// Done ends a lease.
type Done struct {
	Pool    string          // 1
	Lease   balance.LeaseID // 2 (fixed64, as all leases)
	Outcome balance.Outcome // 3 result, 4 duration (µs), and unless it is OK: 5 retry-after (µs), 6 HTTP status, 7 gRPC status, 8 error; 10 first byte (µs), 11 bytes, 12 size (fixed64)
	Tag     uint64          // 9 (fixed64): of an agent, that of the Grant or Dispatch; an edge needs none
}

// Reports carries load metrics on their own.
type Reports struct {
	Reports []PoolReport // 1*
}

// Hold tells of a lease that its edge still holds, after a reconnection or when Idle has changed.
type Hold struct {
	Pool   string           // 1
	Lease  balance.LeaseID  // 2
	Server balance.ServerID // 3
	Age    time.Duration    // 4 (µs)
	Left   time.Duration    // 5 (µs): until it expires; 0: when it is done
	Tag    uint64           // 6 (fixed64): that of the Granted
	Idle   bool             // 7: the server owes nothing now: the edge waits for the client
	Size   float64          // 8 (double): as the request told it; 0: it did not
	Class  string           // 9
}

// Watch asks for the snapshot of a pool, now, and for its changes from then on. It may be
// sent again for the sake of a whole one.
type Watch struct {
	Pool string // 1
}

// Snapshot carries a whole balance.Snapshot, if need be in several frames that follow
// each other. A server's place is where it comes, from 0.
type Snapshot struct {
	Snapshot balance.Snapshot // 1 pool, 2 version, 3 dispatch, 4* server: 1 id, 2 address, 3 public, 4 state, 5 slots, 6 service, 7 load, 10 cap, 11 kind, 12 basis; 7 edges, 8 local (µs), 9* sharers
	More     bool             // 5: further servers of this version follow in the next Snapshot
	Seq      uint64           // 6: the next Change has the next number
}

// Change carries what has changed of a pool since the Snapshot or Change whose Seq is one
// less. Servers are put into their places first, in ascending order, a new place only
// right behind the last; then Count servers are left.
type Change struct {
	Pool       string           // 1
	Version    uint64           // 2
	Dispatch   bool             // 3
	Servers    []Placed         // 4*: as in a Snapshot, and 8 place
	Count      int              // 5
	Seq        uint64           // 6
	Edges      int              // 7
	LocalFrom  time.Duration    // 10 (µs): a Snapshot's local
	Sharers    []balance.EdgeID // 11: a Snapshot's sharers
	Canary     float64          // 12: a Snapshot's canary
	Loads      []Load           // 8: packed, each a varint, the number of places skipped since the entry before, and a little-endian IEEE 754 single
	Capacities []Capacity       // 9: packed as those of 8, with two singles
}

// Placed is a server and its place.
type Placed struct {
	At     int
	Server balance.SnapshotServer
}

// Load is what is now in flight at the server in a place.
type Load struct {
	At   int
	Load float32
}

// Capacity is what the server in a place now counts as capable of.
type Capacity struct {
	At             int
	Slots, Service float32
}

// Register tells of the agent's server.
type Register struct {
	Pool   string             // 1
	Server balance.ServerSpec // 2 id, 3 address, 4 public, 5 slots, 6 speed, 7* label: 1 key, 2 value, 8 location
	Down   string             // 9: why the server cannot serve; empty: it can, as far as the agent knows
}

// Dispatch tells a server, through its agent, to perform the processing of a request.
type Dispatch struct {
	Lease   balance.LeaseID // 1
	Pool    string          // 2
	Edge    balance.EdgeID  // 3
	Request balance.Request // 4 key, 5 client, 6 method, 7 host, 8 path, 9 tenant, 10 priority, 14 size (fixed64), 15 class
	Limit   time.Duration   // 11 (µs): the verdict is worthless after it
	Fence   uint64          // 12: of the master that tells; 0: it was not elected
	Tag     uint64          // 13 (fixed64): lets the server end the lease; 0: its edge does
}

// Verdict answers a Dispatch.
type Verdict struct {
	Lease    balance.LeaseID // 1
	Accepted bool            // 2
	Detail   string          // 3: why not
}

// Ended tells an agent that a lease of its server, in a pool that dispatches, is over.
type Ended struct {
	Lease  balance.LeaseID // 1 (fixed64)
	Result balance.Result  // 2: as in a Done
	Lost   bool            // 3: the master has no such lease, and does not know how it ended
}

// Working asks a master which of the leases that an agent's server has accepted are over: it answers an Ended for each
// of these.
type Working struct {
	Leases []balance.LeaseID // 1* (fixed64)
}

// Goodbye says that the sender stops: an agent's server gets no new requests, an edge's leases end immediately.
type Goodbye struct{}

// Enrol asks for a certificate, on a connection of its own that TLS has agreed on as one for that. With a
// token it is the first; without, the agent shows the certificate that it has, and gets another like it.
type Enrol struct {
	Token   string // 1: the secret of a token; empty: by certificate
	Pool    string // 2: that the server is to join
	ID      string // 3: of the server
	Address string // 4: of the server, as in a Register
	Request []byte // 5: a PKCS #10 certificate request, of which only the key and the signature count
}

// Enrolled answers an Enrol.
type Enrolled struct {
	Chain [][]byte // 1*: X.509, the agent's certificate first, then what is between it and the authority
}
