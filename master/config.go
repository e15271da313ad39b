package master

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// Config configures a master. The zero Config is a master without pools.
type Config struct {
	ID           string // shown to edges and agents; empty: "master"
	Pools        []PoolConfig
	Elected      bool          // leases may be granted only as Lead and Extend allow
	OpenPools    bool          // peers may open pools that the file does not name, with default settings
	Seed         uint64        // of all randomness; zero: random
	Log          *slog.Logger  // nil: nothing is logged
	LogDropped   func() uint64 // log lines that were not written; nil: not counted
	ReloadFailed func() string // why the last reload failed; empty: it did not; nil: there is no file
	Version      string        // of the software, for build info and the handshake
	Bounds       Bounds        // of peers, and of what they can make the master keep
	Trust        *trust.Keeper // what edges and agents have to prove; nil: nothing, connections are not encrypted
	DrainsFile   string        // where drains are kept across restarts; empty: nowhere
	Admin        string        // address of the HTTP API, for peers that send HTTP to the wire port; may be empty
	Enrolment    *Enrolment    // signs agents' certificates; nil: none are signed
	Resolvers    []string      // DNS servers, ip:port; nil: those of the machine
	Inside       *inside.Set   // addresses of our own components, where no server may be; nil: unknown
}

// PoolConfig is the file's configuration of one pool.
type PoolConfig struct {
	Name          string
	Policy        string                          // a name in package policy's table; empty: policy.Default
	Dispatch      bool                            // a server has to accept through its agent before the edge is answered
	DispatchLimit time.Duration                   // how long one server may take to accept; zero: 1 s
	HookFacts     []string                        // what a server is sent of a request beyond the usual: HookKey, its key instead of a hash
	LeaseTime     time.Duration                   // of redirected and edgeless leases; zero: 1 minute
	Grace         time.Duration                   // how long a lost edge's leases wait for its return; zero: 5 s
	QueueSize     int                             // requests that may wait while every server is at its limit; zero: 1000; negative: none, and servers have no limit
	QueueWait     time.Duration                   // the longest wait; zero: by how long requests take, see balance.Config
	Affinity      balance.Affinity                //
	Distances     map[string]map[string]float64   // by the client's location, then the server's: how much more expensive, 0: not at all
	Utilization   string                          // formula of a server's utilisation from its metrics; empty: the application's, else the CPU's
	Health        HealthCheck                     // how servers are checked
	Decisions     int                             // how many recent decisions can be explained; zero: 1000; negative: none
	Servers       []balance.ServerSpec            // agents may register further ones
	Agents        []string                        // names of agents that may register, with * for any characters; empty: their certificates must name the pool
	Addresses     []string                        // prefixes and host names where agents' servers may be, besides where the agents are
	FromAgent     map[balance.ServerID]Tells      // what agents may set of the servers in Servers, besides open slots and speed
	Tenants       map[string]balance.TenantConfig // tenants with queues of their own; empty: see balance.Config
	MaxInFlight   int                             // most requests of a server that declares no cap of its own; zero: no cap
	Split                                         // requests that go to certain servers, or to another pool
	Resolve       Resolve                         // how names with several addresses are treated
	ResolveAtEdge bool                            // edges resolve the names of the file's servers, each for itself
	Resolvers     []string                        // DNS servers, ip:port; nil: Config.Resolvers
	Edges         []string                        // names of edges that may ask; empty: all whose certificates allow it
}

// Split is which of a pool's requests go to certain servers, and which to another pool.
type Split struct {
	Canary   balance.Canary   // gets a fixed share
	Overflow balance.Overflow // takes what would wait too long
}

func ignore(field, problem string) {}

// None turns a queue or the memory of decisions off, where zero means the default.
const None = -1

const (
	defaultDispatchLimit = time.Second
	defaultLeaseTime     = time.Minute
	defaultGrace         = 5 * time.Second
	defaultQueueSize     = 1000
	defaultDecisions     = 1000

	longestDispatch = time.Hour
	longestWait     = time.Hour
	longestHold     = 30 * 24 * time.Hour
	longestQueue    = 100_000
	maxDecisions    = 100_000
	maxKeys         = 1_000_000
	farthest        = 1e6
	leastHit        = 1e-6
)

var poolName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// Validate calls bad once for every invalid field, with the field's path, such as "servers[2].address".
func (c *PoolConfig) Validate(bad func(field, problem string)) {
	if !poolName.MatchString(c.Name) {
		bad("name", fmt.Sprintf("%q, want 1 to 128 letters, digits, '.', '_' or '-', the first a letter or digit", clip(c.Name)))
	}
	if _, err := policy.New(c.Policy); err != nil {
		bad("policy", err.Error())
	}
	for _, d := range []struct {
		field string
		value time.Duration
		most  time.Duration
	}{
		{"dispatch_limit", c.DispatchLimit, longestDispatch},
		{"lease_time", c.LeaseTime, longestHold},
		{"grace", c.Grace, longestHold},
		{"queue.wait", c.QueueWait, longestWait},
	} {
		if d.value < 0 || d.value > d.most {
			bad(d.field, fmt.Sprintf("%v, want 0 (the default) to %v", d.value, d.most))
		}
	}
	for i, fact := range c.HookFacts {
		if fact != HookKey {
			bad(fmt.Sprintf("hook_facts[%d]", i), fmt.Sprintf("%q, want %s: all other facts are sent anyway", clip(fact), HookKey))
		}
	}
	c.validateChoice(bad)
	c.Health.Validate(bad)
	c.validateNames(bad)
	newAccess(c, bad)
	first := make(map[balance.ServerID]int, len(c.Servers))
	for i := range c.Servers {
		s := &c.Servers[i]
		s.Validate(func(field, problem string) { bad(fmt.Sprintf("servers[%d].%s", i, field), problem) })
		if j, twice := first[s.ID]; twice {
			bad(fmt.Sprintf("servers[%d].id", i), fmt.Sprintf("%q is also the id of servers[%d]", s.ID, j))
			continue
		}
		first[s.ID] = i
	}
}

// validateChoice validates what decides which server a request gets.
func (c *PoolConfig) validateChoice(bad func(field, problem string)) {
	for _, n := range []struct {
		field       string
		value       int
		least, most int
	}{
		{"queue.size", c.QueueSize, None, longestQueue},
		{"decisions", c.Decisions, None, maxDecisions},
		{"affinity.keys", c.Affinity.Keys, 0, maxKeys},
		{"max_in_flight", c.MaxInFlight, 0, balance.MostInFlight},
	} {
		switch {
		case n.value < n.least:
			bad(n.field, fmt.Sprintf("negative, want 0 to %d", n.most))
		case n.value > n.most:
			bad(n.field, fmt.Sprintf("%d, want 0 to %d", n.value, n.most))
		}
	}
	if hit := c.Affinity.Hit; !(hit == 0 || hit >= leastHit && hit <= 1) {
		bad("affinity.hit", fmt.Sprintf("%v, want the share of the work that is left on a hit, %v to 1, or 0 for no affinity", hit, leastHit))
	}
	for _, from := range slices.Sorted(maps.Keys(c.Distances)) {
		for _, to := range slices.Sorted(maps.Keys(c.Distances[from])) {
			if d := c.Distances[from][to]; !(d >= 0 && d <= farthest) {
				bad(fmt.Sprintf("distances.%s.%s", from, to), fmt.Sprintf("%v, want 0 (no more expensive) to %.0f", d, farthest))
			}
		}
	}
	if len(c.Tenants) > balance.MaxTenants {
		bad("tenants", fmt.Sprintf("%d, want at most %d", len(c.Tenants), balance.MaxTenants))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Tenants)) {
		if problem := balance.BadName(name); problem != "" {
			bad("tenants."+name, problem)
		}
		if w := c.Tenants[name].Weight; !(w == 0 || w >= balance.MinTenantWeight && w <= balance.MaxTenantWeight) {
			bad("tenants."+name+".weight", fmt.Sprintf("%v, want %v to %v, such as 2 for twice as much as a tenant without a weight", w, balance.MinTenantWeight, balance.MaxTenantWeight))
		}
		if n := c.Tenants[name].MaxInFlight; n < 0 || n > balance.MostInFlight {
			bad("tenants."+name+".max_in_flight", fmt.Sprintf("%d, want 1 to %d; leave it out for no cap", n, balance.MostInFlight))
		}
	}
	if _, err := newFormula(c.Utilization); err != nil {
		bad("utilization", err.Error())
	}
	if w := c.Overflow.Wait; w < 0 || w > longestWait {
		bad("overflow.when", fmt.Sprintf("%v, want 0s to %v", w, longestWait))
	}
	c.Canary.Validate(func(field, problem string) { bad("share", strings.TrimPrefix(field+": "+problem, ": ")) })
}

// withDefaults returns the config with defaults in place of zeros.
func (c PoolConfig) withDefaults() PoolConfig {
	c.Policy = cmp.Or(c.Policy, policy.Default)
	c.DispatchLimit = cmp.Or(c.DispatchLimit, defaultDispatchLimit)
	c.LeaseTime = cmp.Or(c.LeaseTime, defaultLeaseTime)
	c.Grace = cmp.Or(c.Grace, defaultGrace)
	c.QueueSize = cmp.Or(c.QueueSize, defaultQueueSize)
	c.Decisions = cmp.Or(c.Decisions, defaultDecisions)
	return c
}

// core returns the balance.Pool's part of a config with defaults.
func (c *PoolConfig) core() (balance.Config, balance.Policy, error) {
	chosen, err := policy.New(c.Policy)
	if err != nil {
		return balance.Config{}, nil, err
	}
	formula, err := newFormula(c.Utilization)
	if err != nil {
		return balance.Config{}, nil, err
	}
	return balance.Config{Name: c.Name, Dispatch: c.Dispatch, LeaseTime: c.LeaseTime, Grace: c.Grace,
		QueueSize: max(0, c.QueueSize), QueueWait: c.QueueWait, Tenants: c.Tenants, Affinity: c.Affinity, Distances: c.Distances,
		Utilization: formula, Decisions: max(0, c.Decisions), MaxInFlight: c.MaxInFlight, Canary: c.Canary, Overflow: c.Overflow}, chosen, nil
}

// alike reports whether two configs have the same balance.Pool's part.
func (c PoolConfig) alike(other *PoolConfig) bool {
	c.Servers, c.DispatchLimit, c.Health, c.HookFacts = other.Servers, other.DispatchLimit, other.Health, other.HookFacts
	c.Agents, c.Addresses, c.Edges, c.FromAgent = other.Agents, other.Addresses, other.Edges, other.FromAgent
	c.Resolve, c.ResolveAtEdge, c.Resolvers = other.Resolve, other.ResolveAtEdge, other.Resolvers
	return reflect.DeepEqual(c, *other)
}

// OverflowProblem says why requests of a pool cannot go on to another; empty: they can. overflow returns the one to which a pool's go on, empty
// for none; known is false if there is no such pool.
func OverflowProblem(pool string, overflow func(pool string) (to string, known bool)) string {
	to, _ := overflow(pool)
	if _, known := overflow(to); !known && to != "" {
		return fmt.Sprintf("%q is none of the pools", to)
	}
	next := func(pool string) string { to, _ := overflow(pool); return to }
	if circle := balance.OverflowCircle(pool, next); circle != nil {
		return "requests would go round in a circle: " + strings.Join(circle, " to ")
	}
	return ""
}

// Validate calls bad once for every invalid field, with the field's path, such as "pools[0].policy".
func (c *Config) Validate(bad func(field, problem string)) {
	if c.ID != "" {
		if problem := balance.BadName(c.ID); problem != "" {
			bad("id", problem)
		}
	}
	c.Bounds.validate(bad)
	badResolvers(c.Resolvers, bad)
	first := make(map[string]int, len(c.Pools))
	for i := range c.Pools {
		p := &c.Pools[i]
		p.Validate(func(field, problem string) { bad(fmt.Sprintf("pools[%d].%s", i, field), problem) })
		if j, twice := first[p.Name]; twice {
			bad(fmt.Sprintf("pools[%d].name", i), fmt.Sprintf("%q is also the name of pools[%d]", p.Name, j))
			continue
		}
		first[p.Name] = i
		if problem := OverflowProblem(p.Name, c.overflow); problem != "" {
			bad(fmt.Sprintf("pools[%d].overflow.pool", i), problem)
		}
		for j := range p.Servers {
			_, at := balance.SplitAddress(p.Servers[j].Address)
			if path, ok := balance.UnixPath(at); ok && c.Inside.RefuseSocket(path) != nil || c.Inside.HasOwn(at) {
				bad(fmt.Sprintf("pools[%d].servers[%d].address", i, j), fmt.Sprintf("%s is an address of one of our own components, where clients must not get", at))
			}
		}
	}
}

// overflow returns to which pool a pool's requests go on; known: there is such a pool.
func (c *Config) overflow(pool string) (to string, known bool) {
	i := slices.IndexFunc(c.Pools, func(p PoolConfig) bool { return p.Name == pool })
	if i < 0 {
		return "", false
	}
	return c.Pools[i].Overflow.Pool, true
}

func (c *Config) problems() error {
	var all []error
	c.Validate(func(field, problem string) { all = append(all, fmt.Errorf("%s: %s", field, problem)) })
	return errors.Join(all...)
}

// clip shortens foreign text for a message.
func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
