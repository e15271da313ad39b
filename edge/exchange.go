package edge

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/orca"
)

// exchange is one client request on its way through the edge, whichever engine
// carries its bytes: the shell around a Flight. The engine opens it, starts it, tells
// it how each link went, and closes it in any case. Not safe for concurrent use.
type exchange struct {
	edge     *Edge
	listener *listener
	route    *route // nil: none matches
	head     head
	id       string   // of the request, for people
	made     [32]byte // room for an id of our own
	client   netip.Addr
	recall   *recall
	asker    asker  // nil: whoever drives the exchange may wait for the master
	books    *books // of the exchange's loop; nil: none carries it
	tally    *tally // of the route's pool, where the exchange is counted
	started  bool   // flight has begun
	flight   flight.Flight
	request  balance.Request
	linked   *int          // where the last grant counts as in flight; nil: it does not
	offer    balance.Grant // what the last ask was granted
	grant    balance.Grant // of the last link or redirect
	began    balance.Instant
	asked    balance.Instant // the last ask
	picking  time.Duration   // spent on asks
	waiting  time.Duration   // of that, in the master's queue
	attempts int             // links
	result   balance.Result  // of the last link
	spoke    string          // version of HTTP in which the server answered; empty: 1.1
	status   int             // what the client was told; zero: nothing
	bytes    int64           // of the response's body, or of what a tunnel brought to the client
}

// asker asks in the place of an engine that must not wait.
type asker interface {
	// ask sends x.request to the pool, and puts what is granted into x.offer. If there is
	// no answer yet it returns false, and gives the answer to x.resume once it is there.
	// The request and its recall must not be touched until then.
	ask(x *exchange) (answered bool, err error)
}

// statusGone stands in logs and metrics where the client left before it was told anything.
const statusGone = 499

// now returns the present time.
func (x *exchange) now() balance.Instant {
	if x.books != nil {
		return x.books.now
	}
	return clock.Now()
}

// count counts n more exchanges open, fewer if it is negative.
func (x *exchange) count(n int64) {
	if x.books != nil {
		x.books.open += n
		return
	}
	x.edge.open.Add(n)
}

// take makes the route, which may be none, the exchange's.
func (x *exchange) take(r *route) {
	x.count(1)
	if x.route = r; r == nil {
		return
	}
	x.tally = &r.pool.tally
	if x.books != nil {
		x.tally = &x.books.tallies[r.pool.number]
	}
	x.tally.enter(1)
}

// open begins an exchange in x. A non-zero answer is what the client is to be told
// instead of starting it. The head's strings must last until close.
func (x *exchange) open(e *Edge, l *listener, h *head, r *recall) flight.Answer {
	books := x.books
	*x = exchange{} // where it is: it is large
	x.edge, x.listener, x.head, x.books, x.recall = e, l, *h, books, r
	x.began = x.now()
	x.id = x.requestID(h.first("x-request-id"))
	x.client = l.client(&x.head)
	x.take(l.routes.match(h.host, h.path))
	switch {
	case h.method == http.MethodConnect:
		return flight.Answer{Status: http.StatusNotImplemented, Reason: reasonUnsupported}
	case !strings.HasPrefix(h.target, "/"):
		return flight.Answer{Status: http.StatusBadRequest, Reason: reasonTarget}
	case x.route == nil:
		return flight.Answer{Status: http.StatusNotFound, Reason: reasonNoRoute}
	case x.route.ServerProtocol == HTTP2 && h.proto != version2:
		return flight.Answer{Status: http.StatusUpgradeRequired, Reason: reasonHTTP2Only}
	}
	return flight.Answer{}
}

// start asks for a server. The step it returns, as that of failed and resume, is to
// Link or ends the exchange; with an asker, it may be to Wait until resume is called.
func (x *exchange) start() flight.Step {
	r, h := x.route, &x.head
	link := r.Link
	if h.upgrade {
		link = balance.LinkRoute
	}
	q := &x.request
	q.Edge, q.Key, q.Client, q.Tenant = x.edge.cfg.ID, r.key.read(h, x.client), x.client, r.tenant.read(h, x.client)
	q.Link, q.Method, q.Host, q.Path = link, h.method, h.host, h.path
	r.pool.arrived()
	x.started = true
	return x.settle(x.flight.Begin(flight.Facts{Method: h.method, Link: link}, flight.Limits{}))
}

// settle takes the steps that need no bytes carried.
func (x *exchange) settle(step flight.Step) flight.Step {
	for {
		if step.Done.Lease != 0 {
			x.giveBack(step.Done)
		}
		if step.Done != (flight.Done{}) {
			x.result = step.Done.Outcome.Result
		}
		switch step.Do {
		case flight.Ask:
			answered, err := x.ask(step.Exclude)
			if !answered {
				return flight.Step{Do: flight.Wait}
			}
			step = x.answered(err)
		case flight.Choose:
			step = x.choose(step.Exclude)
		case flight.Link:
			x.grant = *step.Grant
			x.attempts++
			x.linked = x.route.pool.hold(step.Grant.Server)
			return step
		case flight.Redirect:
			x.grant = *step.Grant
			return step
		default:
			return step
		}
	}
}

// giveBack ends a lease.
func (x *exchange) giveBack(d flight.Done) {
	if t := x.edge.taker; t != nil && x.books != nil {
		t.GiveBack(x.books.now, x.route.Pool, d.Lease, d.Outcome)
		return
	}
	x.edge.picker.Done(x.route.Pool, d.Lease, d.Outcome)
}

// askGrace is how much longer than the request's deadline an answer may take. A
// master that is silent beyond it is taken for none.
const askGrace = 250 * time.Millisecond

func (x *exchange) ask(exclude []balance.ServerID) (answered bool, err error) {
	x.asked = x.now()
	x.request.Exclude, x.request.Deadline = exclude, x.asked.Add(x.route.timeout)
	if x.asker != nil {
		return x.asker.ask(x)
	}
	x.recall.expect(x.request.Deadline.Add(askGrace))
	x.offer, err = x.edge.picker.Pick(x.recall.context(), x.route.pool.name, &x.request)
	x.recall.heard()
	return true, err
}

// resume goes on with the answer to an ask that its asker had to wait for.
func (x *exchange) resume(grant balance.Grant, err error) flight.Step {
	x.offer = grant
	return x.settle(x.answered(err))
}

// answered takes what was said to the last ask: x.offer, or an error.
func (x *exchange) answered(err error) flight.Step {
	p, now := x.route.pool, x.now()
	x.picking += now.Sub(x.asked)
	x.tally.pick(now.Sub(x.asked), err == nil)
	if err == nil {
		x.waiting += x.offer.Waited
		return x.flight.Granted(now, &x.offer)
	}
	var refusal *balance.Refusal
	switch {
	case errors.As(err, &refusal):
		p.picks(refusal.Reason.String())
		return x.flight.Refused(refusal)
	case x.recall.left():
		p.picks("canceled")
		return x.flight.Gone(now)
	}
	x.recall.forgive()
	p.picks("no-master")
	x.edge.cfg.Log.Debug("no master answers", "pool", p.name, "err", err)
	return x.flight.NoMaster()
}

func (x *exchange) choose(exclude []balance.ServerID) flight.Step {
	p := x.route.pool
	var snap *balance.Snapshot
	if x.edge.snapshots != nil {
		snap = x.edge.snapshots.Snapshot(p.name)
	}
	server, reason := p.fallback(snap, exclude)
	if reason != "" {
		return x.flight.NoChoice(reason)
	}
	p.fallbacks.Inc()
	return x.flight.Chosen(x.now(), server)
}

// failed says that the link came to nothing. If the client has left, that is why.
func (x *exchange) failed(why flight.Failure, err error) flight.Step {
	x.unlink()
	if x.recall.left() {
		return x.gone()
	}
	p, now := x.route.pool, x.now()
	if log := x.edge.cfg.Log; log.Enabled(context.Background(), slog.LevelDebug) {
		log.Debug("link failed", "pool", p.name, "server", x.grant.Server, "lease", x.grant.Lease, "err", err)
	}
	step := x.flight.Failed(now, why, func() bool { return p.mayRetry(now) })
	if step.Do == flight.Ask {
		p.retries.Inc()
	}
	return x.settle(step)
}

// finished says that the link is over in good order.
func (x *exchange) finished() {
	x.unlink()
	x.settle(x.flight.Finished(x.now(), x.status))
}

// gone says that the client has left, or cannot be served for a reason of its own.
func (x *exchange) gone() flight.Step {
	x.unlink()
	return x.settle(x.flight.Gone(x.now()))
}

// parted says that a tunnel is over, and which side broke it off.
func (x *exchange) parted(broke int) {
	switch {
	case x.recall.left() || broke == clientSide:
		x.gone()
	case broke == serverSide:
		x.failed(flight.Failure{Sent: true, Begun: true}, errBrokeOff)
	default:
		x.finished()
	}
}

// abandon takes the exchange back, as if it had not been opened: the request begins
// anew elsewhere.
func (x *exchange) abandon() {
	x.gone()
	x.count(-1)
	x.tally.enter(-1)
}

func (x *exchange) unlink() {
	if x.linked != nil {
		x.route.pool.release(x.linked)
		x.linked = nil
	}
}

// reported passes on the load report among the fields or trailers of a response.
func (x *exchange) reported(values func(lower string) []string) {
	// The figures' names are kept by whoever learns of them, longer than the buffer lasts.
	metrics, err := orca.Parse(func(name string) []string {
		told := values(name)
		for i := range told {
			told[i] = strings.Clone(told[i])
		}
		return told
	})
	if err != nil {
		x.route.pool.badReports.Inc()
		x.edge.cfg.Log.Debug("load report", "pool", x.route.Pool, "server", x.grant.Server, "err", err)
	}
	if len(metrics) > 0 {
		x.edge.picker.Report(x.route.Pool, balance.Report{Server: x.grant.Server, Metrics: metrics})
	}
}

// location is where a redirected client finds its server.
func (x *exchange) location() string {
	base := x.grant.Public
	if base == "" {
		base = balance.BaseURL(x.grant.Address)
	}
	location := strings.TrimSuffix(base, "/") + x.head.target
	if x.route.LeaseParam == "" || x.grant.Lease == 0 {
		return location
	}
	mark := "?"
	if strings.Contains(location, "?") {
		mark = "&"
	}
	return location + mark + x.route.LeaseParam + "=" + x.grant.Lease.String()
}

// redirect appends the answer that sends the client to the server.
func (x *exchange) redirect(dst []byte, closing bool) []byte {
	lease := ""
	if x.grant.Lease != 0 {
		lease = x.grant.Lease.String()
	}
	x.status = 307
	return appendRedirect(dst, x.location(), lease, x.id, closing)
}

// close ends the exchange however far it came, counts it and writes the access log.
func (x *exchange) close() {
	if x.started && !x.flight.Over() {
		x.gone()
	}
	if x.status == 0 {
		x.status = statusGone
	}
	x.count(-1)
	took := x.now().Sub(x.began)
	name := "" // of the pool
	if x.route != nil {
		name = x.route.pool.name
		x.tally.answer(x.status, took)
	} else {
		x.edge.metrics.unrouted(x.status)
	}
	if log := x.edge.cfg.AccessLog; log != nil {
		x.log(log, name, took)
	}
}

func (x *exchange) log(log *slog.Logger, pool string, took time.Duration) {
	lease, result := "", ""
	if x.grant.Lease != 0 {
		lease = x.grant.Lease.String()
	}
	if x.attempts > 0 {
		result = x.result.String()
	}
	log.LogAttrs(context.Background(), slog.LevelInfo, "request",
		slog.String("method", strings.Clone(x.head.method)), slog.String("host", strings.Clone(x.head.host)), slog.String("path", strings.Clone(x.head.path)),
		slog.Int("status", x.status), slog.Int64("bytes", x.bytes),
		slog.Float64("duration_ms", milliseconds(took)), slog.Float64("pick_ms", milliseconds(x.picking)),
		slog.String("pool", pool), slog.String("server", string(x.grant.Server)), slog.String("lease", lease),
		slog.String("edge", string(x.edge.cfg.ID)), slog.String("client", node(x.client)), slog.Int("attempts", x.attempts), slog.String("result", result),
		slog.String("request", strings.Clone(x.id)))
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
