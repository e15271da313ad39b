package edge

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/orca"
)

// version2 is HTTP/2 as Via names it.
const version2 = "2"

// stream is one request of a client of HTTP/2. Its own goroutine owns it.
type stream struct {
	session  *session
	w        http.ResponseWriter
	r        *http.Request
	exchange exchange
	recall   recall
	plain    http1.RequestHead // the head as HTTP/1 would have it
	text     []byte            // of it
	told     fieldView
	adds     additions
	body     inflow
	slow     patience // with a client that takes nothing
}

// serve returns false if the client must see that its answer is not whole.
func (st *stream) serve() bool {
	x, l := &st.exchange, st.session.conn.service.listener
	stop := context.AfterFunc(st.r.Context(), func() { st.recall.end(errLeft) })
	defer stop()
	h, err := st.describe(l)
	answer := x.open(st.session.conn.service.edge, l, &h, &st.recall)
	detail := ""
	var bad http1.Error
	if errors.As(err, &bad) {
		answer, detail = refusalOf(bad)
	}
	defer x.close()
	if st.session.conn.service.draining.Load() {
		st.w.Header().Set("Connection", "close") // which becomes a GOAWAY
	}
	switch limit := l.BodyLimit; {
	case answer.Status != 0:
	case limit > 0 && st.r.ContentLength > limit:
		answer = flight.Answer{Status: 413, Reason: reasonBodyTooBig}
	default:
		return st.carry()
	}
	return st.answer(answer, detail)
}

// describe holds the head to the rules of HTTP/1, so that one set of rules is enough
// and nothing passes here that a server would read otherwise. With an error the head
// is what could be understood.
func (st *stream) describe(l *listener) (head, error) {
	r := st.r
	st.text = appendPlainHead(st.text[:0], r)
	st.plain.Limits = l.limits
	n, err := st.plain.Parse(st.text)
	st.told = fieldView{&st.plain.Head, st.text}
	raw, _, _ := strings.Cut(r.RequestURI, "?")
	h := head{method: r.Method, target: r.RequestURI, raw: raw, host: r.Host, path: r.URL.Path, query: strings.TrimPrefix(r.RequestURI[len(raw):], "?"), proto: version2,
		secure: l.secure != nil, peer: st.session.conn.peer, shown: st.session.conn.shown, fields: &st.told}
	if err != nil || n == 0 {
		h.fields = &fieldView{head: new(http1.Head)}
		return h, cmp.Or(err, error(http1.ErrTarget))
	}
	return h, nil
}

// appendPlainHead writes the head as HTTP/1.1 would have it. The parser finds whatever
// is no target, name or value there; line ends cannot be in it.
func appendPlainHead(dst []byte, r *http.Request) []byte {
	dst = append(append(append(append(dst, r.Method...), ' '), r.RequestURI...), " HTTP/1.1\r\nHost: "...)
	dst = append(append(dst, r.Host...), "\r\n"...)
	for name, values := range r.Header {
		if name == "Te" || name == "Host" && len(values) == 1 && values[0] == r.Host {
			continue
		}
		for _, v := range values {
			dst = append(append(append(append(dst, name...), ": "...), v...), "\r\n"...)
		}
	}
	return append(dst, "\r\n"...)
}

// refusalOf answers a head that is none.
func refusalOf(bad http1.Error) (flight.Answer, string) {
	if bad.Status() == 431 {
		return flight.Answer{Status: 431, Reason: reasonHeadTooBig}, ""
	}
	return flight.Answer{Status: bad.Status(), Reason: reasonMalformed}, bad.Error()
}

// carry takes the exchange to its end.
func (st *stream) carry() bool {
	x := &st.exchange
	if err := st.body.begin(st); err != nil {
		return st.badBody(err)
	}
	step := x.start()
	for step.Do == flight.Link {
		res, why, err := st.link()
		if err == nil {
			return st.respond(res)
		}
		if broken := st.body.fault(); broken != nil {
			x.gone()
			return st.badBody(broken)
		}
		if st.r.Context().Err() != nil {
			st.recall.end(errLeft)
		}
		step = x.failed(why, err)
	}
	switch step.Do {
	case flight.Respond:
		return st.answer(step.Answer, "")
	case flight.Redirect:
		return st.redirect()
	}
	return false // the client has left
}

// badBody ends the exchange because the request's body could not be read.
func (st *stream) badBody(err error) bool {
	switch {
	case errors.Is(err, http1.ErrLongBody):
		return st.answer(flight.Answer{Status: 413, Reason: reasonBodyTooBig}, "")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return st.answer(flight.Answer{Status: 408, Reason: reasonBodySlow}, "")
	}
	return false
}

// answer tells the client what came instead of a server's response.
func (st *stream) answer(a flight.Answer, detail string) bool {
	x, h := &st.exchange, st.w.Header()
	detail = x.answers(a, detail)
	if x.grpc {
		grpcFields(a, detail, h.Set)
		h.Set(headerRequestID, x.id)
		x.status, x.code = http.StatusOK, grpcCode(a)
		st.w.WriteHeader(x.status)
		return true
	}
	body := problemBody(a, detail, x.id)
	h.Set("Content-Type", problemType)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set(headerRequestID, x.id)
	if a.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(retryAfter(a), 10))
	}
	x.status = a.Status
	st.w.WriteHeader(a.Status)
	if st.r.Method == http.MethodHead {
		return true
	}
	n, err := st.w.Write(body)
	x.bytes = int64(n)
	return err == nil
}

// redirect sends the client to the server.
func (st *stream) redirect() bool {
	x, h := &st.exchange, st.w.Header()
	h.Set("Location", x.location())
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", "0")
	h.Set(headerRequestID, x.id)
	if x.grant.Lease != 0 {
		h.Set(HeaderLease, x.grant.Lease.String())
	}
	x.status = http.StatusTemporaryRedirect
	st.w.WriteHeader(x.status)
	return true
}

// link sends the request to the server that was granted and returns when the head of
// its response has come.
func (st *stream) link() (*http.Response, flight.Failure, error) {
	x := &st.exchange
	var reached, sent atomic.Bool
	early := &interims{stream: st}
	trace := &httptrace.ClientTrace{
		GotConn:        func(httptrace.GotConnInfo) { reached.Store(true) },
		WroteHeaders:   func() { sent.Store(true) },
		Got1xxResponse: early.pass,
	}
	req := st.compose()
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), trace))
	res, err := st.session.conn.service.servers.round[reach{x.route.ServerProtocol, x.route.ServerTLS}].RoundTrip(req)
	early.end()
	if err == nil && res.StatusCode < 200 {
		_ = res.Body.Close()
		err = errors.New("the server switched to another protocol without being asked")
	}
	if err == nil && st.r.Context().Err() != nil { // an answer to our leaving, which a server can find out before we cease to read
		_ = res.Body.Close()
		err = errLeft
	}
	if err == nil {
		return res, flight.Failure{}, nil
	}
	st.body.detach()
	var late interface{ Timeout() bool }
	why := flight.Failure{Unreachable: !reached.Load(), Sent: sent.Load(), Spent: st.body.spent(), Ours: exhausted(err)}
	why.Late = !why.Unreachable && errors.As(err, &late) && late.Timeout()
	return nil, why, err
}

// interims passes responses 1xx on, while one request to a server is under way.
type interims struct {
	stream *stream

	mu     sync.Mutex
	over   bool
	passed int
}

// pass is called by whoever reads from the server.
func (i *interims) pass(code int, told textproto.MIMEHeader) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.passed++; i.over || i.passed > interimMost {
		return errInterims
	}
	if code == http.StatusContinue || code == http.StatusSwitchingProtocols {
		return nil // the one is said when the body is wanted, the other is a failure
	}
	h := i.stream.w.Header()
	for name, values := range told {
		if !hops[name] && !fromServers.Has([]byte(name)) {
			h[name] = values
		}
	}
	i.stream.w.WriteHeader(code)
	clear(h)
	return nil
}

// end takes the client away: nothing is passed any more.
func (i *interims) end() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.over = true
}

// hops are the fields that are for one connection only, and those that frame what
// they belong to.
var hops = map[string]bool{"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Proxy-Authenticate": true, "Proxy-Authorization": true,
	"Http2-Settings": true, "Te": true, "Upgrade": true, "Transfer-Encoding": true, "Trailer": true, "Host": true}

// compose makes the request for the server.
func (st *stream) compose() *http.Request {
	x, r := &st.exchange, st.r
	st.adds.reset()
	drop := x.dropped()
	x.toServer(&st.adds)
	header := make(http.Header, len(r.Header)+additionsAbout)
	for name, values := range r.Header {
		if !hops[name] && name != "Content-Length" && !drop.Has([]byte(name)) {
			header[name] = values
		}
	}
	st.adds.into(header)
	if x.route.ServerProtocol == HTTP2 && strings.EqualFold(r.Header.Get("Te"), "trailers") {
		header.Set("Te", "trailers")
	}
	if _, told := header["User-Agent"]; !told {
		header["User-Agent"] = nil // lest one be made up
	}
	secure, at := x.where()
	_, hostPort := balance.SplitAddress(x.grant.Address)
	if balance.IsUnix(hostPort) {
		hostPort = fmt.Sprintf("%x", hostPort) // what connections are kept by, and no server is told
	}
	to := &url.URL{Scheme: "http", Host: hostPort, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery}
	if x.newPath {
		to.Path, to.RawPath = x.head.path, x.head.raw
	}
	if secure || x.route.ServerTLS != nil {
		to.Scheme = "https"
	}
	out := &http.Request{Method: r.Method, URL: to, Host: r.Host, Header: header, ContentLength: r.ContentLength}
	out.Close = r.ContentLength != 0 && st.plain.Method.Bodiless() && x.route.ServerProtocol == HTTP1 // as with http1.RequestHead.BodyUnlooked
	st.body.attach(out)
	return out.WithContext(context.WithValue(st.r.Context(), whereKey{}, at))
}

// into adds the fields to a header.
func (a *additions) into(h http.Header) {
	for line := range strings.SplitSeq(strings.TrimSuffix(string(a.text), "\r\n"), "\r\n") {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
}

// additionsAbout is about how many fields that are.
const additionsAbout = 12

// respond passes the response on.
func (st *stream) respond(res *http.Response) bool {
	x := &st.exchange
	defer st.body.detach()
	defer func() { _ = res.Body.Close() }() // of a response that was not read to its end, it ends the stream or connection
	x.status = res.StatusCode
	if res.ProtoMajor == 2 {
		x.spoke = version2
	}
	x.reply.Head(x.status, x.grpc, answeredFields{res.Header}.first)
	st.reported(res.Header)
	st.head(res)
	st.w.WriteHeader(res.StatusCode)
	if res.ContentLength < 0 || res.ContentLength > pourRoom {
		st.flush() // a stream of unknown length may begin late
	}
	if err := st.pass(res); err != nil {
		if err == errClient || st.r.Context().Err() != nil {
			x.gone()
			return false
		}
		x.failed(flight.Failure{Sent: true, Begun: true}, err)
		return false
	}
	st.reported(res.Trailer)
	x.reply.Trailers(answeredFields{res.Trailer}.first)
	x.finished()
	h := st.w.Header()
	for name, values := range res.Trailer {
		if !noTrailers.Has([]byte(name)) {
			h[http.TrailerPrefix+name] = values
		}
	}
	return true
}

// reported passes on the load report among fields, if there is one.
func (st *stream) reported(told http.Header) {
	if fields := (answeredFields{told}); fields.first(orca.Header) != "" || fields.first(orca.HeaderBin) != "" {
		st.exchange.reported(fields.all)
	}
}

// head readies the response's head.
func (st *stream) head(res *http.Response) {
	st.adds.reset()
	drop := st.exchange.toClient(&st.adds, answeredFields{res.Header})
	named := res.Header.Values("Connection")
	h := st.w.Header()
	for name, values := range res.Header {
		if !hops[name] && !drop.Has([]byte(name)) && !names(named, name) {
			h[name] = values
		}
	}
	st.adds.into(h)
	if _, told := h["Content-Type"]; !told {
		h["Content-Type"] = nil // lest one be guessed
	}
}

// names reports whether a list of Connection's values names the field.
func names(lists []string, field string) bool {
	for _, list := range lists {
		for name := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(name), field) {
				return true
			}
		}
	}
	return false
}

var rooms = sync.Pool{New: func() any { return new([bodyRoom]byte) }}

// pass passes the response's body on. errClient: the client takes no more.
func (st *stream) pass(res *http.Response) error {
	if res.Body == http.NoBody {
		return nil
	}
	room := rooms.Get().(*[bodyRoom]byte)
	defer rooms.Put(room)
	x := &st.exchange
	for {
		n, err := res.Body.Read(room[:])
		if n > 0 {
			st.hasten()
			if _, err := st.w.Write(room[:n]); err != nil {
				return errClient
			}
			x.bytes += int64(n)
			if err == nil && x.bytes != res.ContentLength {
				st.flush()
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

func (st *stream) flush() { st.w.(http.Flusher).Flush() }

// hasten gives the client its time to take something.
func (st *stream) hasten() {
	if t := st.slow.hold(clock.Now(), st.session.conn.service.listener.IdleTimeout); !t.IsZero() {
		_ = http.NewResponseController(st.w).SetWriteDeadline(t) // HTTP/2 has it
	}
}

// answeredFields are the fields of a response of net/http.
type answeredFields struct{ http.Header }

func (f answeredFields) first(lower string) string { return f.Get(lower) }

func (f answeredFields) all(lower string) []string { return f.Values(lower) }

// inflow is the body of a stream's request, as one attempt after another reads it.
type inflow struct {
	stream *stream
	whole  []byte // all of it, if it was read beforehand; nil: it was not
	read   atomic.Int64

	mu    sync.Mutex
	err   error // why it could not be read to its end, by the client's fault
	owner *attempt
	slow  patience // with a client that sends nothing; the reader's
}

// begin reads a small body that may have to be sent again.
func (b *inflow) begin(st *stream) error {
	b.stream = st
	if n := st.r.ContentLength; n > 0 && n <= replayMost && flight.Idempotent(st.r.Method) {
		b.whole = make([]byte, n)
		b.hasten()
		_, err := io.ReadFull(st.r.Body, b.whole)
		return err
	}
	return nil
}

// attach gives an attempt the body.
func (b *inflow) attach(out *http.Request) {
	switch {
	case b.stream.r.ContentLength == 0:
	case b.whole != nil:
		out.Body = io.NopCloser(bytes.NewReader(b.whole))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.whole)), nil }
	default:
		a := &attempt{inflow: b, out: out}
		if len(b.stream.r.Trailer) > 0 {
			out.Trailer = make(http.Header)
			for name := range b.stream.r.Trailer {
				if !b.stream.exchange.route.drops.trailers.Has([]byte(name)) {
					out.Trailer[name] = nil
				}
			}
		}
		b.mu.Lock()
		b.owner = a
		b.mu.Unlock()
		out.Body = a
	}
}

// detach takes the body from whoever has it.
func (b *inflow) detach() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owner = nil
}

// spent reports whether a part is gone and cannot be sent again.
func (b *inflow) spent() bool { return b.read.Load() > 0 }

// fault is what the client did wrong.
func (b *inflow) fault() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// hasten gives the client its time to send something, if it has said how much will
// come. One that has not may have a conversation, with silences.
func (b *inflow) hasten() {
	if b.stream.r.ContentLength < 0 {
		return
	}
	if t := b.slow.hold(clock.Now(), b.stream.session.conn.service.listener.IdleTimeout); !t.IsZero() {
		_ = http.NewResponseController(b.stream.w).SetReadDeadline(t) // HTTP/2 has it
	}
}

// attempt is the body as one attempt reads it.
type attempt struct {
	*inflow
	out *http.Request
}

func (a *attempt) Read(p []byte) (int, error) {
	a.mu.Lock()
	mine := a.owner == a
	a.mu.Unlock()
	if !mine {
		return 0, io.ErrClosedPipe
	}
	a.hasten()
	n, err := a.stream.r.Body.Read(p)
	limit := a.stream.session.conn.service.listener.BodyLimit
	if total := a.read.Add(int64(n)); limit > 0 && total > limit {
		err = http1.ErrLongBody
	}
	switch {
	case err == io.EOF:
		for name := range a.out.Trailer {
			a.out.Trailer[name] = a.stream.r.Trailer[name]
		}
	case err != nil:
		a.mu.Lock()
		a.err = err
		a.mu.Unlock()
	}
	return n, err
}

// Close leaves the rest to others.
func (a *attempt) Close() error { return nil }
