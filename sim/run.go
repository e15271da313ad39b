package sim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/evenkeel-lb/evenkeel/policy"
)

// peer is a model of how others choose.
type peer struct {
	name string
	doc  string // one line, for people
	make func(w *world, seed uint64) chooser
}

// peers lists them. Their weights are slots times speed, or 1 if the scenario is blind.
var peers = []peer{
	{"haproxy-leastconn", "HAProxy leastconn, weighted, at every edge", func(w *world, seed uint64) chooser { return newHAProxyLeastConn(newLocal(w, seed, true)) }},
	{"haproxy-leastconn-unweighted", "HAProxy leastconn without weights", func(w *world, seed uint64) chooser { return newHAProxyLeastConn(newLocal(w, seed, false)) }},
	{"haproxy-random", "HAProxy random(2), weighted", func(w *world, seed uint64) chooser { return &haproxyRandom{newLocal(w, seed, true)} }},
	{"nginx-least-conn", "nginx least_conn, weighted", func(w *world, seed uint64) chooser {
		return &nginxLeastConn{newLocal(w, seed, true), newSmooth(w.s.Edges, len(w.fleet))}
	}},
	{"envoy-least-request", "Envoy least request, two choices, equal weights", func(w *world, seed uint64) chooser { return &envoyTwoChoices{newLocal(w, seed, false)} }},
	{"envoy-full-scan", "Envoy least request, full scan, equal weights", func(w *world, seed uint64) chooser { return &envoyFullScan{newLocal(w, seed, false)} }},
	{"envoy-weighted", "Envoy least request with weights, active request bias 1", func(w *world, seed uint64) chooser { return newEnvoyWeighted(newLocal(w, seed, true)) }},
	{"edge-two-choices", "two choices by weight at every edge", func(w *world, seed uint64) chooser { return &twoChoices{newLocal(w, seed, true)} }},
	{"edge-round-robin", "round robin at every edge", func(w *world, seed uint64) chooser {
		return &roundRobin{newLocal(w, seed, false), newSmooth(w.s.Edges, len(w.fleet))}
	}},
	{"edge-weighted-round-robin", "smooth weighted round robin at every edge", func(w *world, seed uint64) chooser {
		return &roundRobin{newLocal(w, seed, true), newSmooth(w.s.Edges, len(w.fleet))}
	}},
	{"edge-random", "at random by weight", func(w *world, seed uint64) chooser { return &anyServer{newLocal(w, seed, true)} }},
	{"prequal", "Prequal as published", func(w *world, seed uint64) chooser {
		return newPrequal(newLocal(w, seed, true), prequalPublished)
	}},
	{"prequal-tuned", "Prequal with the knobs that suit B1", func(w *world, seed uint64) chooser { return newPrequal(newLocal(w, seed, true), prequalTuned) }},
	{"orca-round-robin", "gRPC weighted round robin by ORCA reports (A58)", func(w *world, seed uint64) chooser {
		return newORCARoundRobin(newLocal(w, seed, false))
	}},
	{"reports-only", "the least reported utilisation", func(w *world, seed uint64) chooser {
		return &leastReported{local: newLocal(w, seed, false), last: make([]float64, len(w.fleet))}
	}},
}

// Names lists everything that Run takes: the pool's policies, the peers, the ideal.
func Names() (names []string) {
	for _, row := range policy.Table {
		names = append(names, row.Name)
	}
	for _, row := range peers {
		names = append(names, row.name)
	}
	return append(names, Ideal)
}

// Check returns an error if Run does not know the name.
func Check(name string) error {
	bare, v := cutView(name)
	for _, known := range Names() {
		if bare == known && (v == view{} || isPeer(bare)) {
			return nil
		}
	}
	return fmt.Errorf("policy %q is not known: want one of %s", name, strings.Join(Names(), ", "))
}

// Run simulates one run. The scenario must be valid and the name known.
func Run(s Scenario, name string, seed uint64) Result {
	s = s.WithDefaults()
	name, view := cutView(name)
	if name == Ideal {
		return runIdeal(&s, seed)
	}
	w := newWorld(&s, seed)
	w.view = view
	w.choosing(name, seed)
	w.run()
	return w.result(name + view.String())
}

// view is what a peer knows beyond what it would know at its place.
type view struct {
	weights bool // the servers' true ones, though the scenario is blind
	one     bool // all requests: it is a single instance
}

const (
	withWeights = "+weights"
	asOne       = "+one"
)

func cutView(name string) (string, view) {
	var v view
	for {
		var cut bool
		if name, cut = strings.CutSuffix(name, withWeights); cut {
			v.weights = true
			continue
		}
		if name, cut = strings.CutSuffix(name, asOne); cut {
			v.one = true
			continue
		}
		return name, v
	}
}

func (v view) String() (s string) {
	if v.weights {
		s += withWeights
	}
	if v.one {
		s += asOne
	}
	return s
}

// choosing installs who chooses.
func (w *world) choosing(name string, seed uint64) {
	for _, row := range peers {
		if row.name == name {
			w.chooser = row.make(w, seed)
			w.prober, _ = w.chooser.(prober)
			return
		}
	}
	w.master = newMaster(w, name, seed)
	w.chooser = w.master
}

func isPeer(name string) bool {
	return slices.ContainsFunc(peers, func(p peer) bool { return p.name == name })
}

// About returns one line on a name that Run knows.
func About(name string) string {
	for _, row := range policy.Table {
		if row.Name == name {
			return "ours: " + row.Doc
		}
	}
	for _, row := range peers {
		if row.name == name {
			return row.doc
		}
	}
	return "one pooled server or one central queue, which no real system can be"
}
