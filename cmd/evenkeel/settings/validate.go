package settings

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/evenkeel-lb/evenkeel/agent"
	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/config"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/logs"
	"github.com/evenkeel-lb/evenkeel/internal/suggest"
	"github.com/evenkeel-lb/evenkeel/master"
)

// validate lets the rooms judge what the file says to them, each in the file's own words.
func (s *Settings) validate(bad func(path, problem string)) {
	s.normalizeAddresses()
	under := func(path string) func(field, problem string) {
		return func(field, problem string) { bad(path+"."+field, problem) }
	}
	if s.Master != nil {
		mc := s.MasterConfig()
		mc.Pools = nil // judged below, by name
		mc.Validate(under("master"))
		checkAddresses(s.Master.Listen, s.Master.Admin, under("master"))
		if s.Master.Election != nil {
			s.Master.Election.validate(under("master.election"))
		}
		s.Master.TLS.Validate(under("master"))
		s.Master.Enrol.validate(s.Master.TLS, under("master"))
		s.Master.AdminAccess.Validate(under("master"))
	}
	s.readHealthFiles(bad)
	if s.Edge != nil {
		s.Files = s.Edge.readFiles(under("edge"))
		ec := s.EdgeConfig()
		ec.Validate(under("edge"))
		s.Edge.Trace.validate(under("edge.trace"))
		if problem := BadAccessLog(s.Edge.AccessLog); problem != "" {
			bad("edge.access_log", problem)
		}
		checkAddresses("", s.Edge.Admin, under("edge"))
		checkMasterAddresses(s.Edge.Masters, under("edge"))
		s.Edge.TLS.Validate(under("edge"))
		s.Edge.AdminAccess.Validate(under("edge"))
		s.validateRoutePools(bad)
		for i, l := range s.Edge.Listeners {
			l.validate(under(fmt.Sprintf("edge.listeners[%d]", i)))
		}
	}
	s.validateServers(bad)
	s.validateShared(bad)
	for _, name := range s.PoolNames() { // after the edge, whose routes say how servers are checked
		pool, bad := s.PoolConfig(name), under(config.Field("pools", name))
		pool.Validate(func(field, problem string) {
			if field == "policy" {
				problem += suggest.DidYouMean(pool.Policy, Policies(), policyAliases)
			}
			bad(field, problem)
		})
		s.validatePoolServers(name, bad)
		s.Pools[name].validateShare(bad)
		s.validateOverflow(name, bad)
	}
	if s.Agent != nil {
		s.Agent.validate(s.AgentConfig(), under("agent"))
	}
	s.validateConflicts(bad)
}

// BadAccessLog says what is wrong with how the access log is to be written; empty: nothing.
func BadAccessLog(text string) string {
	if slices.Contains(accessLogs, text) {
		return ""
	}
	if _, err := logs.ParseAccessFormat(text); err != nil {
		if unknown, is := errors.AsType[*logs.UnknownField](err); is {
			return fmt.Sprintf("%q: %v%s", text, err, suggest.DidYouMean(unknown.Name, logs.TemplateFields(), nil))
		}
		return fmt.Sprintf("%q: %v: want on, off, json, common, combined, or a template such as '{client} {method} {path} {status}'", text, err)
	}
	return ""
}

// accessLogs are the ways to write the access log that are no formats of text; empty: the default.
var accessLogs = []string{"", "on", "off", "json"}

// validate finds what the edge does not see, to which a share of zero is the default.
func (t *Trace) validate(bad func(field, problem string)) {
	if t.Sample != nil && *t.Sample < 0 {
		bad("sample", fmt.Sprintf("%v, want a share from 0 to 1", *t.Sample))
	}
	if t.Sample != nil && t.From == 0 {
		bad("from", "empty, want any or trusted: whose traces are continued. Without it the edge leaves traceparent and tracestate as they are")
	}
}

// policyAliases are other programs' names for what ours do.
var policyAliases = map[string]string{"leastconn": "least-load", "leastconnections": "least-load", "leastrequest": "least-load", "least": "least-load",
	"roundrobin": "round-robin", "rr": "round-robin", "wrr": "round-robin", "p2c": "two-choices", "poweroftwo": "two-choices", "randomtwo": "two-choices",
	"hash": "consistent-hash", "ringhash": "consistent-hash", "maglev": "consistent-hash", "sticky": "sessions", "session": "sessions"}

// validatePoolServers finds servers of a pool at one address, which would be counted twice.
func (s *Settings) validatePoolServers(pool string, bad func(field, problem string)) {
	first := make(map[string]int)
	for i, server := range s.Pools[pool].Servers {
		s.validateFurtherPools(pool, i, bad)
		j, twice := first[server.Address]
		if twice && server.Address != "" {
			bad(fmt.Sprintf("servers[%d].address", i), fmt.Sprintf("%q is also the address of servers[%d]: one server is listed once, with slots and speed for what it can do", server.Address, j))
		}
		if !twice {
			first[server.Address] = i
		}
		if balance.IsUnix(server.Address) {
			s.validateUnixServer(pool, fmt.Sprintf("servers[%d].address", i), bad)
		}
	}
}

// validateOverflow finds what is wrong with where requests go that would wait too long.
func (s *Settings) validateOverflow(name string, bad func(field, problem string)) {
	if s.Pools[name].Overflow == nil {
		return
	}
	if s.Pools[name].Overflow.Pool == "" {
		bad("overflow.pool", "empty, want the pool that takes the requests")
		return
	}
	problem := master.OverflowProblem(name, func(pool string) (to string, known bool) {
		p, known := s.Pools[pool]
		if p.Overflow != nil {
			to = p.Overflow.Pool
		}
		return to, known
	})
	if _, known := s.Pools[s.Pools[name].Overflow.Pool]; !known {
		problem += suggest.DidYouMean(s.Pools[name].Overflow.Pool, s.PoolNames(), nil)
	}
	if problem != "" {
		bad("overflow.pool", problem)
	}
}

// validateShare finds what is wrong with the labels of the pool's share.
func (p Pool) validateShare(bad func(field, problem string)) {
	if len(p.Share) > 1 {
		bad("share", fmt.Sprintf("%d of them, want one: a pool has one canary", len(p.Share)))
	}
	for text := range p.Share {
		switch _, err := ParseLabels(strings.Split(text, ",")); {
		case errors.Is(err, ErrLabelTwice):
			bad("share", fmt.Sprintf("%q: a label %v", text, ErrLabelTwice))
			return
		case err != nil:
			bad("share", fmt.Sprintf("%q, want the labels of the servers that get the share, such as version=2, or version=2,track=canary", text))
			return
		}
	}
}

// validateUnixServer finds what cannot be done with a server that is a unix socket.
func (s *Settings) validateUnixServer(pool, field string, bad func(field, problem string)) {
	if s.Edge == nil {
		return
	}
	for _, l := range s.Edge.Listeners {
		for _, r := range l.Routes {
			if r.Pool == pool && r.ServerTLS != nil && r.ServerTLS.ServerName == "" {
				bad(field, "a unix socket has no name that its certificate could have: write server_name in the server_tls of the routes to the pool")
				return
			}
		}
	}
}

// maxHeaderLimit is far more than any head needs: typing errors end above it.
const maxHeaderLimit = 16 << 20

// validate judges what the edge never sees because it was not made of it.
func (l *Listener) validate(bad func(field, problem string)) {
	if l.ProxyProtocol != nil && len(l.ProxyProtocol.Trusted) == 0 {
		bad("proxy_protocol", "no trusted networks, want those from which connections with a PROXY header come")
	}
	if l.HeaderLimit > maxHeaderLimit {
		bad("header_limit", fmt.Sprintf("%d bytes, want at most 16MiB: every connection may use as much memory", int64(l.HeaderLimit)))
	}
	if routing.Mode(l.Mode) != routing.ModeTCP {
		return
	}
	if l.TLS != nil {
		bad("tls", "a listener with mode tcp ends no TLS: it carries it to servers as it is")
	}
	for j, r := range l.Routes {
		if r.ServerTLS != nil {
			bad(fmt.Sprintf("routes[%d].server_tls", j), "a listener with mode tcp carries bytes as they are")
		}
	}
}

// validateServers finds servers that are one of the file's own components.
func (s *Settings) validateServers(bad func(path, problem string)) {
	own := make(map[string]string)
	for key, at := range s.insideAddresses() {
		if at != "" && at != Off {
			own[at] = key
		}
	}
	for _, name := range s.PoolNames() {
		for i, server := range s.Pools[name].Servers {
			_, at := balance.SplitAddress(server.Address)
			if key := own[at]; key != "" {
				bad(fmt.Sprintf("%s.servers[%d].address", config.Field("pools", name), i), fmt.Sprintf("%s is %s, where clients must not get", at, key))
			}
		}
	}
}

// insideAddresses returns where the file's components listen for each other and for operators, by key.
func (s *Settings) insideAddresses() map[string]string {
	all := make(map[string]string)
	if s.Master != nil {
		all["master.listen"], all["master.admin"] = s.Master.Listen, s.Master.Admin
	}
	if s.Edge != nil {
		all["edge.admin"] = s.Edge.Admin
	}
	if s.Agent != nil {
		all["agent.admin"] = s.Agent.Admin
	}
	return all
}

// validateRoutePools finds routes to pools that the same file, which lists pools, does not.
func (s *Settings) validateRoutePools(bad func(path, problem string)) {
	if len(s.Pools) == 0 || s.Master != nil && s.Master.OpenPools {
		return
	}
	s.ValidateRoutesTo(s.PoolNames(), "the file", bad)
}

// ValidateRoutesTo finds routes to other pools than these, which whose has.
func (s *Settings) ValidateRoutesTo(pools []string, whose string, bad func(path, problem string)) {
	if s.Edge == nil {
		return
	}
	for i, l := range s.Edge.Listeners {
		for j, r := range l.Routes {
			if !slices.Contains(pools, r.Pool) && r.Pool != "" {
				bad(fmt.Sprintf("edge.listeners[%d].routes[%d].pool", i, j),
					fmt.Sprintf("%q is none of %s's pools: %s%s", r.Pool, whose, strings.Join(pools, ", "), suggest.DidYouMean(r.Pool, pools, nil)))
			}
		}
	}
}

func (a *Agent) validate(ac agent.Config, bad func(field, problem string)) {
	names := a.JoinedPools()
	if len(names) == 0 {
		bad("pool", "empty, want the name of the pool that the server joins")
	}
	if len(names) > 1 && a.Enrols() {
		bad("pools", fmt.Sprintf("%d pools, but a certificate by a token is for one: use one that evenkeel certs issue has made, with --pool for each", len(names)))
	}
	for i, name := range a.Pools {
		if problem := balance.BadName(name); problem != "" {
			bad(config.Item("pools", i), problem)
		}
	}
	spec := a.Spec()
	spec.Validate(bad)
	ac.Validate(func(field, problem string) {
		if field != "server" { // the spec has said it
			bad(field, problem)
		}
	})
	if where := a.HealthAddress; where != "" && where != Off {
		if problem := balance.BadAddress(where); problem != "" {
			bad("health_address", problem+", or off")
		}
	}
	if _, err := agent.NewHook(a.Hook); err != nil {
		bad("hook", strings.TrimPrefix(err.Error(), "dispatch hook: "))
	}
	if _, err := agent.NewEnds(a.EndHook); err != nil {
		bad("end_hook", strings.TrimPrefix(err.Error(), "end hook: "))
	}
	checkAddresses("", a.Admin, bad)
	checkMasterAddresses(a.Masters, bad)
	switch {
	case !a.Enrols():
		a.TLS.Validate(bad)
	case a.TLS.Cert != "" || a.TLS.Key != "" || a.TLS.CA != "":
		bad("tls", "beside token_file or certs, where denied alone can stand: a certificate by a token is kept in the folder certs")
	}
	a.AdminAccess.Validate(bad)
}

func checkMasterAddresses(masters []string, bad func(field, problem string)) {
	for i, m := range masters {
		if problem := checkMasterAddress(m); problem != "" {
			bad(config.Item("masters", i), problem)
		}
	}
}

// checkMasterAddress returns what is wrong with an address at which a master is reached.
func checkMasterAddress(address string) string {
	if strings.HasPrefix(address, "unix:") {
		return balance.BadListen(address)
	}
	if strings.HasPrefix(address, "https://") {
		return fmt.Sprintf("%q: masters do not speak HTTP; TLS to them is by tls: { cert, key, ca }", address)
	}
	return balance.BadAddress(address)
}

func checkAddresses(listen, admin string, bad func(field, problem string)) {
	if problem := balance.BadListen(listen); listen != "" && problem != "" {
		bad("listen", problem)
	}
	if problem := balance.BadListen(admin); admin != "" && admin != Off && problem != "" {
		bad("admin", problem+", or off")
	}
}
