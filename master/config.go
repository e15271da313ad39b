package master

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// Config is what a master is told. The zero Config is a master without pools.
type Config struct {
	ID        string // names the master to edges and agents; empty: "master"
	Pools     []PoolConfig
	OpenPools bool         // an agent may register into a pool that no file names; it is made with defaults
	Seed      uint64       // of all chance; zero: drawn at random
	Log       *slog.Logger // nil: nothing is logged
	Version   string       // of the software, for build info and the handshake
	Admin     string       // where the HTTP API is served, told to those who speak HTTP to the wire port; may be empty
}

// PoolConfig is what the file says of one pool.
type PoolConfig struct {
	Name          string
	Policy        string               // one of package policy's table; empty: policy.Default
	Dispatch      bool                 // a server is told by its agent, and accepts, before the edge is answered
	DispatchLimit time.Duration        // how long one server may take to accept; zero: 1 s
	LeaseTime     time.Duration        // time limit of redirected and edgeless leases; zero: 1 minute
	Grace         time.Duration        // how long a lost edge's leases wait for its return; zero: 5 s
	Servers       []balance.ServerSpec // others may register through agents
}

const (
	defaultDispatchLimit = time.Second
	defaultLeaseTime     = time.Minute
	defaultGrace         = 5 * time.Second

	longestDispatch = time.Hour
	longestHold     = 30 * 24 * time.Hour
)

var poolName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// Validate calls bad once for every field that cannot be served, with the field's
// path, such as "servers[2].address".
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
	} {
		if d.value < 0 || d.value > d.most {
			bad(d.field, fmt.Sprintf("%v, want 0 (the default) to %v", d.value, d.most))
		}
	}
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

// withDefaults returns the config with every zero filled.
func (c PoolConfig) withDefaults() PoolConfig {
	c.Policy = cmp.Or(c.Policy, policy.Default)
	c.DispatchLimit = cmp.Or(c.DispatchLimit, defaultDispatchLimit)
	c.LeaseTime = cmp.Or(c.LeaseTime, defaultLeaseTime)
	c.Grace = cmp.Or(c.Grace, defaultGrace)
	return c
}

// Validate calls bad once for every field that cannot be served, with the field's
// path, such as "pools[0].policy".
func (c *Config) Validate(bad func(field, problem string)) {
	if len(c.ID) > 255 {
		bad("id", fmt.Sprintf("%d bytes, want at most 255", len(c.ID)))
	}
	first := make(map[string]int, len(c.Pools))
	for i := range c.Pools {
		p := &c.Pools[i]
		p.Validate(func(field, problem string) { bad(fmt.Sprintf("pools[%d].%s", i, field), problem) })
		if j, twice := first[p.Name]; twice {
			bad(fmt.Sprintf("pools[%d].name", i), fmt.Sprintf("%q is also the name of pools[%d]", p.Name, j))
			continue
		}
		first[p.Name] = i
	}
}

func (c *Config) problems() error {
	var all []error
	c.Validate(func(field, problem string) { all = append(all, fmt.Errorf("%s: %s", field, problem)) })
	return errors.Join(all...)
}

// clip shortens what a stranger sent for a message.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
