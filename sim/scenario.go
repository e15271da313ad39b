package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Scenario says what is simulated. Its zero fields mean what the comments say.
type Scenario struct {
	Name      string        `yaml:"name"`     // short, such as B1-4
	About     string        `yaml:"about"`    // one line, for people
	Requests  int           `yaml:"requests"` // a run; zero: 400,000
	Servers   Servers       `yaml:"servers"`
	Load      float64       `yaml:"load"` // offered work over what all servers can do, antagonists reckoned in; zero: the tenants' loads together
	Work      Work          `yaml:"work"`
	Size      Size          `yaml:"size"`     // that requests tell
	Classes   []Class       `yaml:"classes"`  // of requests; none: they tell no class
	Edges     int           `yaml:"edges"`    // zero: 4
	Spread    string        `yaml:"spread"`   // requests over edges: random (default) or round-robin
	Ask       time.Duration `yaml:"ask"`      // round trip edge–master
	Link      time.Duration `yaml:"link"`     // round trip edge–server
	DoneAge   time.Duration `yaml:"done_age"` // longest that a done waits for an ask to ride on; zero: sent at once
	Reports   Reports       `yaml:"reports"`
	Checks    Checks        `yaml:"checks"`
	Arrivals  Arrivals      `yaml:"arrivals"`
	Churn     Churn         `yaml:"churn"`
	Cold      Cold          `yaml:"cold"`
	Lies      Lies          `yaml:"lies"`
	Declared  float64       `yaml:"declared"`    // what is declared of slots, over the truth; zero: 1
	AskUntold bool          `yaml:"product_rtt"` // the pool is not told how far its edges are
	Direct    Direct        `yaml:"direct"`      // traffic that passes no edge of ours
	Slowdown  Slowdown      `yaml:"slowdown"`    // antagonists on the servers' machines
	Drag      []Drag        `yaml:"drag"`        // servers that slow down at set times
	Queue     Queue         `yaml:"queue"`       // of the master
	Faults    []Fault       `yaml:"faults"`
	Tenants   []Tenant      `yaml:"tenants"`
	Pools     string        `yaml:"pools"`    // one (default) for all tenants; shared: one for each, over the same servers; blind: the same, and each counts its own requests alone
	Deadline  time.Duration `yaml:"deadline"` // an answer after it is worthless; zero: none
	Affinity  Affinity      `yaml:"affinity"`
	Blind     bool          `yaml:"blind"`  // no policy is told slots or speeds
	Warmup    float64       `yaml:"warmup"` // share of the requests that do not count; zero: a tenth, negative: none
	Goals     []Goal        `yaml:"goals"`

	untold bool // requests tell no class
}

// Servers is the fleet. Its kinds are interleaved: of every Σ Of servers, each kind
// has its Of, spread out as server i takes place 7i modulo Σ Of.
type Servers struct {
	Count      int    `yaml:"count"`
	Discipline string `yaml:"discipline"` // ps (default): processor sharing; fcfs: first come, first served
	Kinds      []Kind `yaml:"kinds"`
	Quota      Quota  `yaml:"quota"`
}

// Kind is one sort of server.
type Kind struct {
	Of    int     `yaml:"of"` // zero: 1
	Slots int     `yaml:"slots"`
	Speed float64 `yaml:"speed"` // zero: 1
	Limit int     `yaml:"limit"` // requests present beyond which it answers 503 at once; zero: none
	Batch float64 `yaml:"batch"` // n requests together achieve n(1 + batch)/(1 + batch·n) times what one does; zero: n
}

// Quota makes servers work in lumps, as Linux's CPU quotas do: in each period a server runs
// Burst times as fast as its kind says, until it has used the CPU time that all its slots
// have in a period, and then stands still.
type Quota struct {
	Period time.Duration `yaml:"period"` // zero: no quota
	Burst  float64       `yaml:"burst"`  // zero: 2
}

// Work is the distribution of the work of one request, in time on a slot of speed 1.
type Work struct {
	Distribution string        `yaml:"distribution"` // constant, exponential, lognormal, pareto (bounded), bimodal
	Mean         time.Duration `yaml:"mean"`
	Sigma        float64       `yaml:"sigma"` // lognormal: of the logarithm
	Alpha        float64       `yaml:"alpha"` // pareto: exponent
	Ratio        float64       `yaml:"ratio"` // pareto: largest over smallest; bimodal: long over short
	Share        float64       `yaml:"share"` // bimodal: of the requests that are long
}

// Reports says how servers tell their load.
type Reports struct {
	Every     time.Duration `yaml:"every"`     // zero: never
	By        string        `yaml:"by"`        // server (default), agent, smoothed, machine: see reporters.go
	Responses bool          `yaml:"responses"` // every response carries the load too (ORCA)
}

// Checks are made of every server from outside, by the master as by the edges of others. Two that
// fail in a row take a server out, two that pass bring it back.
type Checks struct {
	Every time.Duration `yaml:"every"` // zero: none
}

// Arrivals says when more requests come than the load says.
type Arrivals struct {
	Shape string        `yaml:"shape"` // poisson (default), step, mmpp (two states that take turns), sine, batch (all at once)
	High  float64       `yaml:"high"`  // so many times as many at most
	At    time.Duration `yaml:"at"`    // step: from then
	For   time.Duration `yaml:"for"`   // step: for so long; mmpp: mean stay in the high state, exponential; sine: the period
	After time.Duration `yaml:"after"` // mmpp: mean stay in the other state, exponential
}

// Churn is servers that leave and come back as new ones, of which nothing is known, one after the other.
type Churn struct {
	Every time.Duration `yaml:"every"` // zero: none
	Away  time.Duration `yaml:"away"`
}

// Cold is what the first requests of a server that has joined late or come back cost.
type Cold struct {
	Requests int     `yaml:"requests"`
	Factor   float64 `yaml:"factor"`
}

// Lies is what servers report that is not so.
type Lies struct {
	What  string        `yaml:"what"`  // see lies.go
	Share float64       `yaml:"share"` // of the servers
	Age   time.Duration `yaml:"age"`
	Slots float64       `yaml:"slots"`
}

// Direct is traffic that goes to servers past the edges and the master.
type Direct struct {
	Share   float64 `yaml:"share"`   // of all requests
	Servers int     `yaml:"servers"` // to the first so many, each as often as its slots and speed say
}

// Slowdown is an antagonist on each server's machine that comes and goes.
type Slowdown struct {
	Speed float64       `yaml:"speed"` // what remains of the server's; zero: no antagonists
	For   time.Duration `yaml:"for"`   // mean stay, exponential
	After time.Duration `yaml:"after"` // mean absence, exponential
}

// Drag is servers that slow down at set times.
type Drag struct {
	Servers []int         `yaml:"servers"`
	At      time.Duration `yaml:"at"`
	For     time.Duration `yaml:"for"`
	Every   time.Duration `yaml:"every"` // from one beginning to the next; zero: once
	Speed   float64       `yaml:"speed"` // what remains of theirs
}

// Fault is something that breaks and is mended.
type Fault struct {
	What    string        `yaml:"what"` // sick: Servers answer errors at once. down: they are killed, and started again. master: no ask is answered, and all that the master knew is lost
	At      time.Duration `yaml:"at"`
	For     time.Duration `yaml:"for"`
	Servers []int         `yaml:"servers"`
}

// Tenant is one of several that share the pool.
type Tenant struct {
	Name string  `yaml:"name"`
	Load float64 `yaml:"load"` // offered work over all servers' capacity
	Work float64 `yaml:"work"` // of a request, over the scenario's; zero: 1

	Weight float64 `yaml:"weight"` // its share over that of one without; zero: 1
}

// Queue is where requests wait in the master while every server is at its limit.
type Queue struct {
	Size int           `yaml:"size"` // zero: 1,000; -1: no queue, and servers have no limit
	Wait time.Duration `yaml:"wait"` // the longest; zero: the pool's default
}

// Affinity gives requests keys, and servers caches of them.
type Affinity struct {
	Keys    int     `yaml:"keys"` // zero: no keys
	Zipf    float64 `yaml:"zipf"`
	Cache   int     `yaml:"cache"`    // keys that a server keeps, least recently used out first
	HitCost float64 `yaml:"hit_cost"` // work of a hit over that of a miss
}

// Goal is a bound on a figure of the policy under test; see Figures for their names.
type Goal struct {
	Figure  string  `yaml:"figure"`
	AtMost  float64 `yaml:"at_most"`  // zero: no upper bound
	AtLeast float64 `yaml:"at_least"` // zero: no lower bound
}

// Met reports whether a value reaches the goal.
func (g Goal) Met(v float64) bool {
	return (g.AtMost == 0 || v <= g.AtMost) && (g.AtLeast == 0 || v >= g.AtLeast)
}

// String returns the bound in short, such as <=1.12.
func (g Goal) String() string {
	if g.AtLeast != 0 {
		return fmt.Sprintf(">=%v", g.AtLeast)
	}
	return fmt.Sprintf("<=%v", g.AtMost)
}

const (
	defaultRequests = 400_000
	defaultQueue    = 1000
	defaultWarmup   = .1
)

// WithDefaults returns the scenario with every open field filled.
func (s Scenario) WithDefaults() Scenario {
	s.Requests = cmp.Or(s.Requests, defaultRequests)
	s.Edges = cmp.Or(s.Edges, 4)
	s.Spread = cmp.Or(s.Spread, "random")
	s.Queue.Size = cmp.Or(s.Queue.Size, defaultQueue)
	s.Pools = cmp.Or(s.Pools, onePool)
	s.Servers.Discipline = cmp.Or(s.Servers.Discipline, "ps")
	s.Servers.Quota.Burst = cmp.Or(s.Servers.Quota.Burst, 2)
	s.Reports.By = cmp.Or(s.Reports.By, byServer)
	s.Work.Distribution = cmp.Or(s.Work.Distribution, "exponential")
	kinds := make([]Kind, len(s.Servers.Kinds))
	for i, k := range s.Servers.Kinds {
		kinds[i] = Kind{Of: cmp.Or(k.Of, 1), Slots: k.Slots, Speed: cmp.Or(k.Speed, 1), Limit: k.Limit, Batch: k.Batch}
	}
	s.Servers.Kinds = kinds
	s.Declared = cmp.Or(s.Declared, 1)
	s.Warmup = cmp.Or(s.Warmup, defaultWarmup)
	tenants := make([]Tenant, len(s.Tenants))
	for i, t := range s.Tenants {
		tenants[i] = Tenant{t.Name, t.Load, cmp.Or(t.Work, 1), t.Weight}
	}
	s.Tenants = tenants
	classes := make([]Class, len(s.Classes))
	for i, c := range s.Classes {
		classes[i] = Class{c.Name, cmp.Or(c.Share, 1), cmp.Or(c.Work, 1)}
	}
	s.Classes = classes
	if s.Load == 0 {
		for _, t := range s.Tenants {
			s.Load += t.Load
		}
	}
	return s
}

// Validate calls bad once for every field that makes no scenario.
func (s Scenario) Validate(bad func(field, problem string)) {
	s = s.WithDefaults()
	bound := func(field string, v, low, high float64) {
		if !(v >= low && v <= high) {
			bad(field, fmt.Sprintf("%v, want %v to %v", v, low, high))
		}
	}
	oneOf := func(field, v string, words ...string) {
		for _, w := range words {
			if v == w {
				return
			}
		}
		bad(field, fmt.Sprintf("%q, want one of %v", v, words))
	}
	length := func(field string, d, low time.Duration) {
		if d < low || d > 24*time.Hour {
			bad(field, fmt.Sprintf("%v, want %v to 24h", d, low))
		}
	}
	bound("requests", float64(s.Requests), 100, 1e8)
	bound("load", s.Load, 1e-3, 100)
	bound("edges", float64(s.Edges), 1, 1000)
	oneOf("spread", s.Spread, "random", "round-robin")
	oneOf("pools", s.Pools, onePool, sharedPools, blindPools)
	s.validatePools(bad)
	length("ask", s.Ask, 0)
	length("link", s.Link, 0)
	length("done_age", s.DoneAge, 0)
	bound("queue.size", float64(s.Queue.Size), -1, 1e6)
	length("queue.wait", s.Queue.Wait, 0)
	length("deadline", s.Deadline, 0)
	length("reports.every", s.Reports.Every, 0)
	length("checks.every", s.Checks.Every, 0)
	s.validateOdd(bound, oneOf, length)
	oneOf("reports.by", s.Reports.By, byServer, byAgent, bySmoothed, byMachine)
	if s.Reports.Responses && s.Reports.By != byServer {
		bad("reports.responses", fmt.Sprintf("true, but only a %s tells its load in responses, got by: %s", byServer, s.Reports.By))
	}
	length("servers.quota.period", s.Servers.Quota.Period, 0)
	bound("servers.quota.burst", s.Servers.Quota.Burst, 1, 1000)
	s.Servers.validate(bound, oneOf, bad)
	s.Work.validate(bound, oneOf, length)
	s.validateEvents(bound, oneOf, length, bad)
	for i, g := range s.Goals {
		oneOf(fmt.Sprintf("goals[%d].figure", i), g.Figure, Figures...)
	}
}

func (s Servers) validate(bound func(string, float64, float64, float64), oneOf func(string, string, ...string), bad func(string, string)) {
	bound("servers.count", float64(s.Count), 1, 10_000)
	oneOf("servers.discipline", s.Discipline, "ps", "fcfs")
	if len(s.Kinds) == 0 {
		bad("servers.kinds", "none, want at least one, such as {slots: 2}")
	}
	for i, k := range s.Kinds {
		at := fmt.Sprintf("servers.kinds[%d].", i)
		bound(at+"of", float64(k.Of), 1, 1000)
		bound(at+"slots", float64(k.Slots), 1, 10_000)
		bound(at+"speed", k.Speed, 1e-3, 1e3)
	}
}

func (w Work) validate(bound func(string, float64, float64, float64), oneOf func(string, string, ...string), length func(string, time.Duration, time.Duration)) {
	oneOf("work.distribution", w.Distribution, "constant", "exponential", "lognormal", "pareto", "bimodal")
	length("work.mean", w.Mean, time.Microsecond)
	switch w.Distribution {
	case "lognormal":
		bound("work.sigma", w.Sigma, 0, 5)
	case "pareto":
		bound("work.alpha", w.Alpha, .1, 10)
		bound("work.ratio", w.Ratio, 1.001, 1e9)
	case "bimodal":
		bound("work.ratio", w.Ratio, 1, 1e9)
		bound("work.share", w.Share, 0, 1)
	}
}

func (s Scenario) validateEvents(bound func(string, float64, float64, float64), oneOf func(string, string, ...string), length func(string, time.Duration, time.Duration), bad func(string, string)) {
	bound("size.known", s.Size.Known, 0, 10)
	for i, c := range s.Classes {
		at := fmt.Sprintf("classes[%d].", i)
		if c.Name == "" {
			bad(at+"name", "want a name, which the requests tell")
		}
		bound(at+"share", c.Share, 1e-6, 1e6)
		bound(at+"work", c.Work, 1e-6, 1e6)
	}
	bound("direct.share", s.Direct.Share, 0, 1)
	if s.Direct.Share > 0 {
		bound("direct.servers", float64(s.Direct.Servers), 1, float64(s.Servers.Count))
	}
	if s.Slowdown != (Slowdown{}) {
		bound("slowdown.speed", s.Slowdown.Speed, 1e-3, 1)
		length("slowdown.for", s.Slowdown.For, time.Millisecond)
		length("slowdown.after", s.Slowdown.After, time.Millisecond)
	}
	for i, f := range s.Faults {
		at := fmt.Sprintf("faults[%d].", i)
		oneOf(at+"what", f.What, "sick", "down", "master")
		length(at+"at", f.At, 0)
		length(at+"for", f.For, time.Millisecond)
		for _, n := range f.Servers {
			bound(at+"servers", float64(n), 0, float64(s.Servers.Count-1))
		}
		if (f.What == "sick" || f.What == "down") != (len(f.Servers) > 0) {
			bad(at+"servers", "want some for a fault of servers and none for a master's")
		}
	}
	for i, t := range s.Tenants {
		bound(fmt.Sprintf("tenants[%d].load", i), t.Load, 1e-3, 100)
	}
	if a := s.Affinity; a != (Affinity{}) {
		bound("affinity.keys", float64(a.Keys), 1, 1e7)
		bound("affinity.zipf", a.Zipf, 0, 5)
		bound("affinity.cache", float64(a.Cache), 1, 1e6)
		bound("affinity.hit_cost", a.HitCost, 1e-3, 1)
	}
}

// validateOdd checks what the canonical scenarios leave out.
func (s Scenario) validateOdd(bound func(string, float64, float64, float64), oneOf func(string, string, ...string), length func(string, time.Duration, time.Duration)) {
	s.Arrivals.validate(bound, oneOf, length)
	for i, d := range s.Drag {
		at := fmt.Sprintf("drag[%d].", i)
		for _, n := range d.Servers {
			bound(at+"servers", float64(n), 0, float64(s.Servers.Count-1))
		}
		length(at+"at", d.At, 0)
		length(at+"for", d.For, time.Millisecond)
		if d.Every != 0 {
			length(at+"every", d.Every, d.For)
		}
		bound(at+"speed", d.Speed, 1e-3, 1e3)
	}
	bound("warmup", s.Warmup, -1, .9)
	if s.Churn != (Churn{}) {
		length("churn.every", s.Churn.Every, time.Millisecond)
		length("churn.away", s.Churn.Away, time.Millisecond)
	}
	if s.Cold != (Cold{}) {
		bound("cold.requests", float64(s.Cold.Requests), 1, 1e6)
		bound("cold.factor", s.Cold.Factor, 1e-3, 1e3)
	}
	oneOf("lies.what", s.Lies.What, append([]string{""}, lies...)...)
	bound("lies.share", s.Lies.Share, 0, 1)
	length("lies.age", s.Lies.Age, 0)
	bound("lies.slots", s.Lies.Slots, 0, 1e15)
	if s.Lies.What == liesThreads {
		bound("lies.slots", s.Lies.Slots, 1, 1e6)
	}
	bound("declared", s.Declared, 1e-3, 1e3)
	for i, t := range s.Tenants {
		bound(fmt.Sprintf("tenants[%d].work", i), t.Work, 1e-6, 1e6)
		bound(fmt.Sprintf("tenants[%d].weight", i), t.Weight, 0, balance.MaxTenantWeight)
	}
	for i, k := range s.Servers.Kinds {
		bound(fmt.Sprintf("servers.kinds[%d].limit", i), float64(k.Limit), 0, 1e6)
		bound(fmt.Sprintf("servers.kinds[%d].batch", i), k.Batch, 0, 1e3)
	}
}

// batch is the shape of arrivals that all come at once.
const batch = "batch"

func (a Arrivals) validate(bound func(string, float64, float64, float64), oneOf func(string, string, ...string), length func(string, time.Duration, time.Duration)) {
	oneOf("arrivals.shape", a.Shape, "", "poisson", "step", "mmpp", "sine", batch)
	if a.Shape == "" || a.Shape == "poisson" || a.Shape == batch {
		return
	}
	length("arrivals.for", a.For, time.Millisecond)
	switch a.Shape {
	case "step":
		bound("arrivals.high", a.High, 1e-3, 1e3)
		length("arrivals.at", a.At, 0)
	case "mmpp":
		bound("arrivals.high", a.High, 1e-3, 1e3)
		length("arrivals.after", a.After, time.Millisecond)
	case "sine":
		bound("arrivals.high", a.High, 1, 2) // as much less than the mean at other times
	}
}

// HasIdeal reports whether the ideal means anything: not under overload, and not where
// the work itself depends on who gets it.
func (s Scenario) HasIdeal() bool { return s.WithDefaults().Load < 1 && s.Affinity.Keys == 0 }

// hasGoal reports whether a goal's figure ends so.
func (s Scenario) hasGoal(suffix string) bool {
	return slices.ContainsFunc(s.Goals, func(g Goal) bool { return strings.HasSuffix(g.Figure, suffix) })
}

// withoutFaults returns the scenario with faults that change nothing, so that what arrives in their time is still told apart.
func (s Scenario) withoutFaults() Scenario {
	s.Faults = slices.Clone(s.Faults)
	for i := range s.Faults {
		s.Faults[i] = Fault{What: noFault, At: s.Faults[i].At, For: s.Faults[i].For}
	}
	return s
}

const noFault = "none" // what a fault is that changes nothing; no file may say it

// fleet returns the kind of every server, in order.
func (s Servers) fleet() []Kind {
	var places []Kind
	for _, k := range s.Kinds {
		for range k.Of {
			places = append(places, k)
		}
	}
	stride := 7
	if len(places)%7 == 0 {
		stride = 1
	}
	fleet := make([]Kind, s.Count)
	for i := range fleet {
		fleet[i] = places[stride*i%len(places)]
	}
	return fleet
}

// capacity returns the seconds of work that the fleet does in a second, on average.
func (s *Scenario) capacity(fleet []Kind) float64 {
	total := 0.
	for _, k := range fleet {
		total += k.weight()
	}
	return total * s.Slowdown.remains()
}

// remains is the mean share of a server's speed that its antagonist leaves.
func (s Slowdown) remains() float64 {
	if s.Speed == 0 {
		return 1
	}
	return (s.After.Seconds() + s.Speed*s.For.Seconds()) / (s.After + s.For).Seconds()
}

func (k Kind) weight() float64 { return k.together(k.Slots) * k.Speed }

// together returns what n requests achieve, over what one does.
func (k Kind) together(n int) float64 {
	return float64(n) * (1 + k.Batch) / (1 + k.Batch*float64(n))
}
