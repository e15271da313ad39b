package client

import (
	"fmt"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func TestFormsAreToldOnceAndAreFew(t *testing.T) {
	var f forms
	report := func(n int, first string) []wire.PoolReport {
		r := []wire.PoolReport{{Form: 9}}
		for i := range n {
			r[0].Report.Metrics = append(r[0].Report.Metrics, balance.Metric{Name: fmt.Sprint(first, i), Value: 1})
		}
		return r
	}
	for i := range 2 * wire.MaxForms {
		for again := range 2 {
			r := report(3, fmt.Sprint("m", i, "-"))
			out := f.assign(nil, r)
			want := uint32(i + 1)
			if i >= wire.MaxForms {
				want = 0
			}
			if r[0].Form != want || (len(out) > 0) != (want != 0 && again == 0) {
				t.Fatalf("report %d: form %d and %d bytes, want form %d, told the first time", i, r[0].Form, len(out), want)
			}
		}
	}
	if r := report(0, ""); len(f.assign(nil, r)) > 0 || r[0].Form != 0 {
		t.Errorf("a report without metrics has form %d", r[0].Form)
	}
	if r := report(3, "m5-"); len(f.assign(nil, r)) > 0 || r[0].Form != 6 {
		t.Errorf("a form that was told long ago is now %d", r[0].Form)
	}
}
