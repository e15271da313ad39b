package proxy

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/kept"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// Config is how an engine works. The caller has filled its defaults in.
type Config struct {
	Loops       int  // event loops
	SingleCalls bool // loops ask the system for one read or write at a time, though it may take several (io_uring)

	ConnectTimeout  time.Duration   // until a server has taken the connection
	ResponseTimeout time.Duration   // from the request's last byte to the head of the response; zero: none
	TCP             fd.TCPOptions   // of connections to clients and to servers
	Net             *resolve.Dialer // looks servers' names up, and connects to them
	Inside          *inside.Set     // where our own components listen, which no server does; nil: unknown

	Places    *limits.Places     // of client connections
	Bodies    *limits.BodyMemory // of request bodies that are read before a server is asked for
	Kept      *kept.Store        // requests that are kept for later answers
	KeptURL   string             // scheme and authority under which clients reach this edge; empty: those by which they have come
	KeptEdges map[string]string  // the same of other edges, by their ids
	DrainTime time.Duration      // how long requests may go on once Serve's context has ended

	BodyWindow  time.Duration // over which a body must come at its least rate
	WaitEvery   time.Duration // between interim responses to a client whose request waits for a server
	MaxTurn     time.Duration // how long a loop handles one client's frames before others have a turn
	AlwaysBatch bool          // loops batch in every iteration; for tests
}
