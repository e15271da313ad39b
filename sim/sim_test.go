package sim

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evenkeel-lb/evenkeel/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scenario reads one canonical scenario as evenkeel simulate does.
func scenario(t testing.TB, name string) Scenario {
	t.Helper()
	files := Canonical(name)
	if len(files) != 1 {
		t.Fatalf("%d scenarios are called %s, want 1", len(files), name)
	}
	return parse(t, files[0].Name, files[0].YAML)
}

func parse(t testing.TB, name string, text []byte) (s Scenario) {
	t.Helper()
	file := config.Parse(name, text, nil)
	file.Decode(&s)
	s.Validate(file.Bad)
	if err := file.Err(); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCanonical(t *testing.T) {
	var names []string
	for _, f := range Canonical("") {
		s := parse(t, f.Name, f.YAML)
		names = append(names, s.Name)
		if len(s.Goals) == 0 || s.About == "" {
			t.Errorf("%s has no goal or says nothing about itself", f.Name)
		}
		if want := "sim/scenarios/" + strings.ToLower(s.Name) + ".yaml"; f.Name != want {
			t.Errorf("%s stands in %s, want %s", s.Name, f.Name, want)
		}
	}
	want := []string{"B1-4", "B1-4-blind", "B1-16", "B1-16-blind", "B1-agent", "B1-agent-blind", "B1-machine", "B1-machine-blind", "B1-size-exact", "B1-size-half", "B1-size-lie", "B1-size-rough", "B1-smoothed", "B1-smoothed-blind",
		"B2", "B2-agent", "B2-agent-blind", "B2-classes", "B2-machine", "B2-machine-blind", "B2-size-exact", "B2-size-half", "B2-size-lie", "B2-size-rough", "B2-smoothed", "B2-smoothed-blind", "B3", "B4", "B5-outage-4", "B5-outage-16", "B5-overload", "B5-sick", "B6", "B6-queue", "B7", "B8", "B8-size-exact", "B8-size-half", "B8-size-lie", "B8-size-rough", "batch", "batch-size-half", "pools",
		"R-declared-high", "R-declared-low", "R-far", "R-old", "R-random", "R-stale", "R-threads",
		"S-1", "S-2", "S-3", "S-4", "S-5", "S-6", "S-7", "S-8", "S-9", "S-10"}
	if !slices.Equal(names, want) {
		t.Errorf("scenarios %v, want %v", names, want)
	}
	if got := len(Canonical("b1")); got != 14 {
		t.Errorf("b1 names %d scenarios, want 14", got)
	}
	if got := len(Canonical("b")); got != 0 {
		t.Errorf("b names %d scenarios, want none: it is no whole word", got)
	}
}

// TestEverybodyEverywhere runs every policy in every scenario for a moment, and states
// the pool's invariants after every event.
func TestEverybodyEverywhere(t *testing.T) {
	for _, f := range Canonical("") {
		s := parse(t, f.Name, f.YAML).WithDefaults()
		s.Requests, s.Warmup = 200, defaultWarmup
		for i := range s.Faults { // into the moment
			s.Faults[i].At, s.Faults[i].For = 40*time.Millisecond, 30*time.Millisecond
		}
		for _, name := range Names() {
			t.Run(s.Name+"/"+name, func(t *testing.T) {
				if name == Ideal {
					figures(t, Run(s, name, 7))
					return
				}
				w := newWorld(&s, 7)
				w.choosing(name, 7)
				for w.pending || w.under > 0 {
					w.step()
					if w.master == nil {
						continue
					}
					if err := w.master.pool.Check(); err != nil {
						t.Fatal(err)
					}
				}
				figures(t, w.result(name))
			})
		}
	}
}

func figures(t *testing.T, r Result) {
	t.Helper()
	if r.Requests < 90 || r.Requests > 180 {
		t.Errorf("%d requests count, want 180 less those that are direct", r.Requests)
	}
	if !(r.P50 > 0 && r.P95 >= r.P50 && r.P99 >= r.P95 && r.P999 >= r.P99 && r.Mean > 0 && r.Errors >= 0 && r.Errors <= 1) {
		t.Errorf("impossible figures %+v", r)
	}
}

// TestLeasesAllComeBack: when all requests are over, so are all leases, whatever broke.
func TestLeasesAllComeBack(t *testing.T) {
	for _, name := range []string{"b5-outage-16", "b5-sick", "b5-overload"} {
		s := scenario(t, name).WithDefaults()
		s.Requests, s.DoneAge = 20_000, 3*time.Millisecond
		for i := range s.Faults {
			s.Faults[i].At, s.Faults[i].For = 3*time.Second, 2*time.Second
		}
		w := newWorld(&s, 3)
		w.choosing("least-load", 3)
		w.run()
		for w.dones.count > 0 {
			w.step()
		}
		if open := w.master.pool.Open(); open != 0 {
			t.Errorf("%s: %d leases are open at the end, want 0", name, open)
		}
		for e := range w.inFlight {
			for i, n := range w.inFlight[e] {
				if n != 0 {
					t.Fatalf("%s: edge %d has %d requests at server %d at the end, want 0", name, e, n, i)
				}
			}
		}
	}
}

func TestSameSeedSameFigures(t *testing.T) {
	for _, name := range []string{"least-load", "prequal", "envoy-weighted"} {
		s := scenario(t, "b3")
		s.Requests = 5000
		a, b, other := Run(s, name, 5), Run(s, name, 5), Run(s, name, 6)
		if !slices.Equal(a.Curve, b.Curve) || a.Mean != b.Mean {
			t.Errorf("%s: the same seed gave a mean of %v and of %v", name, a.Mean, b.Mean)
		}
		if a.Mean == other.Mean {
			t.Errorf("%s: another seed gave the same mean, %v", name, a.Mean)
		}
	}
}

// TestKnownOrder: what is known of these policies in general holds in short runs too.
func TestKnownOrder(t *testing.T) {
	s := scenario(t, "b1-4")
	s.Requests = 40_000
	c, err := Compare(t.Context(), s, []string{"least-load", "nginx-least-conn", "haproxy-leastconn", "prequal", "edge-random"}, []uint64{11})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range c.Results[:len(c.Results)-1] {
		if r.P99Ideal < 1 || i > 0 && r.P99Ideal <= c.Results[i-1].P99Ideal {
			t.Errorf("%s has %.3f times the ideal's p99: want more than 1, and than that of the one before", r.Policy, r.P99Ideal)
		}
	}
	if got := c.Results[0].P99Ideal; got > 1.2 {
		t.Errorf("least-load has %.3f times the ideal's p99, want at most 1.2\nrun: go run ./cmd/evenkeel simulate B1-4 --seeds 11 --requests 40000", got)
	}
}

func TestCompareStops(t *testing.T) {
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := Compare(ctx, scenario(t, "b1-4"), []string{"least-load"}, []uint64{1}); !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
}

func TestPlotIsXML(t *testing.T) {
	s := scenario(t, "b7")
	s.Requests, s.About = 500, `a<b & "c"`
	c, err := Compare(t.Context(), s, []string{"least-load", "edge-random"}, []uint64{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Plot(&out, []Comparison{c, c, c}); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for decoder := xml.NewDecoder(&out); ; {
		_, err := decoder.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(text, "edge-random"); got != 3 || strings.Contains(text, "NaN") {
		t.Errorf("edge-random is named %d times in three panels, want 3, and no NaN", got)
	}
}

// TestDocumentedScenario: the example in the documentation is read as it stands.
func TestDocumentedScenario(t *testing.T) {
	text, err := os.ReadFile("../docs/simulate.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "```yaml\n")
	example, _, found := strings.Cut(example, "```")
	if s := parse(t, "docs/simulate.md", []byte(example)); !found || s.Servers.Count != 50 || len(s.Goals) != 1 {
		t.Errorf("read %+v", s)
	}
}

func TestFiguresHaveValues(t *testing.T) {
	r := Result{P99Ideal: 1, MeanIdeal: 2, P99Untold: 1, P99: 3, Errors: .5, TroubleP99: 6, CalmP99: 2, InTime: []float64{.9}, Goodput: .8}
	for _, name := range Figures {
		if math.IsNaN(r.Figure(name)) {
			t.Errorf("figure %s has no value", name)
		}
	}
}

func TestGoals(t *testing.T) {
	most, least := Goal{AtMost: 1.1}, Goal{AtLeast: .9}
	if !most.Met(1.1) || most.Met(1.11) || most.Met(math.NaN()) || !least.Met(.9) || least.Met(.8) || least.Met(math.NaN()) {
		t.Error("a goal is met at its bound, not beyond, and never by what is not a number")
	}
	if most.String() != "<=1.1" || least.String() != ">=0.9" {
		t.Errorf("goals read %s and %s", most, least)
	}
}

func TestValidate(t *testing.T) {
	good := func() Scenario {
		return Scenario{Load: .5, Servers: Servers{Count: 2, Kinds: []Kind{{Slots: 1}}}, Work: Work{Mean: time.Second}}
	}
	for _, test := range []struct {
		field string
		spoil func(*Scenario)
	}{
		{"", func(*Scenario) {}},
		{"load", func(s *Scenario) { s.Load = 0 }},
		{"spread", func(s *Scenario) { s.Spread = "evenly" }},
		{"servers.count", func(s *Scenario) { s.Servers.Count = 0 }},
		{"servers.kinds", func(s *Scenario) { s.Servers.Kinds = nil }},
		{"servers.kinds[0].slots", func(s *Scenario) { s.Servers.Kinds[0].Slots = 0 }},
		{"servers.discipline", func(s *Scenario) { s.Servers.Discipline = "lifo" }},
		{"work.mean", func(s *Scenario) { s.Work.Mean = 0 }},
		{"work.alpha", func(s *Scenario) { s.Work = Work{Distribution: "pareto", Mean: time.Second, Ratio: 10} }},
		{"size.known", func(s *Scenario) { s.Size = Size{Told: true, Known: -1} }},
		{"direct.servers", func(s *Scenario) { s.Direct = Direct{Share: .5, Servers: 3} }},
		{"slowdown.for", func(s *Scenario) { s.Slowdown = Slowdown{Speed: .5, After: time.Second} }},
		{"faults[0].what", func(s *Scenario) { s.Faults = []Fault{{What: "fire", For: time.Second}} }},
		{"faults[0].servers", func(s *Scenario) { s.Faults = []Fault{{What: "sick", For: time.Second}} }},
		{"faults[0].servers", func(s *Scenario) { s.Faults = []Fault{{What: "sick", For: time.Second, Servers: []int{2}}} }},
		{"faults[0].servers", func(s *Scenario) { s.Faults = []Fault{{What: "down", For: time.Second}} }},
		{"checks.every", func(s *Scenario) { s.Checks.Every = -1 }},
		{"tenants[0].load", func(s *Scenario) { s.Tenants = []Tenant{{Name: "a"}} }},
		{"affinity.cache", func(s *Scenario) { s.Affinity = Affinity{Keys: 10, HitCost: .5} }},
		{"goals[0].figure", func(s *Scenario) { s.Goals = []Goal{{Figure: "p98"}} }},
	} {
		s := good()
		test.spoil(&s)
		got := ""
		s.Validate(func(field, problem string) { got = field })
		if got != test.field {
			t.Errorf("a bad %q is told of %q", test.field, got)
		}
	}
}
