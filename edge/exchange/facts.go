package exchange

import (
	"log/slog"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/prometheus/client_golang/prometheus"
)

// readKey determines the request's key.
func (x *Exchange) readKey() {
	var how routing.Reading
	x.Request.Key, how = x.Route.KeySource.Read(&x.Head, x.ClientAddr)
	x.faults.Note(routing.FactKey, how)
}

// readFacts determines what the request says about its work, and counts what cannot be read. A client never sees an
// error for that.
func (x *Exchange) readFacts() {
	q, facts := &x.Request, x.Route.BoundFacts
	if facts != nil {
		d, faults := facts.Read(&x.Head, x.ClientAddr, x.listener.Trusts(x.Head.Peer), q, &x.text)
		x.setDeadline(d)
		x.faults.Unreadable |= faults.Unreadable
		x.faults.Unbuffered |= faults.Unbuffered
	}
	if q.Class == "" {
		q.Class = x.Route.DefaultClass(&x.Head, x.GRPC)
	}
	if x.faults != (routing.FactFaults{}) {
		countFacts(x.deps.Metrics.unreadable, x.Pool.Name, x.faults.Unreadable)
		countFacts(x.deps.Metrics.unbuffered, x.Pool.Name, x.faults.Unbuffered)
	}
}

// farDeadline is after how long a deadline makes no difference; more would not fit an Instant.
const farDeadline = 100 * 365 * 24 * time.Hour

// setDeadline sets when the answer is worthless, by the request's own word.
func (x *Exchange) setDeadline(d routing.Deadline) {
	if !d.At.IsZero() {
		d.In = min(time.Until(d.At), farDeadline)
	} else if d.In == 0 {
		return
	}
	x.deadline = max(1, x.startedAt.Add(d.In)) // zero would stand for none
}

// countFacts counts facts, a bit for each.
func countFacts(m *prometheus.CounterVec, pool string, facts uint16) {
	for ; facts != 0; facts &= facts - 1 {
		m.WithLabelValues(pool, routing.Fact(bits.TrailingZeros16(facts)).String()).Inc()
	}
}

// fieldSize is routing.HeaderSize in lower case.
const fieldSize = "evenkeel-size"

// noteSize takes the size that a server says a request was; empty: it does not say.
func (x *Exchange) noteSize(told string) {
	if told == "" {
		return
	}
	if v, err := strconv.ParseFloat(told, 64); err == nil && v > 0 && v <= balance.MaxSize {
		x.doneSize = v
		return
	}
	x.Pool.badReports.Inc()
}

// measure adds to an outcome what was measured of the link: when its response began, and how much it was. Its
// duration is set.
func (x *Exchange) measure(o *balance.Outcome) {
	if x.firstByteAt == 0 {
		return
	}
	o.FirstByte = max(1, x.firstByteAt.Sub(x.now().Add(-o.Duration))) // zero would stand for not measured
	o.Bytes, o.Size = x.Bytes, x.doneSize
}

// appendFacts appends the request's size and class for the log: a class only if the route says where it is, since the
// others follow from method and route.
func (x *Exchange) appendFacts(attrs []slog.Attr) []slog.Attr {
	q := &x.Request
	if q.Size != 0 {
		attrs = append(attrs, slog.Float64("size", q.Size))
	}
	if x.doneSize != 0 {
		attrs = append(attrs, slog.Float64("size_done", x.doneSize))
	}
	if x.Route != nil && x.Route.BoundFacts.NamesClass() && q.Class != "" {
		attrs = append(attrs, slog.String("class", strings.Clone(q.Class)))
	}
	return attrs
}
