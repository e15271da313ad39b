package exchange

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

// Exchange is one client request on its way through the edge, without the bytes: the shell around a Flight.
// Its connection opens it, starts it, reports how each link went, and finishes it in any case. Not safe for
// concurrent use.
type Exchange struct {
	surroundings
	requestFacts
	tracing
	picking
	currentLink
	outcome
}

// surroundings are what an exchange works with. It owns none of it.
type surroundings struct {
	deps     *Deps
	listener *routing.BoundListener
	Route    *routing.BoundRoute // nil: none matches
	Pool     *Pool               // the route's; nil: there is no route
	Cancel   *Cancellation
	Asker    Asker            // the connection whose request it is
	Loop     *LoopStats       // of the exchange's loop; nil: no loop has it
	Clock    *balance.Instant // the loop's current time; nil: no loop has it
	stats    *PoolStats       // of the route's pool, where the exchange is counted
}

// requestFacts are what is known of the request.
type requestFacts struct {
	Head       routing.RequestInfo
	text       routing.OwnedText // head's strings, and id
	NewPath    bool              // head's path differs from the client's; the request is forwarded with it
	ID         string            // of the request, for people
	idBuf      [32]byte          // buffer for a generated id
	madeID     bool              // id is generated
	via        []string          // the request's, while its fields are valid
	clientSays clientSays        // for the log
	ClientAddr netip.Addr
	clientKey  limits.ClientKey // how routing.ClientLimiter counts it; zero: not at all
	GRPC       bool             // it is a gRPC request
	disbelief  error            // why the request's tenant is not believed; nil: it is, or there is none
	startedAt  balance.Instant
	AsksKept   bool // it is for a request that is kept, and has no route
}

// clientSays is what the request's head says of its client; empty: nothing, or it is not logged.
type clientSays struct{ referer, userAgent string }

// picking is the state of asks for a server.
type picking struct {
	Started  bool // flight has begun
	Flight   flight.Flight
	Request  balance.Request
	deadline balance.Instant // that the request itself has; zero: none
	faults   routing.FactFaults
	Pending  balance.Grant    // the last grant, not used yet
	standing *standing        // in the master's queue; nil: it is not followed
	refusal  *balance.Refusal // of the last ask; nil: it was granted, or is not answered
	AskedAt  balance.Instant  // the last ask; zero: there was none
	pickTime time.Duration    // spent on asks
	waiting  time.Duration    // of that, in the master's queue

	chosenHere bool // the edge has chosen the last grant's server itself
	overflow   overflow
}

// currentLink is the last link, or the redirect.
type currentLink struct {
	Grant        balance.Grant
	inFlight     *int            // where it counts as in flight; nil: it does not
	attempts     int             // links so far
	lifeReportAt balance.Instant // when the master was last told that bytes come from the server, or granted it
	lastByte     balance.Instant // when the server last sent, or was granted
	owesNothing  bool            // the master was told that the server owes nothing
	reply        flight.Reply    // what the last response says about the server
	ServerProto  string          // the server's HTTP version; empty: 1.1
	firstByteAt  balance.Instant // when the response's head came; zero: it has not
	doneSize     float64         // the request's size as it turned out; zero: not told
}

// outcome is what became of the request, for the log and the metrics.
type outcome struct {
	result  balance.Result // of the last link
	failure string         // why the last failed link failed; empty: none has, or the reason is unknown
	reason  string         // why the edge answered instead of a server; empty: it did not
	detail  string         // the same for people, where reason is not enough
	Status  int            // as sent to the client; zero: none
	Code    int            // gRPC status as sent to the client; grpcNone: none
	Bytes   int64          // of the response body, or sent by a tunnel to the client
}

// Asker asks without blocking.
type Asker interface {
	// Ask sends x.Request to the pool and stores a grant in x.Pending. If there is no answer yet it returns
	// false, and calls x.ResumePick later. The request and its cancellation must not be touched until then.
	Ask(x *Exchange) (answered bool, err error)
}

// statusGone is logged and counted if the client left before a response.
const statusGone = 499

// now returns the current time.
func (x *Exchange) now() balance.Instant {
	if x.Clock != nil {
		return *x.Clock
	}
	return clock.Now()
}

// countOpen adds n to the open exchanges.
func (x *Exchange) countOpen(n int64) {
	if x.Loop != nil {
		x.Loop.OpenExchanges += n
		return
	}
	x.deps.Open.Add(n)
}

// setRoute sets the route; nil: none matches.
func (x *Exchange) setRoute(r *routing.BoundRoute) {
	x.countOpen(1)
	if x.Route = r; r == nil {
		return
	}
	x.Pool = x.deps.Pools[r.PoolNumber]
	x.stats = &x.Pool.stats
	if x.Loop != nil {
		x.stats = &x.Loop.Pools[r.PoolNumber]
	}
	x.stats.addInFlight(1)
}

// renew empties x for a request, in place: it is large.
func (x *Exchange) renew(d *Deps, l *routing.BoundListener, r *Cancellation) {
	loop, clock, text := x.Loop, x.Clock, x.text
	*x = Exchange{}
	x.deps, x.listener, x.Loop, x.Clock, x.text, x.Cancel = d, l, loop, clock, text, r
	x.text.Reset()
	x.startedAt, x.Code = x.now(), grpcNone
}

// open begins an exchange in x. A non-zero answer is to be sent to the client instead of starting it. The
// head's strings are copied; its fields must be valid until the last link has ended.
func (x *Exchange) open(d *Deps, l *routing.BoundListener, h *routing.RequestInfo, r *Cancellation) flight.Answer {
	x.renew(d, l, r)
	x.Head = h.Clone(&x.text)
	h = &x.Head
	x.ID = x.requestID(h.First("x-request-id"))
	x.via = h.All("via")
	x.readTrace()
	if d.LogClient && d.AccessLog != nil {
		x.clientSays = clientSays{x.text.Clone(h.First("referer")), x.text.Clone(h.First("user-agent"))}
	}
	x.ClientAddr = l.ClientAddr(&x.Head)
	refused := flight.Answer{}
	route, newPath, ambiguous := l.FindRoute(&x.Head)
	x.AsksKept = l.KeepsRequests && !h.Kept && strings.HasPrefix(h.RawPath, routing.KeptPath)
	if x.NewPath = newPath; x.AsksKept {
		x.setRoute(nil)
	} else if ambiguous {
		x.setRoute(nil)
		refused = flight.Answer{Status: http.StatusBadRequest, Reason: ReasonPath}
	} else {
		x.setRoute(route)
	}
	x.GRPC = h.Proto == routing.HTTPVersion2 && h.Method == http.MethodPost && isGRPC(h.First("content-type"))
	if c := l.Limiter; c != nil && c.Requests != nil && !h.Kept { // a kept one was counted when it came
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
		return flight.Answer{Status: http.StatusLoopDetected, Reason: ReasonLoop}
	case x.AsksKept:
		return flight.Answer{}
	case x.Route == nil:
		return flight.Answer{Status: http.StatusNotFound, Reason: ReasonNoRoute}
	case h.ClientTLS.Misdirected(l, h, x.Route):
		return flight.Answer{Status: http.StatusMisdirectedRequest, Reason: reasonMisdirected}
	case x.Route.ServerProtocol == routing.HTTP2 && h.Proto != routing.HTTPVersion2:
		return flight.Answer{Status: http.StatusUpgradeRequired, Reason: reasonHTTP2Only}
	}
	return flight.Answer{}
}

// Start asks for a server. The step it returns, like that of LinkFailed and ResumePick, is to Link, ends the
// exchange, or is to Wait until ResumePick is called.
func (x *Exchange) Start() flight.Step {
	r, h := x.Route, &x.Head
	link := r.Link
	if h.Upgrade || x.GRPC {
		link = balance.LinkRoute // browsers follow no redirect of an upgrade, and gRPC clients none at all
	}
	q := &x.Request
	q.Edge, q.Client = x.deps.ID, x.ClientAddr
	x.readKey()
	x.readTenant()
	x.readFacts()
	x.followForClient()
	q.Link, q.Method, q.Host, q.Path, q.ID = link, h.Method, h.Host, h.Path, balance.HashID(x.ID)
	x.Pool.countRequest()
	x.Started = true
	return x.runSteps(x.Flight.Begin(flight.Facts{Method: h.Method, Link: link}, flight.Limits{}))
}

// runSteps takes the flight's steps until one needs the connection.
func (x *Exchange) runSteps(step flight.Step) flight.Step {
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
				step = x.Flight.Granted(x.now(), &x.Pending)
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
			x.Grant, x.reply, x.lifeReportAt, x.owesNothing = *step.Grant, flight.Reply{}, x.now(), false
			x.lastByte = x.lifeReportAt
			x.firstByteAt, x.doneSize = 0, 0
			x.attempts++
			if x.inFlight == nil {
				x.inFlight = x.Pool.countLink(x.linkKey(step.Grant.Server))
			}
			return step
		case flight.Redirect:
			x.Grant = *step.Grant
			return step
		default:
			return step
		}
	}
}

// returnLease ends a lease.
func (x *Exchange) returnLease(d flight.Done) {
	x.measure(&d.Outcome)
	if x.chosenHere {
		x.Pool.noteChoice(&d.Outcome)
	}
	if t := x.deps.returner; t != nil && x.Clock != nil {
		t.ReturnLease(*x.Clock, x.AskedPool(), d.Lease, d.Outcome)
		return
	}
	x.deps.Picker.Done(x.AskedPool(), d.Lease, d.Outcome)
}

// AskGrace is how much longer than the request's deadline an answer may take. A master that is silent for
// longer counts as none.
const AskGrace = 250 * time.Millisecond

// leastAskTime is how long the master has for an ask whose deadline has passed. It may grant a server that is free. Without it, the edge would
// take the master for silent, and choose by itself.
const leastAskTime = time.Millisecond

func (x *Exchange) startPick(exclude []balance.ServerID) (answered bool, err error) {
	x.AskedAt = x.now()
	x.refusal = nil
	x.Request.Exclude, x.Request.Deadline, x.Request.MayOverflow = exclude, x.AskedAt.Add(x.Route.Timeout), !x.overflow.stays
	if x.deadline != 0 {
		x.Request.Deadline = min(x.Request.Deadline, max(x.deadline, x.AskedAt.Add(leastAskTime)))
	}
	return x.Asker.Ask(x)
}

// ResumePick continues with the answer to an ask that had to wait.
func (x *Exchange) ResumePick(grant balance.Grant, err error) flight.Step {
	x.Pending = grant
	return x.runSteps(x.onAnswer(err))
}

// onAnswer handles the answer to the last ask: x.Pending or an error.
func (x *Exchange) onAnswer(err error) flight.Step {
	x.Cancel.resetTimeout() // if the ask was cancelled for the master's silence, that is over
	p, now := x.Pool, x.now()
	x.pickTime += now.Sub(x.AskedAt)
	x.stats.countPick(now.Sub(x.AskedAt), err == nil)
	if err == nil {
		x.waiting += x.Pending.Waited
		x.noteAskTime(now)
		return x.Flight.Granted(now, &x.Pending)
	}
	var refusal *balance.Refusal
	switch {
	case errors.As(err, &refusal):
		x.refusal = refusal
		p.picks(refusal.Reason.String())
		if step, elsewhere := x.goOn(refusal); elsewhere {
			return step
		}
		return x.Flight.Refused(refusal)
	case x.Cancel.ClientLeft():
		p.picks("canceled")
		return x.Flight.Gone(now)
	}
	p.picks("no-master")
	x.deps.Log.Debug("no master answers", "pool", x.AskedPool(), "err", err)
	if step, back := x.goBack(); back {
		return step
	}
	return x.Flight.NoMaster()
}

func (x *Exchange) pickFallback(exclude []balance.ServerID) flight.Step {
	p := x.Pool
	var snap *balance.Snapshot
	if x.deps.snapshots != nil {
		snap = x.deps.snapshots.Snapshot(p.Name).Carrying(x.Request.Labels)
	}
	if x.Request.Link == balance.LinkRedirect {
		exclude = withoutCapped(snap, exclude)
	}
	server, link, reason := x.deps.fallback(x.now(), p, snap, exclude)
	if reason != "" {
		return x.Flight.NoChoice(reason)
	}
	x.inFlight = link
	p.fallbacks.Inc()
	lease := balance.LeaseID(0)
	if server.Cap > 0 && x.deps.local != nil { // a master that comes back has to count it
		lease = x.deps.local.HoldFor(p.Name, server.ID, x.now())
	}
	step := x.Flight.Chosen(x.now(), server, lease)
	if step.Do != flight.Link {
		x.releaseInFlight()
	}
	return step
}

// LinkFailed handles a failed link. If the client has left, that is the reason.
func (x *Exchange) LinkFailed(why flight.Failure, err error) flight.Step {
	x.releaseInFlight()
	if x.Cancel.ClientLeft() {
		return x.ClientGone()
	}
	p, now := x.Pool, x.now()
	if log := x.deps.Log; log.Enabled(context.Background(), slog.LevelDebug) {
		log.Debug("link failed", "pool", x.AskedPool(), "server", x.Grant.Server, "lease", x.Grant.Lease, "err", err)
	}
	if err != nil {
		why.Error = clipError(err)
		_, why.Unresolved = errors.AsType[*resolve.Unresolved](err)
	}
	x.failure = why.Error
	if why.Unreachable && !why.Ours {
		x.deps.Log.Warn("server cannot be reached", "pool", x.AskedPool(), "server", x.Grant.Server, "address", x.Grant.Address, "err", err)
		p.noteUnreachable(now, x.linkKey(x.Grant.Server))
	}
	step := x.Flight.Failed(now, why, func() bool { return p.mayRetry(now) })
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

// LinkDone handles a complete response.
func (x *Exchange) LinkDone() {
	x.releaseInFlight()
	if code, ok := x.reply.GRPC(); ok {
		x.Code = code
	}
	x.runSteps(x.Flight.Finished(x.now(), &x.reply))
}

// ClientGone handles that the client has left, or cannot be served for a reason of its own.
func (x *Exchange) ClientGone() flight.Step {
	x.releaseInFlight()
	return x.runSteps(x.Flight.Gone(x.now()))
}

// TunnelEnded handles the end of a tunnel, and whether one of its peers broke it off.
func (x *Exchange) TunnelEnded(clientBroke, serverBroke bool) {
	switch {
	case x.Cancel.ClientLeft() || clientBroke:
		x.ClientGone()
	case serverBroke:
		x.LinkFailed(flight.Failure{Sent: true, Begun: true}, errServerBrokeOff)
	default:
		x.LinkDone()
	}
}

func (x *Exchange) releaseInFlight() {
	if x.inFlight != nil {
		x.Pool.releaseLink(x.inFlight)
		x.inFlight = nil
	}
}

// forwardReport forwards a load report in the fields or trailers of a response.
func (x *Exchange) forwardReport(values func(lower string) []string) {
	// The names are kept for longer than the buffer.
	metrics, err := orca.Parse(func(name string) []string {
		texts := values(name)
		for i := range texts {
			texts[i] = strings.Clone(texts[i])
		}
		return texts
	})
	if err != nil {
		x.Pool.badReports.Inc()
		x.deps.Log.Debug("load report", "pool", x.AskedPool(), "server", x.Grant.Server, "err", err)
	}
	if x.doneSize == 0 {
		x.doneSize = orca.RequestSize(metrics)
	}
	if len(metrics) > 0 {
		x.deps.Picker.Report(x.AskedPool(), balance.Report{Server: x.Grant.Server, Metrics: metrics})
	}
}

// location returns the URL of a redirect.
func (x *Exchange) location() string {
	base := x.Grant.Public
	if base == "" {
		base = balance.BaseURL(x.Grant.Address)
	}
	target := x.Head.Target
	if x.Route.LeaseParam != "" {
		target = routing.WithoutParameter(target, x.Route.LeaseParam) // only the edge sets this parameter
	}
	location := strings.TrimSuffix(base, "/") + target
	if x.Route.LeaseParam == "" || x.Grant.Lease == 0 {
		return location
	}
	mark := "?"
	if strings.Contains(location, "?") {
		mark = "&"
	}
	return location + mark + x.Route.LeaseParam + "=" + x.Grant.Told().String()
}

// Redirect appends the redirect response.
func (x *Exchange) Redirect(dst []byte, closing bool) []byte {
	lease := ""
	if x.Grant.Lease != 0 {
		lease = x.Grant.Told().String()
	}
	x.Status = 307
	return appendRedirect(dst, x.location(), lease, x.ID, closing)
}

// Finish ends the exchange in any state, counts it and writes the access log.
func (x *Exchange) Finish() {
	if x.Started && !x.Flight.Over() {
		x.ClientGone()
	}
	if x.Status == 0 {
		x.Status = statusGone
	}
	x.releaseClient()
	x.countOpen(-1)
	took := x.now().Sub(x.startedAt)
	name := "" // of the pool
	if x.Route != nil {
		name = x.Pool.Name
		x.stats.countAnswer(x.Status, took, x.firstByteTime())
		x.countNames(took)
		if x.GRPC {
			x.stats.countGRPC(x.Code)
		}
	} else {
		x.deps.Metrics.unrouted(x.Status)
		if x.GRPC {
			x.deps.Metrics.grpc.WithLabelValues("", grpcLabel(x.Code)).Inc()
		}
	}
	if log := x.deps.AccessLog; log != nil {
		x.logAccess(log, name, took)
	}
}

// firstByteTime returns the time from the request's head to that of the last server's response; zero: it has not come.
func (x *Exchange) firstByteTime() time.Duration {
	if x.firstByteAt == 0 {
		return 0
	}
	return max(1, x.firstByteAt.Sub(x.startedAt)) // a loop's clock may have stood still
}

// countNames counts a finished request by its class and tenant, as far as the route says where they are. A tenant that is not believed is not counted.
func (x *Exchange) countNames(took time.Duration) {
	q := &x.Request
	if q.Class != "" && x.Route.BoundFacts.NamesClass() {
		x.Pool.classes.count(x.now(), q.Class, x.Status, took, x.firstByteTime())
	}
	if q.Tenant != "" && q.Belief != balance.Disbelieved {
		x.Pool.tenants.count(x.now(), q.Tenant, x.Status, took, x.firstByteTime())
	}
}

func (x *Exchange) logAccess(log *slog.Logger, pool string, took time.Duration) {
	lease, result := "", ""
	if x.Grant.Lease != 0 {
		lease = x.Grant.Lease.String()
	}
	if x.attempts > 0 {
		result = x.result.String()
	}
	var room [40]slog.Attr // more than a record has, so that it is not allocated
	attrs := append(room[:0],
		slog.String("method", strings.Clone(x.Head.Method)), slog.String("host", strings.Clone(x.Head.Host)), slog.String("path", strings.Clone(x.Head.Path)),
		slog.Int("status", x.Status), slog.Int64("bytes", x.Bytes),
		slog.Float64("duration_ms", milliseconds(took)), x.pickTimeAttr(), slog.String("pool", cmp.Or(x.overflow.pool, pool)), slog.String("server", string(x.Grant.Server)), slog.String("lease", lease), slog.Uint64("fence", x.Grant.Fence),
		slog.String("edge", string(x.deps.ID)), slog.String("client", routing.Node(x.ClientAddr)), slog.Int("attempts", x.attempts), slog.String("result", result),
		slog.String("request", strings.Clone(x.ID)),
	)
	if x.waiting > 0 {
		attrs = append(attrs, slog.Float64("queue_ms", milliseconds(x.waiting)))
	}
	if first := x.firstByteTime(); first > 0 {
		attrs = append(attrs, slog.Float64("first_byte_ms", milliseconds(first)))
	}
	if x.deps.LogClient {
		attrs = x.appendClient(attrs)
	}
	if x.reason != "" {
		attrs = append(attrs, slog.String("reason", x.reason))
	}
	if x.chosenHere {
		attrs = append(attrs, slog.String("chosen_by", "edge"))
	}
	if x.Head.Kept {
		attrs = append(attrs, slog.Bool("kept", true))
	}
	if x.overflow.pool != "" {
		attrs = append(attrs, slog.String("overflow_from", pool))
	}
	if x.detail != "" {
		attrs = append(attrs, slog.String("detail", strings.Clone(x.detail)))
	}
	attrs = x.traceAttrs(x.appendFacts(x.appendTenant(attrs)))
	if x.failure != "" {
		attrs = append(attrs, slog.String("err", x.failure))
	}
	if x.GRPC && x.Code != grpcNone {
		attrs = append(attrs, slog.Int("grpc_status", x.Code))
	}
	log.LogAttrs(context.Background(), slog.LevelInfo, "request", attrs...)
}

// appendClient appends what the client said, for formats that have it.
func (x *Exchange) appendClient(attrs []slog.Attr) []slog.Attr {
	proto := ""
	if x.Head.Proto != "" {
		proto = "HTTP/" + x.Head.Proto
	}
	return append(attrs, slog.String("target", strings.Clone(cmp.Or(x.Head.Target, x.Head.Path))), slog.String("proto", proto),
		slog.String("referer", strings.Clone(x.clientSays.referer)), slog.String("user_agent", strings.Clone(x.clientSays.userAgent)))
}

// pickTimeAttr returns how long the request's asks took, for the log; without an ask it is left out.
func (x *Exchange) pickTimeAttr() slog.Attr {
	if x.AskedAt == 0 {
		return slog.Attr{}
	}
	return slog.Float64("pick_ms", milliseconds(x.pickTime))
}

// TellsPickTime reports whether the time of this request's asks is logged or sent.
func (x *Exchange) TellsPickTime() bool {
	return x.deps.AccessLog != nil || x.listener.ServerTiming
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

var errServerBrokeOff = errors.New("the server broke the connection off")

// limitClient counts the exchange for its client, until leave. A non-zero answer: the client has too many.
func (x *Exchange) limitClient(c *routing.ClientLimiter) flight.Answer {
	k := c.KeyOf(&x.Head, x.ClientAddr)
	switch v, wait := c.Requests.Enter(x.startedAt, k); v {
	case limits.TooMany:
		x.deps.Metrics.Limited[LimitOpenRequests].Inc()
		return flight.Answer{Status: http.StatusTooManyRequests, Reason: ReasonManyOpen, RetryAfter: time.Second}
	case limits.TooFast:
		x.deps.Metrics.Limited[LimitRequestRate].Inc()
		return flight.Answer{Status: http.StatusTooManyRequests, Reason: ReasonTooFast, RetryAfter: cmp.Or(wait, time.Second)}
	}
	x.clientKey = k
	return flight.Answer{}
}

// releaseClient counts it no more.
func (x *Exchange) releaseClient() {
	if k := x.clientKey; k != 0 {
		x.clientKey = 0
		x.listener.Limiter.Requests.Leave(k)
	}
}
