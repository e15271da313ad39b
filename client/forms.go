package client

import (
	"slices"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// forms is the lists of metric names that the master has been sent on this connection. A server reports the
// same names again and again, so most reports carry values only.
type forms struct {
	sent [][]string // by form number less one
	last int        // index of the form that the previous report had
}

// assign assigns forms to reports that are about to be sent, and appends to out the forms that the master has
// to be sent first. Once there are wire.MaxForms, all other reports keep their names.
func (f *forms) assign(out []byte, reports []wire.PoolReport) []byte {
	for i := range reports {
		r := &reports[i]
		r.Form = 0
		metrics := r.Report.Metrics
		if len(metrics) == 0 {
			continue
		}
		if f.last >= len(f.sent) || !sameNames(f.sent[f.last], metrics) {
			at := slices.IndexFunc(f.sent, func(names []string) bool { return sameNames(names, metrics) })
			if at < 0 && len(f.sent) == wire.MaxForms {
				continue
			}
			if f.last = at; at < 0 {
				f.last = len(f.sent)
				out = f.define(out, metrics)
			}
		}
		r.Form = uint32(f.last + 1)
	}
	return out
}

func (f *forms) define(out []byte, metrics []balance.Metric) []byte {
	names := make([]string, len(metrics))
	for i := range metrics {
		names[i] = metrics[i].Name // pendingReports owns these strings: they share no buffer
	}
	f.sent = append(f.sent, names)
	return (&wire.Form{Number: uint32(len(f.sent)), Names: names}).Append(out)
}

func sameNames(names []string, metrics []balance.Metric) bool {
	if len(names) != len(metrics) {
		return false
	}
	for i := range names {
		if names[i] != metrics[i].Name {
			return false
		}
	}
	return true
}

// reset starts anew for a new connection.
func (f *forms) reset() { *f = forms{} }
