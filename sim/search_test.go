package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// Whatever is drawn or changed is a scenario, below what its servers can do, and its file says the same.
func TestDrawnScenariosAreValid(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	kinds := map[string]int{}
	for i := range 2000 {
		s := draw(rng)
		for range i % 4 {
			s = change(s, rng)
		}
		s.Name, s.About = "x", `with "quotes"`
		s.Validate(func(field, problem string) { t.Fatalf("%s: %s in\n%s", field, problem, s.YAML()) })
		if load := s.WithDefaults().Load; load > .985 {
			t.Fatalf("load %v, want less than the servers can do in\n%s", load, s.YAML())
		}
		if got := parse(t, "x.yaml", []byte(s.YAML())); !reflect.DeepEqual(got.WithDefaults(), s.WithDefaults()) {
			t.Fatalf("read\n%s\nwant\n%s", got.YAML(), s.YAML())
		}
		kinds[s.Servers.Discipline]++
		kinds[s.Work.Distribution]++
		kinds[s.Lies.What]++
		kinds[s.Arrivals.Shape]++
	}
	for _, want := range append([]string{"ps", "fcfs", "constant", "exponential", "lognormal", "pareto", "bimodal", "sine"}, lies...) {
		if kinds[want] == 0 {
			t.Errorf("%s was not drawn once in 2,000 scenarios", want)
		}
	}
}

// The same seed finds the same scenarios, the worst first.
func TestSearch(t *testing.T) {
	length, lasts := searchLength, searchLasts
	searchLength, searchLasts = 300, 0
	defer func() { searchLength, searchLasts = length, lasts }()
	var all []float64
	worst, err := Search(t.Context(), 16, 3, func(f Found) { all = append(all, f.Ratio) })
	if err != nil || len(all) != 16 || len(worst) != searchKept {
		t.Fatalf("%d were run and %d found (%v), want 16 and %d", len(all), len(worst), err, searchKept)
	}
	if worst[0].Ratio != slices.Max(all) {
		t.Errorf("the first has a ratio of %v, want the worst, %v", worst[0].Ratio, slices.Max(all))
	}
	for i, f := range worst {
		if f.Figure == "" || f.Peer == "" || i > 0 && f.Ratio > worst[i-1].Ratio {
			t.Errorf("%d: %+v", i, f)
		}
	}
	again, err := Search(t.Context(), 16, 3, nil)
	if err != nil || !reflect.DeepEqual(worst, again) {
		t.Errorf("the same seed found others (%v)", err)
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := Search(ctx, 1, 1, nil); !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
}

func TestYAMLLeavesOutWhatIsNotSet(t *testing.T) {
	s := Scenario{Name: "a", Ask: 1500 * time.Microsecond, Drag: []Drag{{Servers: []int{1, 2}, Speed: .5}}, Blind: true}
	want := "name: \"a\"\nask: 1.5ms\ndrag: [{servers: [1, 2], speed: 0.5}]\nblind: true\n"
	if got := s.YAML(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
