package settings

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/agent"
	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/config"
	"github.com/evenkeel-lb/evenkeel/edge"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
	"github.com/evenkeel-lb/evenkeel/internal/suggest"
	"github.com/evenkeel-lb/evenkeel/internal/version"
	"github.com/evenkeel-lb/evenkeel/master"
)

// trimHTTP returns an address without the scheme of plain HTTP and a slash at the end, which say
// nothing.
func trimHTTP(address string) string {
	rest, cut := strings.CutPrefix(address, "http://")
	if bare := strings.TrimSuffix(rest, "/"); cut && bare != "" {
		return bare
	}
	return address
}

// normalizeServer is plainHTTP of a server's address: with a scheme, a port that is not written is the scheme's.
func normalizeServer(address string) string {
	scheme, rest, has := strings.Cut(address, "://")
	if rest = strings.TrimSuffix(rest, "/"); !has || rest == "" || scheme != "http" && scheme != "https" || strings.ContainsAny(rest, "/?#@") {
		return address
	}
	port := "80"
	if scheme == "https" {
		port = "443"
	}
	if _, _, err := net.SplitHostPort(rest); err != nil && (!strings.Contains(rest, ":") || strings.HasSuffix(rest, "]")) {
		rest = net.JoinHostPort(strings.Trim(rest, "[]"), port)
	}
	if scheme == "https" {
		return "https://" + rest
	}
	return rest
}

// normalizeAddresses has all addresses as the rooms take them, however they are written.
func (s *Settings) normalizeAddresses() {
	if m := s.Master; m != nil {
		m.Listen, m.Admin = trimHTTP(m.Listen), trimHTTP(m.Admin)
		if m.Election != nil {
			m.Election.Address = trimHTTP(m.Election.Address)
		}
	}
	for _, p := range s.Pools {
		for i := range p.Servers {
			p.Servers[i].Address = normalizeServer(p.Servers[i].Address)
		}
	}
	if e := s.Edge; e != nil {
		e.Admin = trimHTTP(e.Admin)
		trimHTTPAll(e.Masters)
		for i := range e.Listeners {
			e.Listeners[i].Listen = trimHTTP(e.Listeners[i].Listen)
		}
	}
	if a := s.Agent; a != nil {
		a.Address, a.HealthAddress, a.Admin = normalizeServer(a.Address), normalizeServer(a.HealthAddress), trimHTTP(a.Admin)
		trimHTTPAll(a.Masters)
	}
}

func trimHTTPAll(masters []string) {
	for i := range masters {
		masters[i] = trimHTTP(masters[i])
	}
}

func (s *Settings) PoolNames() []string { return slices.Sorted(maps.Keys(s.Pools)) }

// MasterConfig joins the parts that a master reads; it has the pools even without a master part.
func (s *Settings) MasterConfig() master.Config {
	c := master.Config{Version: version.String()}
	if s.Master != nil {
		l := s.Master.Limits
		c.Bounds = master.Bounds{New: l.New, Edges: l.Edges, Agents: l.Agents, Watches: l.Watches, EdgeBytes: int64(l.EdgeBytes), AgentBytes: int64(l.AgentBytes)}
		c.ID, c.OpenPools, c.Elected, c.DrainsFile = s.Master.ID, s.Master.OpenPools, s.Master.Election != nil, s.Master.Drains
		c.Resolvers = s.Master.Resolvers
	}
	if dir := os.Getenv("STATE_DIRECTORY"); c.DrainsFile == "" && dir != "" { // systemd's StateDirectory=
		first, _, _ := strings.Cut(dir, ":")
		c.DrainsFile = filepath.Join(first, "drains.json")
	}
	for _, name := range s.PoolNames() {
		c.Pools = append(c.Pools, s.PoolConfig(name))
	}
	return c
}

func (s *Settings) PoolConfig(name string) master.PoolConfig {
	p := s.Pools[name]
	c := master.PoolConfig{Name: name, Policy: p.Policy, Dispatch: p.Dispatch, DispatchLimit: p.DispatchLimit, HookFacts: p.HookFacts, LeaseTime: p.LeaseTime, Grace: p.Grace,
		QueueSize: orNone(p.Queue.Size), QueueWait: p.Queue.Wait, Affinity: balance.Affinity(p.Affinity), Distances: p.Distances,
		Utilization: p.Utilization, Health: s.health(&p.Health, name), Decisions: orNone(p.Decisions),
		Agents: p.Agents, Addresses: p.Addresses, Edges: p.Edges, Tenants: tenantConfigs(p.Tenants), MaxInFlight: p.MaxInFlight, Split: master.Split{Canary: canary(p.Share)},
		Resolve: master.Resolve(p.Resolve), ResolveAtEdge: bool(p.ResolveAt), Resolvers: p.Resolvers}
	if o := p.Overflow; o != nil {
		c.Overflow = balance.Overflow{Pool: o.Pool, Wait: time.Duration(o.When)}
	}
	for _, s := range s.ServersOf(name) {
		spec := s.Spec()
		c.Servers = append(c.Servers, spec)
		for _, word := range s.FromAgent {
			if c.FromAgent == nil {
				c.FromAgent = make(map[balance.ServerID]master.Tells)
			}
			c.FromAgent[spec.ID] |= master.Tells(word)
		}
	}
	return c
}

// canary returns the pool's share; the zero value without one, or if validateShare finds a problem.
func canary(shares map[string]partText) balance.Canary {
	for text, part := range shares {
		list, err := ParseLabels(strings.Split(text, ","))
		if err != nil || len(shares) > 1 {
			break
		}
		return balance.Canary{Labels: labels(list), Part: float64(part)}
	}
	return balance.Canary{}
}

func tenantConfigs(tenants map[string]Tenant) map[string]balance.TenantConfig {
	if len(tenants) == 0 {
		return nil
	}
	configs := make(map[string]balance.TenantConfig, len(tenants))
	for name, t := range tenants {
		configs[name] = balance.TenantConfig(t)
	}
	return configs
}

// orNone is a number as the master takes it, to whom zero is the default.
func orNone(written *int) int {
	switch {
	case written == nil:
		return 0
	case *written == 0:
		return master.None
	case *written < 0:
		return math.MinInt // None is no number that may be written
	}
	return *written
}

// Spec returns the server as its pool takes it; without an id it is called by its address.
func (s Server) Spec() balance.ServerSpec {
	return balance.ServerSpec{ID: balance.ServerID(cmp.Or(s.ID, s.Address)), Address: s.Address, Public: s.Public,
		Slots: s.Slots, Speed: s.Speed, Labels: labels(s.Labels), Location: s.Location, MaxInFlight: s.MaxInFlight, Backup: s.Backup}
}

func labels(m map[string]string) []balance.Label {
	var list []balance.Label
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, balance.Label{Key: k, Value: m[k]})
	}
	return list
}

func (s *Settings) EdgeConfig() edge.Config {
	e := s.Edge
	c := edge.Config{ID: balance.EdgeID(e.ID), ConnectTimeout: e.ConnectTimeout, ResponseTimeout: e.ResponseTimeout, Via: e.Via, MaxHops: e.MaxHops, DrainTime: e.DrainTime,
		TCP: fd.TCPOptions(e.TCP), Connections: e.Connections, Loops: e.Loops, SingleCalls: e.SingleCalls, BufferMemory: int64(e.BufferMemory), Resolvers: e.Resolvers}
	c.Trace = routing.Trace{From: tenants.From(e.Trace.From)}
	if share := e.Trace.Sample; share != nil {
		if c.Trace.Sample = *share; *share == 0 {
			c.Trace.Sample = -1 // none; zero would be all
		}
	}
	k := e.RespondAsync
	c.RespondAsync = edge.RespondAsync{Requests: k.Requests, PerClient: k.PerClient, Memory: int64(k.Memory), Body: int64(k.Body), Answer: int64(k.Answer), Keep: k.Keep,
		Spool: k.Spool, SpoolSize: int64(k.SpoolSize), URL: k.URL, Edges: k.Edges}
	for i, l := range e.Listeners {
		c.Listeners = append(c.Listeners, l.config())
		for j := range l.Routes {
			c.Listeners[i].Routes[j].Where = s.where(fmt.Sprintf("edge.listeners[%d].routes[%d]", i, j), ".pool")
		}
		if s.Files != nil {
			s.Files.apply(i, &l, &c.Listeners[i])
		}
	}
	if c.ID == "" {
		listen := DefaultListen
		if len(e.Listeners) > 0 {
			listen = e.Listeners[0].Listen
		}
		c.ID = balance.EdgeID(strings.Replace(HostAndPort(listen), ":", "-", 1)) // it goes through headers, which take no colon there
	}
	return c
}

func (l Listener) config() routing.Listener {
	c := routing.Listener{Listen: l.Listen, H2C: l.H2C, Mode: routing.Mode(l.Mode), TrustedProxies: prefixes(l.TrustedProxies),
		HalfClosed: routing.HalfClosed(l.HalfClosed), ServerTiming: l.ServerTiming, Paths: routing.Paths(l.Paths), HeaderLimit: int(l.HeaderLimit), HeaderCount: l.HeaderCount,
		HeaderTimeout: l.HeaderTimeout, IdleTimeout: l.IdleTimeout, BodyLimit: int64(l.BodyLimit)}
	c.Allow, c.Deny = prefixes(l.Allow), prefixes(l.Deny)
	m := l.ClientLimits
	c.ClientLimits = routing.ClientLimits{Connections: m.Connections, OpenRequests: m.OpenRequests, RequestsPerSecond: m.Rate, Burst: m.Burst, By: m.By, Exempt: prefixes(m.Exempt)}
	if l.TLS != nil {
		c.TLSPolicy = routing.TLSPolicy(l.TLS.Policy)
	}
	if l.ProxyProtocol != nil {
		c.ProxyTrusted = prefixes(l.ProxyProtocol.Trusted)
	}
	for _, r := range l.Routes {
		c.Routes = append(c.Routes, routing.Route{Host: r.Host, Path: r.Path, Upgrade: r.upgrades(), Pool: r.Pool, Link: balance.Link(r.Link),
			LeaseParam: r.LeaseParam, ServerProtocol: routing.Protocol(r.Servers), Key: r.Key, Tenant: r.Tenant, TenantFrom: tenants.From(r.TenantFrom), Timeout: r.Timeout, Paths: routing.Paths(r.Paths), SendProxy: int(r.SendProxy),
			Facts:        routing.Facts{Size: r.Size, Class: r.Class, Priority: r.Priority, Labels: r.Labels, Location: r.Location, Hold: r.Hold, Deadline: r.Deadline, From: tenants.From(r.FactsFrom)},
			RespondAsync: r.Async, WhileWaiting: r.Waiting, BufferRequest: orUnlimited(r.Buffer), BodyRate: orUnlimited(r.BodyRate)})
	}
	return c
}

// orUnlimited is a size as an edge takes it, to which zero is the default and a negative one is none.
func orUnlimited(written *config.Size) int64 {
	switch {
	case written == nil:
		return 0
	case *written == 0:
		return -1
	}
	return int64(*written)
}

// upgrades returns nil if the file does not say, and an empty list if it says none.
func (r *Route) upgrades() []string {
	if r.Upgrade == nil {
		return nil
	}
	return append([]string{}, *r.Upgrade...)
}

// PoolNames returns the pools that the edge's routes lead to, each once.
func (e *Edge) PoolNames() []string {
	var names []string
	for _, l := range e.Listeners {
		for _, r := range l.Routes {
			names = append(names, r.Pool)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (a *Agent) Spec() balance.ServerSpec {
	return balance.ServerSpec{ID: balance.ServerID(cmp.Or(a.ID, HostAndPort(a.Address))), Address: a.Address, Public: a.Public,
		Slots: a.Slots, Speed: a.Speed, Labels: labels(a.Labels), Location: a.Location}
}

func (s *Settings) AgentConfig() agent.Config {
	a := s.Agent
	c := agent.Config{
		Server:      a.Spec().ID,
		Interval:    a.Interval,
		Host:        a.Sample == nil || *a.Sample,
		Application: agent.Application{Address: a.Address, Cgroup: a.Cgroup, PID: a.PID},
		Prometheus:  agent.Prometheus{URL: a.Prometheus.URL, Interval: a.Prometheus.Interval},
		ORCA:        agent.ORCA{URL: a.ORCA.URL, Interval: a.ORCA.Interval},
	}
	if a.HealthAddress != Off {
		c.Health = agent.Health{Address: cmp.Or(a.HealthAddress, a.Address), Check: s.health(&a.Health, a.firstPool())}
	}
	for _, s := range a.Prometheus.Metrics {
		c.Prometheus.Metrics = append(c.Prometheus.Metrics, agent.Series{Name: s.Name, Selector: s.Selector, Scale: s.Scale})
	}
	return c
}

// HostAndPort names a process of this machine by the port it is known by, so that the
// name outlives a restart; without a port of its own, by its process id.
func HostAndPort(address string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	_, port, err := net.SplitHostPort(address)
	if socket, ok := balance.UnixPath(address); ok {
		port, err = filepath.Base(socket), nil
	}
	if err != nil || port == "" || port == "0" {
		port = "pid" + strconv.Itoa(os.Getpid())
	}
	return host + ":" + port
}

// ParseServer reads a --server flag: http://host[:port][,key=value…]. The pool is empty
// if the flag names none.
func ParseServer(flag string) (pool string, s Server, err error) {
	words := strings.Split(flag, ",")
	s.Address = normalizeServer(words[0])
	if problem := balance.BadAddress(s.Address); problem != "" {
		return "", s, fmt.Errorf("--server %s", problem)
	}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "id":
			s.ID = value
		case "pool":
			pool = value
		case "public":
			s.Public = value
		case "location":
			s.Location = value
		case "slots":
			s.Slots, err = strconv.ParseFloat(value, 64)
		case "speed":
			s.Speed, err = strconv.ParseFloat(value, 64)
		case "max_in_flight":
			if s.MaxInFlight, err = strconv.Atoi(value); err == nil && s.MaxInFlight < 1 {
				return "", s, fmt.Errorf("--server %q: max_in_flight %d, want 1 or more; leave it out for no cap", flag, s.MaxInFlight)
			}
		default:
			return "", s, fmt.Errorf("--server %q: %q is not known: want id, pool, public, slots, speed, max_in_flight or location%s", flag, key,
				suggest.DidYouMean(key, []string{"id", "pool", "public", "slots", "speed", "max_in_flight", "location"},
					map[string]string{"weight": "speed", "name": "id", "maxconn": "slots", "zone": "location"}))
		}
		if err != nil {
			return "", s, fmt.Errorf("--server %q: %s %q, want a number", flag, key, value)
		}
	}
	return pool, s, nil
}

// ParseRoute reads a --route flag: [host][/path]=pool.
func ParseRoute(flag string) (Route, error) {
	where, pool, ok := strings.Cut(flag, "=")
	if !ok || pool == "" {
		return Route{}, fmt.Errorf("--route %q: want host/path=pool, such as www.example/v1=render or /=web", flag)
	}
	host, path, slash := strings.Cut(where, "/")
	if slash {
		path = "/" + path
	}
	return Route{Host: host, Path: path, Pool: pool}, nil
}

// Carries reports whether all labels that are wanted are among those that there are.
func Carries(have, want map[string]string) bool {
	for key, value := range want {
		if v, ok := have[key]; !ok || v != value {
			return false
		}
	}
	return true
}

// ErrLabelTwice is wrapped by the error of ParseLabels for a label that is there twice.
var ErrLabelTwice = errors.New("is there twice, and a server carries one value of each")

// ParseLabels reads --label flags: key=value.
func ParseLabels(flags []string) (map[string]string, error) {
	all := make(map[string]string)
	for _, f := range flags {
		key, value, ok := strings.Cut(f, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("--label %q: want key=value, such as zone=b", f)
		}
		if _, twice := all[key]; twice {
			return nil, fmt.Errorf("--label %q: label %s %w", f, key, ErrLabelTwice)
		}
		all[key] = value
	}
	return all, nil
}
