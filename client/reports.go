package client

import (
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// maxPending bounds the servers whose reports wait to be sent. Reports of further servers are dropped: what
// cannot be sent now is stale when it can.
const maxPending = 4096

// pendingReports keeps the latest report of each server until it is sent. It copies its input and reuses its
// slices.
type pendingReports struct {
	list     []wire.PoolReport // Age is as of storedAt
	storedAt []balance.Instant
	index    map[reportKey]int
	interner interner
}

type reportKey struct {
	pool   string
	server balance.ServerID
}

// put stores a report in place of an older one.
func (p *pendingReports) put(now balance.Instant, pool string, r *balance.Report) {
	at, known := p.index[reportKey{pool, r.Server}]
	if known && len(r.Metrics) == 0 && (len(p.list[at].Report.Metrics) > 0 || now.Add(-r.Age) < p.storedAt[at].Add(-p.list[at].Report.Age)) {
		return // metrics that wait prove that the server is alive, and so does a later report
	}
	if !known {
		if at = len(p.list); at == maxPending {
			return
		}
		if p.index == nil {
			p.index = make(map[reportKey]int)
		}
		p.list, p.storedAt = extend(p.list), append(p.storedAt, 0)
		p.list[at].Pool = p.interner.intern(pool)
		p.list[at].Report.Server = balance.ServerID(p.interner.intern(string(r.Server)))
		p.index[reportKey{p.list[at].Pool, p.list[at].Report.Server}] = at
	}
	p.storedAt[at] = now
	to := &p.list[at].Report
	to.Age, to.Window, to.Metrics = r.Age, r.Window, to.Metrics[:0]
	for _, m := range r.Metrics[:min(len(r.Metrics), wire.MaxMetrics)] {
		to.Metrics = append(to.Metrics, balance.Metric{Name: p.interner.intern(m.Name), Value: m.Value})
	}
}

// take removes up to n reports, with their age as of now. They are valid until the next put.
func (p *pendingReports) take(now balance.Instant, n int) []wire.PoolReport {
	from := max(0, len(p.list)-n)
	taken := p.list[from:]
	for i := range taken {
		r := &taken[i]
		r.Report.Age += now.Sub(p.storedAt[from+i])
		delete(p.index, reportKey{r.Pool, r.Report.Server})
	}
	p.list, p.storedAt = p.list[:from], p.storedAt[:from]
	return taken
}

// extend returns s with one more element. It is the one that stood there before, so that slices within it are
// reused.
func extend[T any](s []T) []T {
	if len(s) < cap(s) {
		return s[:len(s)+1]
	}
	var zero T
	return append(s, zero)
}

// interner keeps one copy of each string that recurs.
type interner map[string]string

// maxNames bounds an interner; beyond it all strings are forgotten.
const maxNames = 1 << 15

func (n *interner) intern(s string) string {
	if kept, ok := (*n)[s]; ok {
		return kept
	}
	if *n == nil || len(*n) >= maxNames {
		*n = make(interner)
	}
	s = strings.Clone(s)
	(*n)[s] = s
	return s
}
