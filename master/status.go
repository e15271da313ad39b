package master

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// statusBody is the overview for an operator: one line for each pool, server and peer.
type statusBody struct {
	Master   statusMaster `json:"master"`
	Problems []string     `json:"problems"`
	Pools    []statusPool `json:"pools"`
	Edges    []statusPeer `json:"edges"`
	Agents   []statusPeer `json:"agents"`
}

type statusMaster struct {
	ID      string  `json:"id"`
	Version string  `json:"version,omitempty"`
	UpS     float64 `json:"up_s"`
}

type statusPool struct {
	Name    string         `json:"name"`
	Policy  string         `json:"policy"`
	Leading bool           `json:"leading"`
	Fence   uint64         `json:"fence,omitempty"`            // of this master's lead; 0: it does not lead, or there is no election
	Refused uint64         `json:"fence_refused_by,omitempty"` // the larger fence for which edges and agents refuse that; 0: they do not
	Leader  string         `json:"leader,omitempty"`           // address of the other master that leads, if it is known
	Removed bool           `json:"removed"`
	Open    int            `json:"leases_open"`
	Waiting int            `json:"queue_length"`
	LocalMS float64        `json:"local_choice_trip_ms,omitempty"` // from which edges choose servers by themselves; 0: they ask
	UpCount int            `json:"servers_up"`
	Lately  lastMinute     `json:"last_minute"`
	Canary  *canaryBody    `json:"canary,omitempty"`
	Servers []statusServer `json:"servers"`
}

type statusServer struct {
	ID        string         `json:"id"`
	State     string         `json:"state"`
	SinceS    float64        `json:"since_s"`       // ago: the first of Outages began or, without any, the server became healthy
	Why       string         `json:"why,omitempty"` // it gets no requests, or fewer
	Outages   []outage       `json:"outages,omitempty"`
	Overrides []overrideBody `json:"overrides,omitempty"` // what operators have set
	Address   string         `json:"address"`
	At        string         `json:"at,omitempty"`        // what the address resolves to, if it is a name
	Several   []string       `json:"addresses,omitempty"` // all addresses of the name, if it has several
	InFlight  int            `json:"in_flight"`
	Load      float64        `json:"load"`
	Slots     float64        `json:"slots"`
	Known     bool           `json:"slots_known"`
	Rate      float64        `json:"requests_per_s"`
	Failures  float64        `json:"failures"` // share of the requests that ended, 0 to 1
	P50MS     *float64       `json:"p50_ms"`   // null: no recent answer
	P99MS     *float64       `json:"p99_ms"`
	ReportMS  *float64       `json:"report_age_ms"` // of the newest; null: there is none
	AgentHere bool           `json:"agent"`
	elsewhereBody
}

// statusPeer is a connected edge or agent.
type statusPeer struct {
	ID         string  `json:"id"`
	Pool       string  `json:"pool,omitempty"` // of an agent
	Version    string  `json:"version,omitempty"`
	Address    string  `json:"address"`
	ConnectedS float64 `json:"connected_s"`
	Local      bool    `json:"local_choices,omitempty"` // of an edge: it has chosen servers by itself a moment ago
}

func (m *Master) getStatus(w http.ResponseWriter, _ *http.Request) *document {
	now := clock.Now()
	body := statusBody{
		Master: statusMaster{ID: m.id, Version: m.version, UpS: now.Sub(m.started).Seconds()},
		Pools:  make([]statusPool, 0), Edges: make([]statusPeer, 0), Agents: make([]statusPeer, 0),
	}
	for _, p := range m.pools.Load().list {
		about, views := p.describe()
		pool := statusPool{Name: about.Name, Policy: about.Policy, Leading: about.Leading, Fence: about.Fence, Refused: about.Refused, Leader: about.Leader, Removed: about.Removed,
			Open: about.Open, Waiting: about.Waiting, UpCount: about.Up, Canary: about.Canary, Servers: make([]statusServer, len(views))}
		overrides := p.overridesInForce()
		pool.Lately, pool.LocalMS = p.lastMinute(now), toMS(p.choiceTrip())
		for i := range views {
			pool.Servers[i] = newStatusServer(&views[i], m.peers.agentOf(p.name, views[i].Spec.ID) != nil)
			pool.Servers[i].Overrides = overrides[views[i].Spec.ID]
		}
		body.Pools = append(body.Pools, pool)
	}
	body.Problems = body.problems()
	if why := m.reloadFailed(); why != "" {
		body.Problems = slices.Insert(body.Problems, 0, reloadProblem(why))
	}
	body.Edges, body.Agents = m.peers.appendStatus(now, body.Edges, body.Agents)
	return write(w, body)
}

// allOut reports whether no server gets requests, but for one now and then that tries it.
func (p *statusPool) allOut() bool {
	return !slices.ContainsFunc(p.Servers, func(s statusServer) bool { return len(s.Outages) == 0 || !s.Outages[0].out })
}

// reasons says how many servers are out for which reason, such as "1 draining, 2 unreachable".
func (p *statusPool) reasons() string {
	counts := make(map[string]int)
	for _, s := range p.Servers {
		if len(s.Outages) > 0 {
			counts[s.Outages[0].Reason]++
		}
	}
	var all []string
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, fmt.Sprintf("%d %s", counts[reason], reason))
	}
	return strings.Join(all, ", ")
}

func reloadProblem(why string) string {
	return "the last reload failed, and the settings of before stay: " + why
}

// problems returns what is wrong, pools before servers.
func (b *statusBody) problems() []string {
	pools, servers := []string{}, []string{}
	for i := range b.Pools {
		p := &b.Pools[i]
		if p.Removed {
			continue
		}
		pools = append(pools, p.problems()...)
		for _, s := range p.Servers {
			for _, o := range s.Outages {
				if o.trouble {
					servers = append(servers, fmt.Sprintf("server %s of pool %s: %s", s.ID, p.Name, o.words))
					break // its why has the others
				}
			}
		}
	}
	return append(pools, servers...)
}

// problems returns what is wrong with the pool as a whole.
func (p *statusPool) problems() (pools []string) {
	switch {
	case p.Removed:
		return nil
	case p.Refused != 0:
		pools = append(pools, fmt.Sprintf("edges and agents refuse this master's lead of pool %s, with fence %d, for they have seen %d: the election's store has lost data. Make sure that no master runs with the former store, then: evenkeel election raise", p.Name, p.Fence, p.Refused))
	case !p.Leading && p.Leader == "":
		pools = append(pools, fmt.Sprintf("pool %s is led by no master that this one knows of", p.Name))
	case len(p.Servers) == 0:
		pools = append(pools, fmt.Sprintf("pool %s has no servers", p.Name))
	case p.UpCount == 0 || p.allOut():
		pools = append(pools, fmt.Sprintf("pool %s has no server that is up: %s", p.Name, p.reasons()))
	}
	for _, problem := range []string{p.Lately.problem(p.Name), p.Canary.problem(p.Name)} {
		if problem != "" {
			pools = append(pools, problem)
		}
	}
	return pools
}

func newStatusServer(v *balance.View, agent bool) statusServer {
	s := statusServer{ID: string(v.Spec.ID), State: v.State.String(), SinceS: v.Since.Seconds(), Why: balance.OutageWords(v.Outages), Outages: newOutages(v.Outages), Address: v.Spec.Address, At: v.Location.At, Several: v.Location.All, InFlight: v.Leases, Load: v.Load, Slots: v.Slots, Known: v.Known,
		Rate: v.Traffic.Rate, Failures: v.Traffic.Failures, AgentHere: agent, elsewhereBody: elsewhereBody{v.Pools, v.Elsewhere}}
	if v.Traffic.Measured {
		p50, p99 := toMS(v.Traffic.P50), toMS(v.Traffic.P99)
		s.P50MS, s.P99MS = &p50, &p99
	}
	for _, metric := range v.Metrics {
		if age := toMS(metric.Age); s.ReportMS == nil || age < *s.ReportMS {
			s.ReportMS = &age
		}
	}
	return s
}

// appendStatus appends the connected peers, by id.
func (p *peers) appendStatus(now balance.Instant, edges, agents []statusPeer) (_, _ []statusPeer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, e := range p.edges {
		status := e.conn.peerStatus(now, string(id), "")
		status.Local = now.Sub(balance.Instant(e.choseAt.Load())) < choosesFor
		edges = append(edges, status)
	}
	for key, a := range p.agents {
		agents = append(agents, a.conn.peerStatus(now, string(key.server), key.pool))
	}
	for _, list := range [][]statusPeer{edges, agents} {
		slices.SortFunc(list, func(a, b statusPeer) int { return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.ID, b.ID)) })
	}
	return edges, agents
}

// choosesFor is how long after a local choice an edge is said to make them.
const choosesFor = 5 * time.Second

// choiceTrip returns the trip from which edges choose servers of the pool by themselves; zero: they ask.
func (p *pool) choiceTrip() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.core.LocalFrom()
}

func (c *conn) peerStatus(now balance.Instant, id, pool string) statusPeer {
	return statusPeer{ID: id, Pool: pool, Version: c.software, Address: c.remote, ConnectedS: now.Sub(c.accepted).Seconds()}
}
