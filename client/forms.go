package client

import (
	"slices"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// forms is which names of metrics the master has been told of on this connection. A
// server reports the same ones again and again, so that most reports are bare values.
type forms struct {
	told [][]string // by number less one
	last int        // that a report had
}

// give puts reports that are about to be sent into forms, and appends to out those that
// the master must be told of first. Once there are wire.MaxForms others keep their names.
func (f *forms) give(out []byte, reports []wire.PoolReport) []byte {
	for i := range reports {
		r := &reports[i]
		r.Form = 0
		metrics := r.Report.Metrics
		if len(metrics) == 0 {
			continue
		}
		if f.last >= len(f.told) || !fits(f.told[f.last], metrics) {
			at := slices.IndexFunc(f.told, func(names []string) bool { return fits(names, metrics) })
			if at < 0 && len(f.told) == wire.MaxForms {
				continue
			}
			if f.last = at; at < 0 {
				f.last = len(f.told)
				out = f.tell(out, metrics)
			}
		}
		r.Form = uint32(f.last + 1)
	}
	return out
}

func (f *forms) tell(out []byte, metrics []balance.Metric) []byte {
	names := make([]string, len(metrics))
	for i := range metrics {
		names[i] = metrics[i].Name // pending keeps them: they lie in nobody's buffer
	}
	f.told = append(f.told, names)
	return (&wire.Form{Number: uint32(len(f.told)), Names: names}).Append(out)
}

func fits(names []string, metrics []balance.Metric) bool {
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

// forget is called for a new connection.
func (f *forms) forget() { *f = forms{} }
