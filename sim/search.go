package sim

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// This file looks for scenarios in which ours does worse than the best peer: it draws them at random from the whole space,
// and changes the worst of those one feature at a time.

// Found is a scenario and how ours did in it.
type Found struct {
	Scenario Scenario
	Ratio    float64 // the worst of ours over the best peer's
	Figure   string  // of which: mean or p99
	Peer     string  // the best peer
}

// SearchPeers are who ours is held against, at every edge, with true weights whatever ours is told.
var SearchPeers = []string{"haproxy-leastconn" + withWeights, "nginx-least-conn" + withWeights, "haproxy-random" + withWeights, "prequal-tuned" + withWeights}

const (
	searchPolicy = "least-load"
	searchKept   = 10 // of the worst
	searchFresh  = 3  // of every so many scenarios one is drawn anew, once searchKept are known; the others are changed ones
	searchWarmup = .25
	searchRate   = 10_000 // requests a second, at most
	searchAway   = 4      // one server of so many is away at most
)

var (
	searchSeeds  = []uint64{1, 2}
	searchLength = 30_000 // requests in a run; tests have fewer
	searchLasts  = 8.     // seconds of a run at least; tests have fewer
)

// Search runs n scenarios and returns the worst of them, worst first. The same n and seed find the same. each, if it is
// not nil, is called with every scenario that has been run. Its error is the context's cause.
func Search(ctx context.Context, n int, seed uint64, each func(Found)) (worst []Found, err error) {
	rng := rand.New(rand.NewPCG(seed, 0x736561726368))
	for i := range n {
		var s Scenario
		from := -1
		if len(worst) == searchKept && i%searchFresh > 0 {
			from = rng.IntN(len(worst))
			s = change(worst[from].Scenario, rng)
		} else {
			s = draw(rng)
		}
		s.Name = fmt.Sprintf("drawn-%d-%d", seed, i)
		f, err := judge(ctx, s)
		if err != nil {
			return nil, err
		}
		if each != nil {
			each(f)
		}
		if from >= 0 && f.Ratio > worst[from].Ratio { // a climb: it stands for the one that it came from
			worst[from] = f
		} else if from < 0 {
			worst = append(worst, f)
		}
		slices.SortStableFunc(worst, func(a, b Found) int { return compareDescending(a.Ratio, b.Ratio) })
		worst = worst[:min(len(worst), searchKept)]
	}
	return worst, nil
}

func compareDescending(a, b float64) int {
	switch {
	case a > b:
		return -1
	case a < b:
		return 1
	}
	return 0
}

// judge runs one scenario.
func judge(ctx context.Context, s Scenario) (Found, error) {
	c, err := Compare(ctx, s, append([]string{searchPolicy}, SearchPeers...), searchSeeds)
	if err != nil {
		return Found{}, err
	}
	f := Found{Scenario: s}
	ours, peers := c.Results[0], c.Results[1:1+len(SearchPeers)]
	for _, figure := range []struct {
		name string
		of   func(Result) float64
	}{{"mean", func(r Result) float64 { return r.Mean }}, {"p99", func(r Result) float64 { return r.P99 }}} {
		best := slices.MinFunc(peers, func(a, b Result) int { return compareDescending(figure.of(b), figure.of(a)) })
		if ratio := figure.of(ours) / figure.of(best); ratio > f.Ratio {
			f.Ratio, f.Figure, f.Peer = ratio, figure.name, best.Policy
		}
	}
	return f, nil
}

// draw returns a scenario drawn at random.
func draw(rng *rand.Rand) Scenario {
	s := Scenario{Requests: searchLength, Warmup: searchWarmup}
	for _, feature := range features {
		feature(&s, rng)
	}
	fit(&s)
	return s
}

// change returns a scenario that differs in one feature.
func change(s Scenario, rng *rand.Rand) Scenario {
	features[rng.IntN(len(features))](&s, rng)
	fit(&s)
	return s
}

// features each draw one thing about a scenario. They write no slice that another scenario shares.
var features = []func(s *Scenario, rng *rand.Rand){
	func(s *Scenario, rng *rand.Rand) { s.Servers.Count = int(between(rng, 3, 80)) },
	func(s *Scenario, rng *rand.Rand) { s.Servers.Discipline = anyOf(rng, "ps", "ps", "fcfs") },
	drawKinds,
	drawWork,
	func(s *Scenario, rng *rand.Rand) { s.Load = round(.3 + .68*rng.Float64()) },
	func(s *Scenario, rng *rand.Rand) { s.Edges = int(between(rng, 1, 64)) },
	func(s *Scenario, rng *rand.Rand) { s.Ask = drawTrip(rng) },
	func(s *Scenario, rng *rand.Rand) { s.Link = drawTrip(rng) },
	func(s *Scenario, rng *rand.Rand) { s.AskUntold = rng.IntN(2) == 0 },
	drawReports,
	func(s *Scenario, rng *rand.Rand) {
		s.Blind, s.Declared = true, 0
		if rng.IntN(3) == 0 {
			s.Blind, s.Declared = false, anyOf(rng, .25, .5, 1, 1, 2, 4)
		}
	},
	func(s *Scenario, rng *rand.Rand) {
		s.Churn = Churn{}
		if rng.IntN(6) == 0 {
			s.Churn = Churn{Every: seconds(between(rng, 2, 30)), Away: seconds(between(rng, 2, 30))}
		}
	},
	func(s *Scenario, rng *rand.Rand) {
		s.Slowdown = Slowdown{}
		if rng.IntN(8) == 0 {
			s.Slowdown = Slowdown{Speed: round(between(rng, .2, .8)), For: seconds(between(rng, .5, 5)), After: seconds(between(rng, 1, 20))}
		}
	},
	func(s *Scenario, rng *rand.Rand) {
		s.Arrivals = Arrivals{}
		if rng.IntN(6) == 0 {
			s.Arrivals = Arrivals{Shape: "sine", High: round(between(rng, 1.01, 1.5)), For: seconds(between(rng, 1, 60))}
		}
	},
	func(s *Scenario, rng *rand.Rand) {
		s.Tenants = nil
		if rng.IntN(6) == 0 {
			s.Tenants = []Tenant{{Name: "a", Load: .5, Work: 1}, {Name: "b", Load: .5, Work: round(between(rng, 1, 100))}}
		}
	},
}

func drawKinds(s *Scenario, rng *rand.Rand) {
	s.Servers.Kinds = nil
	slots := int(between(rng, 1, 64))
	batch := 0.
	if rng.IntN(6) == 0 {
		slots, batch = int(between(rng, 8, 64)), round(between(rng, .01, .3))
	}
	for range 1 + rng.IntN(3) {
		s.Servers.Kinds = append(s.Servers.Kinds, Kind{Of: 1 + rng.IntN(5), Slots: slots * (1 + rng.IntN(2)), Speed: anyOf(rng, 1., 1, 2, 4), Batch: batch})
	}
}

func drawWork(s *Scenario, rng *rand.Rand) {
	s.Work = Work{Distribution: anyOf(rng, "constant", "exponential", "lognormal", "pareto", "bimodal"), Mean: seconds(between(rng, .002, 5))}
	switch s.Work.Distribution {
	case "lognormal":
		s.Work.Sigma = round(between(rng, .3, 2))
	case "pareto":
		s.Work.Alpha, s.Work.Ratio = round(between(rng, 1.1, 2.5)), 1000
	case "bimodal":
		s.Work.Ratio, s.Work.Share = round(between(rng, 2, 200)), round(between(rng, .01, .5))
	}
}

func drawReports(s *Scenario, rng *rand.Rand) {
	s.Reports, s.Lies = Reports{}, Lies{}
	if rng.IntN(4) == 0 {
		return
	}
	s.Reports = Reports{Every: anyOf(rng, 100*time.Millisecond, 500*time.Millisecond, time.Second, 5*time.Second), By: anyOf(rng, byServer, byServer, byAgent, bySmoothed, byMachine)}
	if rng.IntN(2) == 0 {
		return
	}
	s.Reports.By = byServer
	s.Lies = Lies{What: anyOf(rng, lies...), Share: round(between(rng, .05, 1)), Age: seconds(between(rng, .1, 20)), Slots: round(between(rng, 1, 100))}
}

// fit makes a scenario of features that do not go together: what comes must stay below what the servers can do, also at its
// height and while servers are away.
func fit(s *Scenario) {
	s.shareLoad()
	s.fitLength()
	if a := s.Arrivals; a.Shape == "sine" {
		s.Load = round(min(s.Load, .98/a.High))
	}
	if s.Churn.Every > 0 { // most servers are there
		s.Churn.Away = min(s.Churn.Away, seconds(s.Churn.Every.Seconds()*float64(s.Servers.Count)/searchAway))
		away := math.Ceil(s.Churn.Away.Seconds() / s.Churn.Every.Seconds())
		s.Load = round(min(s.Load, .95*max(.1, 1-2*away/float64(s.Servers.Count))))
	}
	for i := range s.Servers.Kinds {
		if s.Servers.Discipline == "fcfs" && s.Servers.Kinds[i].Batch > 0 {
			s.Servers.Discipline = "ps"
		}
	}
	s.shareLoad()
}

// shareLoad gives each tenant as much of the load.
func (s *Scenario) shareLoad() {
	if len(s.Tenants) > 0 {
		s.Tenants = slices.Clone(s.Tenants)
		for i := range s.Tenants {
			s.Tenants[i].Load = round(s.Load / float64(len(s.Tenants)))
		}
	}
}

// fitLength has a run last so long that something can be learnt in the quarter of it that does not count. Where millions of
// requests came in that time there are fewer servers, and then fewer slots.
func (s *Scenario) fitLength() {
	for s.rate() > searchRate {
		switch {
		case s.Servers.Count > 4:
			s.Servers.Count = max(4, s.Servers.Count/2)
		default:
			kinds, least := slices.Clone(s.Servers.Kinds), true
			for i := range kinds {
				least = least && kinds[i].Slots == 1
				kinds[i].Slots = max(1, kinds[i].Slots/2)
			}
			if s.Servers.Kinds = kinds; least {
				s.Requests = max(searchLength, int(searchLasts*searchRate))
				return
			}
		}
	}
	s.Requests = max(searchLength, int(searchLasts*s.rate()))
}

// rate returns how many requests come in a second.
func (s *Scenario) rate() float64 {
	whole := s.WithDefaults()
	return 1 / whole.gap(whole.Fleet())
}

// between draws from low to high, evenly on a logarithmic scale.
func between(rng *rand.Rand, low, high float64) float64 {
	return low * math.Exp(rng.Float64()*math.Log(high/low))
}

func anyOf[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

// drawTrip draws a round trip from 10 µs to 50 ms.
func drawTrip(rng *rand.Rand) time.Duration {
	return seconds(between(rng, 10e-6, 50e-3))
}

// seconds and round keep three digits, so that a scenario reads well.
func seconds(s float64) time.Duration { return time.Duration(math.Round(round(s*1e6) * 1e3)) }

func round(v float64) float64 {
	if v == 0 {
		return 0
	}
	digits := math.Pow(10, 2-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*digits) / digits
}
