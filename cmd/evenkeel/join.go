package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/evenkeel-lb/evenkeel/agent"
	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/config"
	"github.com/evenkeel-lb/evenkeel/edge"
	"github.com/evenkeel-lb/evenkeel/master"
)

// linkWord is a balance.Link in a file.
type linkWord balance.Link

func (l *linkWord) UnmarshalText(text []byte) error {
	for _, link := range []balance.Link{balance.LinkRoute, balance.LinkRedirect} {
		if link.String() == string(text) {
			*l = linkWord(link)
			return nil
		}
	}
	return fmt.Errorf("want %s or %s", balance.LinkRoute, balance.LinkRedirect)
}

// modeWord is an edge.Mode in a file.
type modeWord edge.Mode

func (m *modeWord) UnmarshalText(text []byte) error {
	for _, mode := range []edge.Mode{edge.ModeHTTP, edge.ModeTCP} {
		if mode.String() == string(text) {
			*m = modeWord(mode)
			return nil
		}
	}
	return fmt.Errorf("want %s or %s", edge.ModeHTTP, edge.ModeTCP)
}

// proxyWord is a version of the PROXY protocol in a file.
type proxyWord int

func (p *proxyWord) UnmarshalText(text []byte) error {
	switch string(text) {
	case "v1":
		*p = 1
	case "v2":
		*p = 2
	default:
		return errors.New("want v1 or v2")
	}
	return nil
}

// prefixes are a list of them as the rooms take it.
func prefixes(words []prefixWord) (list []netip.Prefix) {
	for _, p := range words {
		list = append(list, netip.Prefix(p))
	}
	return list
}

// protocolWord is an edge.Protocol in a file.
type protocolWord edge.Protocol

func (p *protocolWord) UnmarshalText(text []byte) error {
	for _, protocol := range []edge.Protocol{edge.HTTP1, edge.HTTP2} {
		if protocol.String() == string(text) {
			*p = protocolWord(protocol)
			return nil
		}
	}
	return fmt.Errorf("want %s or %s", edge.HTTP1, edge.HTTP2)
}

// prefixWord is a netip.Prefix in a file, where a single address is one too.
type prefixWord netip.Prefix

func (p *prefixWord) UnmarshalText(text []byte) error {
	prefix, err := netip.ParsePrefix(string(text))
	if one, bad := netip.ParseAddr(string(text)); bad == nil {
		prefix, err = one.Prefix(one.BitLen())
	}
	if err != nil {
		return errors.New("want an address or a prefix, such as 10.0.0.1 or 10.0.0.0/8")
	}
	*p = prefixWord(prefix)
	return nil
}

// validate lets the rooms judge what the file says to them, each in the file's own words.
func (s *settings) validate(bad func(path, problem string)) {
	under := func(path string) func(field, problem string) {
		return func(field, problem string) { bad(path+"."+field, problem) }
	}
	if s.Master != nil {
		mc := s.masterConfig()
		mc.Pools = nil // judged below, by name
		mc.Validate(under("master"))
		badAddresses(s.Master.Listen, s.Master.Admin, under("master"))
		if s.Master.Election != nil {
			s.Master.Election.validate(under("master.election"))
		}
		s.Master.TLS.validate(under("master"))
	}
	for _, name := range s.poolNames() {
		pool := s.Pools[name].config(name)
		pool.Validate(under(config.Field("pools", name)))
	}
	if s.Edge != nil {
		s.keys = s.Edge.readKeys(under("edge"))
		ec := s.edgeConfig()
		ec.Validate(under("edge"))
		badAddresses("", s.Edge.Admin, under("edge"))
		badMasters(s.Edge.Masters, under("edge"))
		s.Edge.TLS.validate(under("edge"))
		s.strayRoutes(bad)
		for i, l := range s.Edge.Listeners {
			l.validate(under(fmt.Sprintf("edge.listeners[%d]", i)))
		}
	}
	if s.Agent != nil {
		s.Agent.validate(under("agent"))
	}
}

// validate judges what the edge never sees because it was not made of it.
func (l *listenerPart) validate(bad func(field, problem string)) {
	if l.ProxyProtocol != nil && len(l.ProxyProtocol.Trusted) == 0 {
		bad("proxy_protocol", "no trusted networks, want those from which connections with a PROXY header come")
	}
	if edge.Mode(l.Mode) != edge.ModeTCP {
		return
	}
	if l.TLS != nil {
		bad("tls", "a listener with mode tcp ends no TLS: it carries it to servers as it is")
	}
	for j, r := range l.Routes {
		if r.ServerTLS != nil {
			bad(fmt.Sprintf("routes[%d].server_tls", j), "a listener with mode tcp carries octets as they are")
		}
	}
}

// strayRoutes finds routes to pools that the same file, which lists pools, does not.
func (s *settings) strayRoutes(bad func(path, problem string)) {
	if len(s.Pools) == 0 || s.Master != nil && s.Master.OpenPools {
		return
	}
	for i, l := range s.Edge.Listeners {
		for j, r := range l.Routes {
			if _, ok := s.Pools[r.Pool]; !ok && r.Pool != "" {
				bad(fmt.Sprintf("edge.listeners[%d].routes[%d].pool", i, j),
					fmt.Sprintf("%q is none of the file's pools: %s", r.Pool, strings.Join(s.poolNames(), ", ")))
			}
		}
	}
}

func (a *agentPart) validate(bad func(field, problem string)) {
	if a.Pool == "" {
		bad("pool", "empty, want the name of the pool that the server joins")
	}
	spec := a.spec()
	spec.Validate(bad)
	ac := a.config()
	ac.Validate(func(field, problem string) {
		if field != "server" { // the spec has said it
			bad(field, problem)
		}
	})
	if _, err := agent.NewHook(a.Hook); err != nil {
		bad("hook", err.Error())
	}
	badAddresses("", a.Admin, bad)
	badMasters(a.Masters, bad)
	a.TLS.validate(bad)
}

func badMasters(masters []string, bad func(field, problem string)) {
	for i, m := range masters {
		if problem := badListen(m); problem != "" {
			bad(config.Item("masters", i), problem)
		}
	}
}

func badAddresses(listen, admin string, bad func(field, problem string)) {
	if problem := badListen(listen); listen != "" && problem != "" {
		bad("listen", problem)
	}
	if problem := badListen(admin); admin != "" && admin != off && problem != "" {
		bad("admin", problem+", or off")
	}
}

func badListen(address string) string {
	if path, ok := strings.CutPrefix(address, "unix:"); ok && path != "" {
		return ""
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Sprintf("%q, want host:port or unix:/path", address)
	}
	return ""
}

func (s *settings) poolNames() []string { return slices.Sorted(maps.Keys(s.Pools)) }

// masterConfig joins the parts that a master reads; it has the pools even without a master part.
func (s *settings) masterConfig() master.Config {
	c := master.Config{Version: version()}
	if s.Master != nil {
		c.ID, c.OpenPools, c.Elected = s.Master.ID, s.Master.OpenPools, s.Master.Election != nil
	}
	for _, name := range s.poolNames() {
		c.Pools = append(c.Pools, s.Pools[name].config(name))
	}
	return c
}

func (p poolPart) config(name string) master.PoolConfig {
	c := master.PoolConfig{Name: name, Policy: p.Policy, Dispatch: p.Dispatch, DispatchLimit: p.DispatchLimit, LeaseTime: p.LeaseTime, Grace: p.Grace,
		QueueSize: count(p.Queue.Size), QueueWait: p.Queue.Wait, Affinity: balance.Affinity(p.Affinity), Distances: p.Distances,
		Utilization: p.Utilization, Health: master.HealthCheck(p.Health), Decisions: count(p.Decisions)}
	for _, s := range p.Servers {
		c.Servers = append(c.Servers, s.spec())
	}
	return c
}

// count is a number as the master takes it, to whom zero is the default.
func count(written *int) int {
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

// spec returns the server as its pool takes it; without an id it is called by its address.
func (s serverPart) spec() balance.ServerSpec {
	return balance.ServerSpec{ID: balance.ServerID(cmp.Or(s.ID, s.Address)), Address: s.Address, Public: s.Public,
		Slots: s.Slots, Speed: s.Speed, Labels: labels(s.Labels), Location: s.Location}
}

func labels(m map[string]string) []balance.Label {
	var list []balance.Label
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, balance.Label{Key: k, Value: m[k]})
	}
	return list
}

func (s *settings) edgeConfig() edge.Config {
	e := s.Edge
	c := edge.Config{ID: balance.EdgeID(e.ID), ConnectTimeout: e.ConnectTimeout, ResponseTimeout: e.ResponseTimeout, DrainTime: e.DrainTime,
		Engine: edge.Engine(e.Engine), Loops: e.Loops, SingleCalls: e.SingleCalls}
	for i, l := range e.Listeners {
		c.Listeners = append(c.Listeners, l.config())
		if s.keys != nil {
			s.keys.fit(i, &l, &c.Listeners[i])
		}
	}
	if c.ID == "" {
		listen := defaultListen
		if len(e.Listeners) > 0 {
			listen = e.Listeners[0].Listen
		}
		c.ID = balance.EdgeID(strings.Replace(thisHost(listen), ":", "-", 1)) // it goes through headers, which take no colon there
	}
	return c
}

func (l listenerPart) config() edge.Listener {
	c := edge.Listener{Listen: l.Listen, H2C: l.H2C, Mode: edge.Mode(l.Mode), TrustedProxies: prefixes(l.TrustedProxies),
		ServerTiming: l.ServerTiming, HeaderLimit: int(l.HeaderLimit), HeaderCount: l.HeaderCount,
		HeaderTimeout: l.HeaderTimeout, IdleTimeout: l.IdleTimeout, BodyLimit: int64(l.BodyLimit)}
	if l.ProxyProtocol != nil {
		c.ProxyTrusted = prefixes(l.ProxyProtocol.Trusted)
	}
	for _, r := range l.Routes {
		c.Routes = append(c.Routes, edge.Route{Host: r.Host, Path: r.Path, Pool: r.Pool, Link: balance.Link(r.Link),
			LeaseParam: r.LeaseParam, ServerProtocol: edge.Protocol(r.Servers), Key: r.Key, Tenant: r.Tenant, Timeout: r.Timeout, SendProxy: int(r.SendProxy)})
	}
	return c
}

// pools returns the pools that the edge's routes lead to, each once.
func (e *edgePart) pools() []string {
	var names []string
	for _, l := range e.Listeners {
		for _, r := range l.Routes {
			names = append(names, r.Pool)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (a *agentPart) spec() balance.ServerSpec {
	return balance.ServerSpec{ID: balance.ServerID(cmp.Or(a.ID, thisHost(a.Address))), Address: a.Address, Public: a.Public,
		Slots: a.Slots, Speed: a.Speed, Labels: labels(a.Labels), Location: a.Location}
}

func (a *agentPart) config() agent.Config {
	c := agent.Config{
		Server:     a.spec().ID,
		Interval:   a.Interval,
		Host:       a.Sample == nil || *a.Sample,
		Prometheus: agent.Prometheus{URL: a.Prometheus.URL, Interval: a.Prometheus.Interval},
		ORCA:       agent.ORCA{URL: a.ORCA.URL, Interval: a.ORCA.Interval},
	}
	for _, s := range a.Prometheus.Metrics {
		c.Prometheus.Metrics = append(c.Prometheus.Metrics, agent.Series{Name: s.Name, Selector: s.Selector, Scale: s.Scale})
	}
	return c
}

// thisHost names a process of this machine by the port it is known by, so that the
// name outlives a restart; without a port of its own, by its process id.
func thisHost(address string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil || port == "" || port == "0" {
		port = "pid" + strconv.Itoa(os.Getpid())
	}
	return host + ":" + port
}

// parseServer reads a --server flag: http://host[:port][,key=value…]. The pool is empty
// if the flag names none.
func parseServer(flag string) (pool string, s serverPart, err error) {
	words := strings.Split(flag, ",")
	u, err := url.Parse(words[0])
	switch {
	case err != nil || u.Scheme == "" || u.Host == "":
		return "", s, fmt.Errorf("--server %q: want http://host:port", flag)
	case u.Scheme != "http" && u.Scheme != "https":
		return "", s, fmt.Errorf("--server %q: scheme %q, want http://host:port", flag, u.Scheme)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil || u.Fragment != "":
		return "", s, fmt.Errorf("--server %q: a server is http://host:port and nothing behind it; paths are kept as clients ask for them", flag)
	}
	if s.Address = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80")); u.Scheme == "https" {
		s.Address = "https://" + net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443"))
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
		default:
			return "", s, fmt.Errorf("--server %q: %q is not known: want id, pool, public, slots, speed or location", flag, key)
		}
		if err != nil {
			return "", s, fmt.Errorf("--server %q: %s %q, want a number", flag, key, value)
		}
	}
	return pool, s, nil
}

// parseRoute reads a --route flag: [host][/path]=pool.
func parseRoute(flag string) (routePart, error) {
	where, pool, ok := strings.Cut(flag, "=")
	if !ok || pool == "" {
		return routePart{}, fmt.Errorf("--route %q: want host/path=pool, such as www.example/v1=render or /=web", flag)
	}
	host, path, slash := strings.Cut(where, "/")
	if slash {
		path = "/" + path
	}
	return routePart{Host: host, Path: path, Pool: pool}, nil
}

// parseLabels reads --label flags: key=value.
func parseLabels(flags []string) (map[string]string, error) {
	all := make(map[string]string)
	for _, f := range flags {
		key, value, ok := strings.Cut(f, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("--label %q: want key=value, such as zone=b", f)
		}
		all[key] = value
	}
	return all, nil
}
