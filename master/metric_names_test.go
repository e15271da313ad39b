package master

import (
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func TestReportsByForm(t *testing.T) {
	r := start(t, web("a", "b"))
	values := func(v ...float64) (m []balance.Metric) {
		for _, v := range v {
			m = append(m, balance.Metric{Value: v})
		}
		return m
	}
	a := r.dialAgent("a")
	a.send(&wire.Form{Number: 3, Names: []string{"named_metrics.x", balance.CPUUtilization}},
		&wire.Reports{Reports: []wire.PoolReport{{Form: 3, Report: balance.Report{Metrics: values(7, .5)}}}})
	a.sync()
	e := r.dialEdge("e1")
	e.send(&wire.Form{Number: 1, Names: []string{balance.CPUUtilization}})
	e.ask(wire.Ask{Seq: 1, Pool: "web", Reports: []wire.PoolReport{{Form: 1, Report: balance.Report{Server: "b", Metrics: values(.25)}}}})
	e.granted()
	for id, want := range map[balance.ServerID][]balance.Metric{"a": {{Name: "named_metrics.x", Value: 7}, {Name: balance.CPUUtilization, Value: .5}}, "b": {{Name: balance.CPUUtilization, Value: .25}}} {
		var got []balance.Metric
		for _, m := range r.view(id).Metrics {
			got = append(got, m.Metric)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has reported %v, want %v", id, got, want)
		}
	}
	for name, bad := range map[string]message{
		"a form that was not told":  &wire.Reports{Reports: []wire.PoolReport{{Form: 5, Report: balance.Report{Metrics: values(1)}}}},
		"another number of values":  &wire.Reports{Reports: []wire.PoolReport{{Form: 1, Report: balance.Report{Metrics: values(1, 2)}}}},
		"a form without any number": &wire.Form{Names: []string{"x"}},
	} {
		p := r.dialEdge("e-" + strings.ReplaceAll(name, " ", "-"))
		p.send(&wire.Form{Number: 1, Names: []string{"x"}}, bad)
		var fail wire.Fail
		if p.want(wire.TFail, &fail); fail.Code != wire.BadFrame {
			t.Errorf("%s: %v, want a bad frame", name, &fail)
		}
	}
}

func TestFormsAreShared(t *testing.T) {
	var f metricNames
	one, other := f.intern([]string{"a", "", "bc"}), f.intern([]string{"a", "", "bc"})
	if &one[0] != &other[0] || !slices.Equal(one, []string{"a", "", "bc"}) {
		t.Errorf("%q and %q, want one list", one, other)
	}
	lent := []byte("alone")
	own := f.intern([]string{unsafe.String(&lent[0], len(lent))})
	copy(lent, "again")
	if own[0] != "alone" {
		t.Errorf("got %q, want a copy that outlives the buffer it was read into", own[0])
	}
	if split := f.intern([]string{"a\x00", "bc"}); !slices.Equal(split, []string{"a\x00", "bc"}) {
		t.Errorf("got %q", split)
	}
}
