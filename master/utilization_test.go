package master

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func TestFormula(t *testing.T) {
	reported := map[string]float64{balance.CPUUtilization: .5, balance.MemUtilization: .25, "named_metrics.kv": .75, "named_metrics.kv-cache": .125, "utilization.gpu": 1.5, "zero": 0}
	read := func(name string) (float64, bool) { v, ok := reported[name]; return v, ok }
	for text, want := range map[string]float64{
		"cpu_utilization":                               .5,
		"max(cpu_utilization, named_metrics.kv)":        .75,
		`named_metrics["kv-cache"]`:                     .125,
		`metric("named_metrics.kv-cache") * 2`:          .25,
		"utilization.gpu - mem_utilization":             1.25,
		"application_utilization ?? cpu_utilization":    .5,
		"named_metrics.none ?? 0":                       0,
		"cpu_utilization > .4 ? 1 : 0":                  1,
		"let u = cpu_utilization; u * u":                .25,
		"1":                                             1,
		"mean([cpu_utilization, named_metrics.kv])":     .625,
		"application_utilization":                       math.NaN(), // not reported
		"application_utilization + cpu_utilization":     math.NaN(),
		"max(application_utilization, cpu_utilization)": math.NaN(),
		`metric("none")`:                                math.NaN(),
	} {
		f, err := newFormula(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for range 2 { // the second time on a used machine
			got, ok := f(read)
			if ok != !math.IsNaN(want) || ok && got != want {
				t.Errorf("%s: got %v, %v, want %v", text, got, ok, want)
			}
		}
	}
	if f, err := newFormula(""); f != nil || err != nil {
		t.Errorf("no formula: got %v, want nil", err)
	}
}

func TestFormulaProblemsTellTheColumn(t *testing.T) {
	for text, want := range map[string]string{
		"cpu_utilisation":                `column 1, at "cpu_utilisation": unknown name cpu_utilisation`,
		"max(cpu_utilization, memory)":   `column 22, at "memory)": unknown name memory`,
		"cpu_utilization +":              "column 17",
		"cpu_utilization $ 2":            "column 17",
		`"full"`:                         "want a number, got string",
		"len([1])":                       "column 1",
		"sum(map(1..1000000000, # * 2))": `column 24, at "# * 2))": a formula has no loops`,
		"count([1], true) / 3":           "a formula has no loops",
		"named_metrics":                  "unknown name named_metrics",
		"cpu_utilization\n + wrong":      `line 2, column 4, at "wrong": unknown name wrong`,
		strings.Repeat("1+", 600) + "1":  "1201 bytes, want at most 1000",
		strings.Repeat("(", 999):         "column",
		"metric(1)":                      "column 8",
		"cpu_utilization = 1":            "column 17",
	} {
		f, err := newFormula(text)
		if err == nil || f != nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line with %q", text, err, want)
		}
	}
}

// The first request after two first reports goes where the formula says that there is room, whatever chance the pool draws by.
func TestFormulaSteers(t *testing.T) {
	for n := range uint64(30) {
		cfg := web("a", "b")
		cfg.Seed = (n + 1) * 0x9e3779b97f4a7c15
		cfg.Pools[0].Utilization = "named_metrics.kv_cache"
		t.Run(fmt.Sprintf("seed=%x", cfg.Seed), func(t *testing.T) {
			r := start(t, cfg)
			e := r.dialEdge("e1")
			report := func(id balance.ServerID, kv, cpu float64) wire.PoolReport {
				return wire.PoolReport{Pool: "web", Report: balance.Report{Server: id, Metrics: []balance.Metric{{Name: "named_metrics.kv_cache", Value: kv}, {Name: balance.CPUUtilization, Value: cpu}}}}
			}
			full, idle := balance.ServerID("a"), balance.ServerID("b")
			if n%2 == 1 {
				full, idle = idle, full
			}
			e.ask(wire.Ask{Seq: 1, Pool: "web", Reports: []wire.PoolReport{report(full, .8, 0), report(idle, 0, .8)}})
			if g := e.granted(); g.Grant.Server != idle {
				t.Errorf("got %s, want %s: by the formula the other is full", g.Grant.Server, idle)
			}
		})
	}
}

// FuzzFormula wants neither a panic nor a formula that is no number.
func FuzzFormula(f *testing.F) {
	for _, text := range []string{"cpu_utilization", "max(a, 1) ?? 2", "named_metrics.x[1]", "1..5", `metric("x")`, "let a = 1; a"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		formula, err := newFormula(text)
		if err == nil && formula != nil {
			formula(func(string) (float64, bool) { return .5, true })
		}
	})
}

func BenchmarkFormula(b *testing.B) {
	f, err := newFormula("max(cpu_utilization, named_metrics.kv_cache, named_metrics.running / 32)")
	if err != nil {
		b.Fatal(err)
	}
	read := func(name string) (float64, bool) { return float64(len(name)) / 100, true }
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := f(read); !ok {
			b.Fatal("no value")
		}
	}
}
