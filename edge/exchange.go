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
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/orca"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// exchange is one client request on its way through the edge, whichever engine
// carries its bytes: the shell around a Flight. The engine opens it, starts it, tells
// it how each link went, and closes it in any case. Not safe for concurrent use.
type exchange struct {
	edge      *Edge
	listener  *listener
	route     *route // nil: none matches
	head      head
	text      ownedText // head's strings, and id
	newPath   bool      // head has another path than its client sent, with which the request goes on
	id        string    // of the request, for people
	via       []string  // the request's, as long as its fields last
	made      [32]byte  // room for an id of our own
	client    netip.Addr
	entered   limits.ClientKey // by which it counts for its client; zero: it does not
	recall    *recall
	asker     asker  // of the connection whose request it is
	books     *books // of the exchange's loop; nil: none carries it
	tally     *tally // of the route's pool, where the exchange is counted
	started   bool   // flight has begun
	flight    flight.Flight
	request   balance.Request
	linked    *int          // where the last grant counts as in flight; nil: it does not
	offer     balance.Grant // what the last ask was granted
	grant     balance.Grant // of the last link or redirect
	began     balance.Instant
	asked     balance.Instant  // the last ask; zero: there was none
	sign      balance.Instant  // when the master was last told that bytes come from the link's server, or granted it
	lastByte  balance.Instant  // when the link's server was last heard, or granted
	excused   bool             // the master was told that the link's server owes nothing
	picking   time.Duration    // spent on asks
	waiting   time.Duration    // of that, in the master's queue
	attempts  int              // links
	reply     flight.Reply     // what the response of the last link says about its server
	result    balance.Result   // of the last link
	failure   string           // why the last link that failed did; empty: none has, or nothing is known
	refusal   *balance.Refusal // of the last ask; nil: it was granted, or not answered
	reason    string           // why the edge answered in a server's place; empty: it did not
	detail    string           // the same for people, where reason does not say it all
	disbelief error            // why the request's tenant is not believed; nil: it is, or there is none
	spoke     string           // version of HTTP in which the server answered; empty: 1.1
	status    int              // what the client was told; zero: nothing
	grpc      bool             // the request is gRPC's
	code      int              // gRPC status that its client was told; grpcNone: none
	bytes     int64            // of the response's body, or of what a tunnel brought to the client
}

// asker asks without waiting.
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
// instead of starting it. The head's strings are copied; its fields must last until the last
// link is over.
func (x *exchange) open(e *Edge, l *listener, h *head, r *recall) flight.Answer {
	books, text := x.books, x.text
	*x = exchange{} // where it is: it is large
	x.edge, x.listener, x.books, x.text, x.recall = e, l, books, text, r
	x.text.reset()
	x.head = h.keep(&x.text)
	h = &x.head
	x.began = x.now()
	x.id = x.requestID(h.first("x-request-id"))
	x.via = h.all("via")
	x.client = l.client(&x.head)
	refused := flight.Answer{}
	if r, ambiguous := x.findRoute(); ambiguous {
		x.take(nil)
		refused = flight.Answer{Status: http.StatusBadRequest, Reason: reasonPath}
	} else {
		x.take(r)
	}
	x.code = grpcNone
	x.grpc = h.proto == version2 && h.method == http.MethodPost && isGRPC(h.first("content-type"))
	if c := l.clients; c != nil && c.requests != nil {
		if answer := x.enter(c); answer.Status != 0 {
			return answer
		}
	}
	switch {
	case isProbe(h.method) && h.endsHere():
		return finalAnswer(h.method)
	case h.method == http.MethodConnect:
		return flight.Answer{Status: http.StatusNotImplemented, Reason: reasonUnsupported}
	case !strings.HasPrefix(h.target, "/"):
		return flight.Answer{Status: http.StatusBadRequest, Reason: reasonTarget}
	case refused.Status != 0:
		return refused
	case x.looped():
		return flight.Answer{Status: http.StatusLoopDetected, Reason: reasonLoop}
	case x.route == nil:
		return flight.Answer{Status: http.StatusNotFound, Reason: reasonNoRoute}
	case h.shown.misdirected(l, h, x.route):
		return flight.Answer{Status: http.StatusMisdirectedRequest, Reason: reasonMisdirected}
	case x.route.ServerProtocol == HTTP2 && h.proto != version2:
		return flight.Answer{Status: http.StatusUpgradeRequired, Reason: reasonHTTP2Only}
	}
	return flight.Answer{}
}

// start asks for a server. The step it returns, as that of failed and resume, is to
// Link or ends the exchange; or it is to Wait until resume is called.
func (x *exchange) start() flight.Step {
	r, h := x.route, &x.head
	link := r.Link
	if h.upgrade || x.grpc {
		link = balance.LinkRoute // browsers follow no redirect of an upgrade, and gRPC clients none at all
	}
	q := &x.request
	q.Edge, q.Key, q.Client = x.edge.cfg.ID, r.key.read(h, x.client), x.client
	x.readTenant()
	q.Link, q.Method, q.Host, q.Path, q.ID = link, h.method, h.host, h.path, balance.HashID(x.id)
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
			x.grant, x.reply, x.sign, x.excused = *step.Grant, flight.Reply{}, x.now(), false
			x.lastByte = x.sign
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
	x.refusal = nil
	x.request.Exclude, x.request.Deadline = exclude, x.asked.Add(x.route.timeout)
	return x.asker.ask(x)
}

// resume goes on with the answer to an ask that its asker had to wait for.
func (x *exchange) resume(grant balance.Grant, err error) flight.Step {
	x.offer = grant
	return x.settle(x.answered(err))
}

// answered takes what was said to the last ask: x.offer, or an error.
func (x *exchange) answered(err error) flight.Step {
	x.recall.forgive() // that the ask was ended for the master's silence is over
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
		x.refusal = refusal
		p.picks(refusal.Reason.String())
		return x.flight.Refused(refusal)
	case x.recall.left():
		p.picks("canceled")
		return x.flight.Gone(now)
	}
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
	server, reason := p.fallback(x.now(), snap, exclude)
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
	if err != nil {
		why.Error = clipError(err)
		_, why.Unresolved = errors.AsType[*resolve.Unresolved](err)
	}
	x.failure = why.Error
	if why.Unreachable && !why.Ours {
		x.edge.cfg.Log.Warn("server cannot be reached", "pool", p.name, "server", x.grant.Server, "address", x.grant.Address, "err", err)
		p.unreachable(now, x.grant.Server)
	}
	step := x.flight.Failed(now, why, func() bool { return p.mayRetry(now) })
	switch {
	case step.Do == flight.Ask && !why.NotTaken:
		p.retries.Inc()
	case step.Do == flight.Ask, step.Do == flight.Link:
		p.resends.Inc()
	}
	return x.settle(step)
}

// clipError returns an error's text as far as a master is told of it.
func clipError(err error) string {
	text := err.Error()
	if len(text) > errorTold {
		text = strings.ToValidUTF8(text[:errorTold], "") + "…"
	}
	return text
}

const errorTold = 160 // bytes

// finished says that the link is over in good order.
func (x *exchange) finished() {
	x.unlink()
	if code, ok := x.reply.GRPC(); ok {
		x.code = code
	}
	x.settle(x.flight.Finished(x.now(), &x.reply))
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
	target := x.head.target
	if x.route.LeaseParam != "" {
		target = withoutParameter(target, x.route.LeaseParam) // a lease is ours to give
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

// redirect appends the answer that sends the client to the server.
func (x *exchange) redirect(dst []byte, closing bool) []byte {
	lease := ""
	if x.grant.Lease != 0 {
		lease = x.grant.Told().String()
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
	x.leave()
	x.count(-1)
	took := x.now().Sub(x.began)
	name := "" // of the pool
	if x.route != nil {
		name = x.route.pool.name
		x.tally.answer(x.status, took)
		if x.grpc {
			x.tally.answerGRPC(x.code)
		}
	} else {
		x.edge.metrics.unrouted(x.status)
		if x.grpc {
			x.edge.metrics.grpc.WithLabelValues("", grpcLabel(x.code)).Inc()
		}
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
	attrs := []slog.Attr{
		slog.String("method", strings.Clone(x.head.method)), slog.String("host", strings.Clone(x.head.host)), slog.String("path", strings.Clone(x.head.path)),
		slog.Int("status", x.status), slog.Int64("bytes", x.bytes),
		slog.Float64("duration_ms", milliseconds(took)), x.pickTime(), slog.String("pool", pool), slog.String("server", string(x.grant.Server)), slog.String("lease", lease), slog.Uint64("fence", x.grant.Fence),
		slog.String("edge", string(x.edge.cfg.ID)), slog.String("client", node(x.client)), slog.Int("attempts", x.attempts), slog.String("result", result),
		slog.String("request", strings.Clone(x.id)),
	}
	if x.reason != "" {
		attrs = append(attrs, slog.String("reason", x.reason))
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

// pickTime is how long the request's own asks took; an attribute that is left out if it was not asked for.
func (x *exchange) pickTime() slog.Attr {
	if x.asked == 0 {
		return slog.Attr{}
	}
	return slog.Float64("pick_ms", milliseconds(x.picking))
}

// tellsPickTime reports whether anything tells how long this request's asks took.
func (x *exchange) tellsPickTime() bool {
	return x.edge.cfg.AccessLog != nil || x.listener.ServerTiming
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

var errBrokeOff = errors.New("the server broke the connection off")
