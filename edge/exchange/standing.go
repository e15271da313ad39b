package exchange

import (
	"strconv"
	"sync"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// standing is where a request stands, and stood at first, in the master's queue. It is safe for concurrent use.
type standing struct {
	next func(balance.Standing) // is told too; nil: none is

	mu          sync.Mutex
	first, last balance.Standing // zero: the request has not waited in a queue, or is not told
}

func (s *standing) tell(at balance.Standing) {
	s.mu.Lock()
	if s.first.Position == 0 {
		s.first = at
	}
	s.last = at
	s.mu.Unlock()
	if s.next != nil {
		s.next(at)
	}
}

// Follow has tell called with where the request stands in the master's queue, at once and with each change, on any goroutine.
// tell must not block. It is called before Start.
func (x *Exchange) Follow(tell func(balance.Standing)) {
	x.standing = &standing{next: tell}
	x.Request.Follow, x.Request.Stands = true, x.standing.tell
}

// followForClient follows the request where its client is told of its place.
func (x *Exchange) followForClient() {
	if (x.listener.ServerTiming || x.Route.WhileWaiting != "") && x.standing == nil {
		x.Follow(nil)
	}
}

// appendStanding appends the metrics of Server-Timing for a place in the queue.
func appendStanding(dst []byte, at balance.Standing) []byte {
	if at.Position > 0 {
		dst = strconv.AppendInt(append(dst, `, position;desc="`...), int64(at.Position), 10)
		dst = append(dst, '"')
	}
	if at.Wait > 0 {
		dst = strconv.AppendFloat(append(dst, ", expected;dur="...), milliseconds(at.Wait), 'f', -1, 64)
	}
	return dst
}

// stood returns where the request stood at first, and where it was last told to stand.
func (x *Exchange) stood() (first, last balance.Standing) {
	s := x.standing
	if s == nil {
		return first, last
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first, s.last
}

// AppendWaiting appends an interim response that tells a client where its request stands.
func (x *Exchange) AppendWaiting(dst []byte) []byte {
	dst = append(dst, "HTTP/1.1 103 Early Hints\r\nServer-Timing: queue;dur="...)
	dst = strconv.AppendFloat(dst, milliseconds(x.now().Sub(x.AskedAt)), 'f', -1, 64)
	_, last := x.stood()
	return append(appendStanding(dst, last), "\r\n\r\n"...)
}

// refusalTiming returns the Server-Timing of a refusal; nil: none.
func (x *Exchange) refusalTiming() []byte {
	if x.listener == nil || !x.listener.ServerTiming || x.refusal == nil {
		return nil
	}
	_, last := x.stood()
	if last.Wait == 0 {
		last.Wait = x.refusal.RetryAfter
	}
	a := HeaderLines{}
	a.startLine("Server-Timing")
	a.Text = appendStanding(x.appendTimes(a.Text), last)
	a.endLine()
	return a.Text
}
