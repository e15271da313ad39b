package client

import (
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// maxPending is how many servers' reports wait to be sent. Those of further servers are
// dropped: what cannot be sent now is stale when it can.
const maxPending = 4096

// pending keeps the latest report of each server until it is sent. It copies what it is
// given, and its slices are used again and again.
type pending struct {
	list  []wire.PoolReport // Age is as given; kept tells when
	kept  []balance.Instant
	index map[reportKey]int
	names names
}

type reportKey struct {
	pool   string
	server balance.ServerID
}

// put keeps a report in the place of an older one.
func (p *pending) put(now balance.Instant, pool string, r *balance.Report) {
	at, known := p.index[reportKey{pool, r.Server}]
	if known && len(r.Metrics) == 0 && (len(p.list[at].Report.Metrics) > 0 || now.Add(-r.Age) < p.kept[at].Add(-p.list[at].Report.Age)) {
		return // figures that wait are a sign of life too, and so is a later one
	}
	if !known {
		if at = len(p.list); at == maxPending {
			return
		}
		if p.index == nil {
			p.index = make(map[reportKey]int)
		}
		p.list, p.kept = longer(p.list), append(p.kept, 0)
		p.list[at].Pool = p.names.keep(pool)
		p.list[at].Report.Server = balance.ServerID(p.names.keep(string(r.Server)))
		p.index[reportKey{p.list[at].Pool, p.list[at].Report.Server}] = at
	}
	p.kept[at] = now
	to := &p.list[at].Report
	to.Age, to.Window, to.Metrics = r.Age, r.Window, to.Metrics[:0]
	for _, m := range r.Metrics[:min(len(r.Metrics), wire.MaxMetrics)] {
		to.Metrics = append(to.Metrics, balance.Metric{Name: p.names.keep(m.Name), Value: m.Value})
	}
}

// take removes up to n reports, with their age as of now. They are valid until the next put.
func (p *pending) take(now balance.Instant, n int) []wire.PoolReport {
	from := max(0, len(p.list)-n)
	taken := p.list[from:]
	for i := range taken {
		r := &taken[i]
		r.Report.Age += now.Sub(p.kept[from+i])
		delete(p.index, reportKey{r.Pool, r.Report.Server})
	}
	p.list, p.kept = p.list[:from], p.kept[:from]
	return taken
}

// longer returns s with one element more, which is what stood there before, so that
// slices within it are used again.
func longer[T any](s []T) []T {
	if len(s) < cap(s) {
		return s[:len(s)+1]
	}
	var zero T
	return append(s, zero)
}

// names keeps one copy of each string that comes in again and again.
type names map[string]string

// maxNames bounds them; beyond it all are forgotten and learnt anew.
const maxNames = 1 << 15

func (n *names) keep(s string) string {
	if kept, ok := (*n)[s]; ok {
		return kept
	}
	if *n == nil || len(*n) >= maxNames {
		*n = make(names)
	}
	s = strings.Clone(s)
	(*n)[s] = s
	return s
}
