package edge

import (
	"cmp"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// Config configures an Edge. Its defaults are meant for the open internet.
type Config struct {
	ID              balance.EdgeID
	Listeners       []routing.Listener
	Inside          *inside.Set   // where our own components listen, which no server does; nil: unknown
	ConnectTimeout  time.Duration // until a server has taken the connection; zero: 2 s
	ResponseTimeout time.Duration // from the request's last byte to the head of the response; zero: none, since requests may be long
	Via             string        // what this edge is called in Via, by requests and responses (RFC 9110, 7.6.3); empty: evenkeel
	MaxHops         int           // how often a request may have come through an edge of that name; more is answered 508; zero: 3
	DrainTime       time.Duration // how long Run lets requests finish once its context has ended; zero: 30 s
	Resolvers       []string      // DNS servers, ip:port, that are asked for names that are to be looked up here; nil: those of the machine
	TCP             fd.TCPOptions // of connections to clients and to servers; zero fields: probed after 45 s without a byte, 3 times 15 s apart, and given up after 90 s without an acknowledgement
	Connections     int           // of clients at once; those beyond it wait in the listeners' queues; zero: by how many descriptors there are
	Loops           int           // event loops; zero: one for each CPU
	SingleCalls     bool          // loops ask the system for one read or write at a time, though it may take several (io_uring)
	Log             *slog.Logger  // nil: none
	AccessLog       *slog.Logger  // a record for each request; nil: none
	LogClient       bool          // the record also has the target, version, referer and user agent of the request
	Trace           routing.Trace // how it takes part in distributed tracing
	BufferMemory    int64         // bytes of request bodies that are read before a server is asked for, of all requests; zero: 256 MiB
	RespondAsync    RespondAsync  // how requests are kept for later answers
	Shared
	LogDropped   func() uint64 // log lines that were not written; nil: there is no metric
	ReloadFailed func() string // why the last reload failed, empty: it did not; nil: there is no metric

	pace
}

// pace is how often things happen. Only tests set it.
type pace struct {
	bodyWindow  time.Duration // over which a body must come at its least rate; zero: limits.Window
	waitEvery   time.Duration // between interim responses to a client whose request waits for a server; zero: 10 s
	maxTurn     time.Duration // how long a loop handles one client's frames before others have a turn; zero: 500 µs
	alwaysBatch bool          // loops batch in every iteration
}

// Shared is what the edges of a process have together, of which one follows another at each reload. What is nil each has for itself.
type Shared struct {
	Places   *Places      // clients' connections that are counted
	Kept     *KeptStore   // requests that are kept for later answers
	WasReady *atomic.Bool // whether one of them has found, while it was asked whether it is ready, that masters had all of its pools
}

// Picker is what the edge asks for servers.
type Picker = exchange.Picker

// Places are those of client connections, which edges that follow one another share.
type Places = limits.Places

// DefaultBufferMemory is what a zero Config.BufferMemory stands for.
const DefaultBufferMemory = 256 << 20

const (
	defaultConnectTimeout = 2 * time.Second
	defaultDrainTime      = 30 * time.Second
	leastBufferMemory     = 1 << 20

	// A peer that vanished is noticed within two minutes, whether anything was on its way or not.
	defaultKeepaliveIdle     = 45 * time.Second
	defaultKeepaliveInterval = 15 * time.Second
	defaultKeepaliveCount    = 3
	defaultUserTimeout       = 90 * time.Second
	defaultVia               = "evenkeel"
	defaultMaxHops           = 3
	defaultWaitEvery         = 10 * time.Second
	defaultTurn              = 500 * time.Microsecond
	maxLoops                 = 1024
)

// Validate calls bad once for every field that cannot be worked with.
func (c *Config) Validate(bad func(field, problem string)) {
	if problem := balance.BadEdgeID(c.ID); problem != "" {
		bad("id", problem)
	}
	routing.NotNegative(bad, "connect_timeout", c.ConnectTimeout)
	routing.NotNegative(bad, "response_timeout", c.ResponseTimeout)
	routing.NotNegative(bad, "drain_time", c.DrainTime)
	routing.NotNegative(bad, "max_hops", c.MaxHops)
	if c.Via != "" && !routing.IsToken(c.Via) {
		bad("via", fmt.Sprintf("%q, want letters, digits or marks, without blanks: it stands in a header", c.Via))
	}
	validateTCP(&c.TCP, func(field, problem string) { bad("tcp."+field, problem) })
	if c.BufferMemory != 0 && c.BufferMemory < leastBufferMemory {
		bad("buffer_memory", fmt.Sprintf("%d bytes, want at least 1 MiB: it is shared by all requests; to buffer no bodies, set buffer_request: 0 on the routes", c.BufferMemory))
	}
	c.Trace.Validate(func(field, problem string) { bad("trace."+field, problem) })
	c.RespondAsync.validate(func(field, problem string) { bad("respond_async."+field, problem) })
	routing.NotNegative(bad, "connections", c.Connections)
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
	routing.NotNegative(bad, "user_timeout", o.UserTimeout)
	if o.KeepaliveCount < 0 || o.KeepaliveCount > 127 {
		bad("keepalive_count", fmt.Sprintf("%d, want 1 to 127", o.KeepaliveCount))
	}
	for field, d := range map[string]time.Duration{"keepalive_idle": o.KeepaliveIdle, "keepalive_interval": o.KeepaliveInterval} {
		if d != 0 && (d < time.Second || d > 32767*time.Second) {
			bad(field, fmt.Sprintf("%v, want 1s to 9h", d))
		}
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
	c.bodyWindow = cmp.Or(c.bodyWindow, limits.Window)
	c.waitEvery = cmp.Or(c.waitEvery, defaultWaitEvery)
	c.maxTurn = cmp.Or(c.maxTurn, defaultTurn)
	c.RespondAsync = c.RespondAsync.withDefaults()
	if c.Kept == nil {
		c.Kept = NewKeptStore()
	}
	c.BufferMemory = cmp.Or(c.BufferMemory, DefaultBufferMemory)
	c.Loops = cmp.Or(c.Loops, runtime.NumCPU())
	if most := fd.Limit(); c.Connections == 0 && most > 0 {
		c.Connections = limits.DefaultPlaces(most, c.Loops)
	}
	if c.WasReady == nil {
		c.WasReady = new(atomic.Bool)
	}
	if c.Places == nil {
		c.Places = new(limits.Places)
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return c
}
