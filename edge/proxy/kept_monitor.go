package proxy

import (
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/kept"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// The status monitor of kept requests (RFC 9110, 15.3.3): where their clients ask for them. Its path names the edge and its
// process, then the token.

// resultPath follows the monitor's path.
const resultPath = "/result"

// monitorPath returns the path of a kept request's status monitor.
func (e *Engine) monitorPath(t kept.Token) string {
	instance := e.cfg.Kept.Instance
	return routing.KeptPath + url.PathEscape(string(e.deps.ID)) + "/" + hex.EncodeToString(instance[:]) + hex.EncodeToString(t[:])
}

// monitored is what a monitor's path says.
type monitored struct {
	edge     string
	instance [8]byte
	token    kept.Token
	result   bool // the answer itself is asked for
}

// parseMonitor reads a path below routing.KeptPath. It returns false if it is none that an edge makes.
func parseMonitor(path string) (m monitored, ok bool) {
	rest := strings.TrimPrefix(path, routing.KeptPath)
	rest, m.result = strings.CutSuffix(rest, resultPath)
	escaped, secret, _ := strings.Cut(rest, "/")
	edge, err := url.PathUnescape(escaped)
	bytes, bad := hex.DecodeString(secret)
	if err != nil || bad != nil || len(bytes) != len(m.instance)+len(m.token) {
		return m, false
	}
	m.edge = edge
	copy(m.token[:], bytes[copy(m.instance[:], bytes):])
	return m, true
}

// answerKept answers a request about a kept one.
func (f *clientConn) answerKept() {
	t, e := f.req, f.service.engine
	x := &t.Exchange
	m, ok := parseMonitor(x.Head.RawPath)
	switch {
	case !ok:
		f.refuseUnread(flight.Answer{Status: http.StatusNotFound, Reason: exchange.ReasonKeptNone})
	case m.edge != string(e.deps.ID) && e.cfg.KeptEdges[m.edge] != "":
		f.sendKept(&exchange.KeptAnswer{Status: http.StatusTemporaryRedirect, Location: e.cfg.KeptEdges[m.edge] + x.Head.RawPath})
	case m.edge != string(e.deps.ID):
		f.refuseUnread(flight.Answer{Status: http.StatusMisdirectedRequest, Reason: exchange.ReasonKeptOther})
	case m.instance != e.cfg.Kept.Instance:
		f.refuseUnread(flight.Answer{Status: http.StatusGone, Reason: exchange.ReasonKeptLost})
	default:
		f.answerOwnKept(m)
	}
}

// answerOwnKept answers a request about one that this edge keeps, or has kept.
func (f *clientConn) answerOwnKept(m monitored) {
	t, e := f.req, f.service.engine
	none := flight.Answer{Status: http.StatusNotFound, Reason: exchange.ReasonKeptNone}
	switch method := t.Exchange.Head.Method; {
	case method == http.MethodDelete && !m.result:
		if !e.cfg.Kept.Cancel(f.worker.Now, m.token) {
			f.refuseUnread(none)
			return
		}
		f.sendKept(&exchange.KeptAnswer{Status: http.StatusNoContent})
		return
	case method != http.MethodGet && method != http.MethodHead:
		f.refuseUnread(flight.Answer{Status: http.StatusMethodNotAllowed, Reason: exchange.ReasonKeptMethod})
		return
	}
	status, ok := e.cfg.Kept.Status(f.worker.Now, m.token)
	switch {
	case !ok:
		f.refuseUnread(none)
	case m.result:
		f.answerResult(m.token, &status)
	default:
		monitor := e.monitorPath(m.token)
		a := &exchange.KeptAnswer{Status: http.StatusOK, Document: document(&status, monitor)}
		if status.State == kept.Done {
			a.Status, a.Location = http.StatusSeeOther, monitor+resultPath
		}
		f.sendKept(a)
	}
}

// sendKept sends an answer about a kept request.
func (f *clientConn) sendKept(a *exchange.KeptAnswer) {
	t := f.req
	t.inputStart += t.Head
	a.Closing = t.ClosingUnread(flight.Answer{Status: http.StatusOK}, f.service.draining.Load())
	t.Out = t.Exchange.AppendKept(f.worker.headBuf[:0], a)
	f.sendResponse(a.Closing)
}

// document returns what a client is told.
func document(s *kept.Status, monitor string) *exchange.KeptDocument {
	d := &exchange.KeptDocument{State: s.State.String(), Request: s.ID, Position: s.Position, Status: s.Status, Reason: s.Reason,
		ExpectedStart: inSeconds(s.ExpectedStart), Waited: inSeconds(s.Waited), Ran: inSeconds(s.Ran), ExpiresIn: inSeconds(s.ExpiresIn), Monitor: monitor}
	if s.Reason != "" {
		d.Detail = exchange.KeptDetail(s.Reason)
	}
	if s.State == kept.Done {
		d.Result = monitor + resultPath
	}
	return d
}

// inSeconds rounds to milliseconds.
func inSeconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

// storedAnswer is a kept answer that is being sent.
type storedAnswer struct {
	reader *kept.Reader // nil: there is none
	next   int64        // what was sent of it, head included
}

// answerResult sends the answer of a kept request.
func (f *clientConn) answerResult(token kept.Token, status *kept.Status) {
	t, e := f.req, f.service.engine
	reader := e.cfg.Kept.Read(f.worker.Now, token)
	if reader == nil {
		a := flight.Answer{Status: http.StatusConflict, Reason: exchange.ReasonKeptEarly, RetryAfter: time.Second}
		if status.State == kept.Failed {
			a = flight.Answer{Status: http.StatusBadGateway, Reason: status.Reason}
		}
		f.refuseUnread(a)
		return
	}
	t.stored = storedAnswer{reader: reader}
	buf := make([]byte, min(reader.Size(), int64(exchange.ResponseLimits.Head)))
	_, _ = reader.ReadAt(buf, 0) // what is missing, the parser misses
	t.Resp.Limits = exchange.ResponseLimits
	t.Resp.Reset()
	n, err := t.Resp.Parse(buf, http1.Asked{Method: http1.MethodGet})
	if err != nil || n == 0 {
		e.deps.Log.Error("a kept answer cannot be read", "request", status.ID, "err", err)
		f.dropKept()
		f.refuseUnread(flight.Answer{Status: http.StatusBadGateway, Reason: flight.ReasonBroken})
		return
	}
	t.inputStart += t.Head
	closing := t.ClosingUnread(flight.Answer{Status: http.StatusOK}, f.service.draining.Load())
	t.stored.next = int64(n)
	t.Out = t.Exchange.AppendKeptHeadOf(f.worker.headBuf[:0], &t.Resp, buf, reader.Size()-int64(n), closing)
	if t.Req.Method == http1.MethodHead {
		f.dropKept()
	}
	f.sendResponse(closing)
}

// sendStored sends more of a kept answer, until the client has to be waited for. It returns false if the exchange has ended,
// or other connections have a turn first.
func (f *clientConn) sendStored() bool {
	t, l := f.req, f.worker
	for turn := l.NewTurn(); t.stored.reader != nil; turn.Spend(limits.TurnCall) {
		clear, err := t.down.Flush(&f.Conn)
		if err != nil {
			f.clientGone()
			return false
		}
		if !clear {
			return true
		}
		if turn.Over(clock.Now) {
			f.setTimeout(f.service.listener.IdleTimeout)
			l.Defer(&f.Conn)
			return false
		}
		if !f.sendStoredPart() {
			return false
		}
	}
	return true
}

// sendStoredPart sends the next part. It returns false if the exchange has ended.
func (f *clientConn) sendStoredPart() bool {
	t, buf := f.req, f.worker.ReadBuf
	s := &t.stored
	left := s.reader.Size() - s.next
	if left == 0 {
		f.dropKept()
		return true
	}
	n, err := s.reader.ReadAt(buf[:min(int64(len(buf)), left)], s.next)
	if n == 0 {
		f.service.engine.deps.Log.Warn("a kept answer cannot be read", "request", t.Exchange.ID, "err", err)
		f.abort()
		return false
	}
	s.next += int64(n)
	if _, err := t.down.Write(&f.Conn, buf[:n]); err != nil {
		f.clientGone()
		return false
	}
	return true
}
