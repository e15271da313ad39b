package edge

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/orca"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// exchange is one client request on its way through the edge, without the bytes: the shell around a Flight.
// Its connection opens it, starts it, reports how each link went, and finishes it in any case. Not safe for
// concurrent use.
type exchange struct {
	surroundings
	requestFacts
	picking
	currentLink
	outcome
}

// surroundings are what an exchange works with. It owns none of it.
type surroundings struct {
	deps     *deps
	listener *routing.BoundListener
	route    *routing.BoundRoute // nil: none matches
	pool     *pool               // the route's; nil: there is no route
	cancel   *cancellation
	asker    asker            // the connection whose request it is
	loop     *loopStats       // of the exchange's loop; nil: no loop has it
	clock    *balance.Instant // the loop's current time; nil: no loop has it
	stats    *poolStats       // of the route's pool, where the exchange is counted
}

// requestFacts are what is known of the request.
type requestFacts struct {
	head      routing.RequestInfo
	text      routing.OwnedText // head's strings, and id
	newPath   bool              // head's path differs from the client's; the request is forwarded with it
	id        string            // of the request, for people
	idBuf     [32]byte          // buffer for a generated id
	via       []string          // the request's, while its fields are valid
	client    netip.Addr
	clientKey limits.ClientKey // how routing.ClientLimiter counts it; zero: not at all
	grpc      bool             // it is a gRPC request
	disbelief error            // why the request's tenant is not believed; nil: it is, or there is none
	startedAt balance.Instant
}

// picking is the state of asks for a server.
type picking struct {
	started  bool // flight has begun
	flight   flight.Flight
	request  balance.Request
	pending  balance.Grant    // the last grant, not used yet
	refusal  *balance.Refusal // of the last ask; nil: it was granted, or is not answered
	askedAt  balance.Instant  // the last ask; zero: there was none
	pickTime time.Duration    // spent on asks
	waiting  time.Duration    // of that, in the master's queue

	chosenHere bool // the edge has chosen the last grant's server itself
}

// currentLink is the last link, or the redirect.
type currentLink struct {
	grant        balance.Grant
	inFlight     *int            // where it counts as in flight; nil: it does not
	attempts     int             // links so far
	lifeReportAt balance.Instant // when the master was last told that bytes come from the server, or granted it
	lastByte     balance.Instant // when the server last sent, or was granted
	owesNothing  bool            // the master was told that the server owes nothing
	reply        flight.Reply    // what the last response says about the server
	serverProto  string          // the server's HTTP version; empty: 1.1
}

// outcome is what became of the request, for the log and the metrics.
type outcome struct {
	result  balance.Result // of the last link
	failure string         // why the last failed link failed; empty: none has, or the reason is unknown
	reason  string         // why the edge answered instead of a server; empty: it did not
	detail  string         // the same for people, where reason is not enough
	status  int            // as sent to the client; zero: none
	code    int            // gRPC status as sent to the client; grpcNone: none
	bytes   int64          // of the response body, or sent by a tunnel to the client
}

// asker asks without blocking.
type asker interface {
	// ask sends x.request to the pool and stores a grant in x.pending. If there is no answer yet it returns
	// false, and calls x.resumePick later. The request and its cancellation must not be touched until then.
	ask(x *exchange) (answered bool, err error)
}

// statusGone is logged and counted if the client left before a response.
const statusGone = 499

// now returns the current time.
func (x *exchange) now() balance.Instant {
	if x.clock != nil {
		return *x.clock
	}
	return clock.Now()
}

// countOpen adds n to the open exchanges.
func (x *exchange) countOpen(n int64) {
	if x.loop != nil {
		x.loop.openExchanges += n
		return
	}
	x.deps.open.Add(n)
}

// setRoute sets the route; nil: none matches.
func (x *exchange) setRoute(r *routing.BoundRoute) {
	x.countOpen(1)
	if x.route = r; r == nil {
		return
	}
	x.pool = x.deps.pools[r.PoolNumber]
	x.stats = &x.pool.stats
	if x.loop != nil {
		x.stats = &x.loop.pools[r.PoolNumber]
	}
	x.stats.addInFlight(1)
}

// renew empties x for a request, in place: it is large.
func (x *exchange) renew(d *deps, l *routing.BoundListener, r *cancellation) {
	loop, clock, text := x.loop, x.clock, x.text
	*x = exchange{}
	x.deps, x.listener, x.loop, x.clock, x.text, x.cancel = d, l, loop, clock, text, r
	x.text.Reset()
	x.startedAt, x.code = x.now(), grpcNone
}

// init begins an exchange in x. A non-zero answer is to be sent to the client instead of starting it. The
// head's strings are copied; its fields must be valid until the last link has ended.
func (x *exchange) init(d *deps, l *routing.BoundListener, h *routing.RequestInfo, r *cancellation) flight.Answer {
	x.renew(d, l, r)
	x.head = h.Clone(&x.text)
	h = &x.head
	x.id = x.requestID(h.First("x-request-id"))
	x.via = h.All("via")
	x.client = l.ClientAddr(&x.head)
	refused := flight.Answer{}
	route, newPath, ambiguous := l.FindRoute(&x.head)
	if x.newPath = newPath; ambiguous {
		x.setRoute(nil)
		refused = flight.Answer{Status: http.StatusBadRequest, Reason: reasonPath}
	} else {
		x.setRoute(route)
	}
	x.grpc = h.Proto == routing.HTTPVersion2 && h.Method == http.MethodPost && isGRPC(h.First("content-type"))
	if c := l.Limiter; c != nil && c.Requests != nil {
		if answer := x.limitClient(c); answer.Status != 0 {
			return answer
		}
	}
	switch {
	case routing.IsProbe(h.Method) && h.EndsHere():
		return finalAnswer(h.Method)
	case h.Method == http.MethodConnect:
		return flight.Answer{Status: http.StatusNotImplemented, Reason: reasonUnsupported}
	case !strings.HasPrefix(h.Target, "/"):
		return flight.Answer{Status: http.StatusBadRequest, Reason: reasonTarget}
	case refused.Status != 0:
		return refused
	case routing.HopsBy(x.via, x.deps.Via) > x.deps.MaxHops:
		return flight.Answer{Status: http.StatusLoopDetected, Reason: reasonLoop}
	case x.route == nil:
		return flight.Answer{Status: http.StatusNotFound, Reason: reasonNoRoute}
	case h.ClientTLS.Misdirected(l, h, x.route):
		return flight.Answer{Status: http.StatusMisdirectedRequest, Reason: reasonMisdirected}
	case x.route.ServerProtocol == routing.HTTP2 && h.Proto != routing.HTTPVersion2:
		return flight.Answer{Status: http.StatusUpgradeRequired, Reason: reasonHTTP2Only}
	}
	return flight.Answer{}
}

// start asks for a server. The step it returns, like that of linkFailed and resumePick, is to Link, ends the
// exchange, or is to Wait until resumePick is called.
func (x *exchange) start() flight.Step {
	r, h := x.route, &x.head
	link := r.Link
	if h.Upgrade || x.grpc {
		link = balance.LinkRoute // browsers follow no redirect of an upgrade, and gRPC clients none at all
	}
	q := &x.request
	q.Edge, q.Key, q.Client = x.deps.ID, r.KeySource.Read(h, x.client), x.client
	x.readTenant()
	q.Link, q.Method, q.Host, q.Path, q.ID = link, h.Method, h.Host, h.Path, balance.HashID(x.id)
	x.pool.countRequest()
	x.started = true
	return x.runSteps(x.flight.Begin(flight.Facts{Method: h.Method, Link: link}, flight.Limits{}))
}

// runSteps takes the flight's steps until one needs the connection.
func (x *exchange) runSteps(step flight.Step) flight.Step {
	for {
		if step.Done.Lease != 0 {
			x.returnLease(step.Done)
		}
		if step.Done != (flight.Done{}) {
			x.result = step.Done.Outcome.Result
		}
		switch step.Do {
		case flight.Ask:
			if x.chosenHere = x.chooseLocally(step.Exclude); x.chosenHere {
				step = x.flight.Granted(x.now(), &x.pending)
				continue
			}
			answered, err := x.startPick(step.Exclude)
			if !answered {
				return flight.Step{Do: flight.Wait}
			}
			step = x.onAnswer(err)
		case flight.Choose:
			step = x.pickFallback(step.Exclude)
		case flight.Link:
			x.grant, x.reply, x.lifeReportAt, x.owesNothing = *step.Grant, flight.Reply{}, x.now(), false
			x.lastByte = x.lifeReportAt
			x.attempts++
			x.inFlight = x.pool.countLink(step.Grant.Server)
			return step
		case flight.Redirect:
			x.grant = *step.Grant
			return step
		default:
			return step
		}
	}
}

// returnLease ends a lease.
func (x *exchange) returnLease(d flight.Done) {
	if x.chosenHere {
		x.pool.noteChoice(&d.Outcome)
	}
	if t := x.deps.returner; t != nil && x.clock != nil {
		t.ReturnLease(*x.clock, x.route.Pool, d.Lease, d.Outcome)
		return
	}
	x.deps.picker.Done(x.route.Pool, d.Lease, d.Outcome)
}

// askGrace is how much longer than the request's deadline an answer may take. A master that is silent for
// longer counts as none.
const askGrace = 250 * time.Millisecond

func (x *exchange) startPick(exclude []balance.ServerID) (answered bool, err error) {
	x.askedAt = x.now()
	x.refusal = nil
	x.request.Exclude, x.request.Deadline = exclude, x.askedAt.Add(x.route.Timeout)
	return x.asker.ask(x)
}

// resumePick continues with the answer to an ask that had to wait.
func (x *exchange) resumePick(grant balance.Grant, err error) flight.Step {
	x.pending = grant
	return x.runSteps(x.onAnswer(err))
}

// onAnswer handles the answer to the last ask: x.pending or an error.
func (x *exchange) onAnswer(err error) flight.Step {
	x.cancel.resetTimeout() // if the ask was cancelled for the master's silence, that is over
	p, now := x.pool, x.now()
	x.pickTime += now.Sub(x.askedAt)
	x.stats.countPick(now.Sub(x.askedAt), err == nil)
	if err == nil {
		x.waiting += x.pending.Waited
		x.noteAskTime(now)
		return x.flight.Granted(now, &x.pending)
	}
	var refusal *balance.Refusal
	switch {
	case errors.As(err, &refusal):
		x.refusal = refusal
		p.picks(refusal.Reason.String())
		return x.flight.Refused(refusal)
	case x.cancel.clientLeft():
		p.picks("canceled")
		return x.flight.Gone(now)
	}
	p.picks("no-master")
	x.deps.Log.Debug("no master answers", "pool", p.name, "err", err)
	return x.flight.NoMaster()
}

func (x *exchange) pickFallback(exclude []balance.ServerID) flight.Step {
	p := x.pool
	var snap *balance.Snapshot
	if x.deps.snapshots != nil {
		snap = x.deps.snapshots.Snapshot(p.name)
	}
	server, reason := p.fallback(x.now(), snap, exclude)
	if reason != "" {
		return x.flight.NoChoice(reason)
	}
	p.fallbacks.Inc()
	return x.flight.Chosen(x.now(), server)
}

// linkFailed handles a failed link. If the client has left, that is the reason.
func (x *exchange) linkFailed(why flight.Failure, err error) flight.Step {
	x.releaseInFlight()
	if x.cancel.clientLeft() {
		return x.clientGone()
	}
	p, now := x.pool, x.now()
	if log := x.deps.Log; log.Enabled(context.Background(), slog.LevelDebug) {
		log.Debug("link failed", "pool", p.name, "server", x.grant.Server, "lease", x.grant.Lease, "err", err)
	}
	if err != nil {
		why.Error = clipError(err)
		_, why.Unresolved = errors.AsType[*resolve.Unresolved](err)
	}
	x.failure = why.Error
	if why.Unreachable && !why.Ours {
		x.deps.Log.Warn("server cannot be reached", "pool", p.name, "server", x.grant.Server, "address", x.grant.Address, "err", err)
		p.noteUnreachable(now, x.grant.Server)
	}
	step := x.flight.Failed(now, why, func() bool { return p.mayRetry(now) })
	switch {
	case step.Do == flight.Ask && !why.NotTaken:
		p.retries.Inc()
	case step.Do == flight.Ask, step.Do == flight.Link:
		p.resends.Inc()
	}
	return x.runSteps(step)
}

// clipError returns an error's text, shortened for the master.
func clipError(err error) string {
	text := err.Error()
	if len(text) > errorTold {
		text = strings.ToValidUTF8(text[:errorTold], "") + "…"
	}
	return text
}

const errorTold = 160 // bytes

// linkDone handles a complete response.
func (x *exchange) linkDone() {
	x.releaseInFlight()
	if code, ok := x.reply.GRPC(); ok {
		x.code = code
	}
	x.runSteps(x.flight.Finished(x.now(), &x.reply))
}

// clientGone handles that the client has left, or cannot be served for a reason of its own.
func (x *exchange) clientGone() flight.Step {
	x.releaseInFlight()
	return x.runSteps(x.flight.Gone(x.now()))
}

// tunnelEnded handles the end of a tunnel, and whether one of its peers broke it off.
func (x *exchange) tunnelEnded(clientBroke, serverBroke bool) {
	switch {
	case x.cancel.clientLeft() || clientBroke:
		x.clientGone()
	case serverBroke:
		x.linkFailed(flight.Failure{Sent: true, Begun: true}, errServerBrokeOff)
	default:
		x.linkDone()
	}
}

func (x *exchange) releaseInFlight() {
	if x.inFlight != nil {
		x.pool.releaseLink(x.inFlight)
		x.inFlight = nil
	}
}

// forwardReport forwards a load report in the fields or trailers of a response.
func (x *exchange) forwardReport(values func(lower string) []string) {
	// The names are kept for longer than the buffer.
	metrics, err := orca.Parse(func(name string) []string {
		texts := values(name)
		for i := range texts {
			texts[i] = strings.Clone(texts[i])
		}
		return texts
	})
	if err != nil {
		x.pool.badReports.Inc()
		x.deps.Log.Debug("load report", "pool", x.route.Pool, "server", x.grant.Server, "err", err)
	}
	if len(metrics) > 0 {
		x.deps.picker.Report(x.route.Pool, balance.Report{Server: x.grant.Server, Metrics: metrics})
	}
}

// location returns the URL of a redirect.
func (x *exchange) location() string {
	base := x.grant.Public
	if base == "" {
		base = balance.BaseURL(x.grant.Address)
	}
	target := x.head.Target
	if x.route.LeaseParam != "" {
		target = routing.WithoutParameter(target, x.route.LeaseParam) // only the edge sets this parameter
	}
	location := strings.TrimSuffix(base, "/") + target
	if x.route.LeaseParam == "" || x.grant.Lease == 0 {
		return location
	}
	mark := "?"
	if strings.Contains(location, "?") {
		mark = "&"
	}
	return location + mark + x.route.LeaseParam + "=" + x.grant.Told().String()
}

// redirect appends the redirect response.
func (x *exchange) redirect(dst []byte, closing bool) []byte {
	lease := ""
	if x.grant.Lease != 0 {
		lease = x.grant.Told().String()
	}
	x.status = 307
	return appendRedirect(dst, x.location(), lease, x.id, closing)
}

// finish ends the exchange in any state, counts it and writes the access log.
func (x *exchange) finish() {
	if x.started && !x.flight.Over() {
		x.clientGone()
	}
	if x.status == 0 {
		x.status = statusGone
	}
	x.releaseClient()
	x.countOpen(-1)
	took := x.now().Sub(x.startedAt)
	name := "" // of the pool
	if x.route != nil {
		name = x.pool.name
		x.stats.countAnswer(x.status, took)
		if x.grpc {
			x.stats.countGRPC(x.code)
		}
	} else {
		x.deps.metrics.unrouted(x.status)
		if x.grpc {
			x.deps.metrics.grpc.WithLabelValues("", grpcLabel(x.code)).Inc()
		}
	}
	if log := x.deps.AccessLog; log != nil {
		x.logAccess(log, name, took)
	}
}

func (x *exchange) logAccess(log *slog.Logger, pool string, took time.Duration) {
	lease, result := "", ""
	if x.grant.Lease != 0 {
		lease = x.grant.Lease.String()
	}
	if x.attempts > 0 {
		result = x.result.String()
	}
	attrs := []slog.Attr{
		slog.String("method", strings.Clone(x.head.Method)), slog.String("host", strings.Clone(x.head.Host)), slog.String("path", strings.Clone(x.head.Path)),
		slog.Int("status", x.status), slog.Int64("bytes", x.bytes),
		slog.Float64("duration_ms", milliseconds(took)), x.pickTimeAttr(), slog.String("pool", pool), slog.String("server", string(x.grant.Server)), slog.String("lease", lease), slog.Uint64("fence", x.grant.Fence),
		slog.String("edge", string(x.deps.ID)), slog.String("client", routing.Node(x.client)), slog.Int("attempts", x.attempts), slog.String("result", result),
		slog.String("request", strings.Clone(x.id)),
	}
	if x.reason != "" {
		attrs = append(attrs, slog.String("reason", x.reason))
	}
	if x.chosenHere {
		attrs = append(attrs, slog.String("chosen_by", "edge"))
	}
	if x.detail != "" {
		attrs = append(attrs, slog.String("detail", strings.Clone(x.detail)))
	}
	attrs = x.appendTenant(attrs)
	if x.failure != "" {
		attrs = append(attrs, slog.String("err", x.failure))
	}
	if x.grpc && x.code != grpcNone {
		attrs = append(attrs, slog.Int("grpc_status", x.code))
	}
	log.LogAttrs(context.Background(), slog.LevelInfo, "request", attrs...)
}

// pickTimeAttr returns how long the request's asks took, for the log; without an ask it is left out.
func (x *exchange) pickTimeAttr() slog.Attr {
	if x.askedAt == 0 {
		return slog.Attr{}
	}
	return slog.Float64("pick_ms", milliseconds(x.pickTime))
}

// tellsPickTime reports whether the time of this request's asks is logged or sent.
func (x *exchange) tellsPickTime() bool {
	return x.deps.AccessLog != nil || x.listener.ServerTiming
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

var errServerBrokeOff = errors.New("the server broke the connection off")

// limitClient counts the exchange for its client, until leave. A non-zero answer: the client has too many.
func (x *exchange) limitClient(c *routing.ClientLimiter) flight.Answer {
	k := c.KeyOf(&x.head, x.client)
	switch v, wait := c.Requests.Enter(x.startedAt, k); v {
	case limits.TooMany:
		x.deps.metrics.limited[limitOpenRequests].Inc()
		return flight.Answer{Status: http.StatusTooManyRequests, Reason: reasonManyOpen, RetryAfter: time.Second}
	case limits.TooFast:
		x.deps.metrics.limited[limitRequestRate].Inc()
		return flight.Answer{Status: http.StatusTooManyRequests, Reason: reasonTooFast, RetryAfter: cmp.Or(wait, time.Second)}
	}
	x.clientKey = k
	return flight.Answer{}
}

// releaseClient counts it no more.
func (x *exchange) releaseClient() {
	if k := x.clientKey; k != 0 {
		x.clientKey = 0
		x.listener.Limiter.Requests.Leave(k)
	}
}
