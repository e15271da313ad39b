package edge

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// conn is a client's connection. The goroutine that serves it owns whatever has no
// other owner named.
type conn struct {
	side
	service *service
	peer    netip.Addr
	socket  syscall.RawConn // below whatever TLS there is; nil: it cannot be looked at

	in   []byte // what has come is in[r:w]; never moved before the last link of an exchange is over, whose head it holds
	r, w int

	watched atomic.Bool // the request has come whole, so that a client that closes has left

	mu      sync.Mutex
	waiting waiting
	hurried bool      // a stopping edge has set a deadline of its own
	work    *work     // of the exchange under way
	up      *upstream // of the link under way
	session *session  // of HTTP/2; nil: HTTP/1

	seat  netip.Addr // for which listener.seat has taken it; invalid: for none, or another looks after that
	shown *shown     // by TLS; nil: nothing. Set once, before the first request
}

// waiting is what a connection without a request waits for.
type waiting uint8

const (
	forNothing waiting = iota // a request is under way
	forFirst
	forNext
)

const (
	roomFirst = 4 << 10
	roomKept  = 16 << 10 // a larger buffer does not outlive its request
)

// newConn makes a client's connection; secure is the TLS that is spoken on it, nil: none. peer is what accept
// said: a connection that was reset since does not know it any more.
func newConn(s *service, nc net.Conn, secure *tls.Conn, peer netip.Addr) *conn {
	c := &conn{service: s, peer: peer, socket: rawOf(nc), in: make([]byte, roomFirst), waiting: forFirst}
	if secure != nil {
		nc = secure
	}
	c.begin(nc)
	c.readWait, c.writeWait = s.listener.IdleTimeout, s.listener.IdleTimeout
	return c
}

// silentTime is how long a client may say nothing once it has connected.
func (l *Listener) silentTime() time.Duration { return min(l.HeaderTimeout, l.IdleTimeout) }

func (c *conn) serve() {
	if c.introduce() {
		switch two, ok := c.greet(); {
		case !ok:
		case two:
			c.serveHTTP2()
		default:
			c.serveRequests()
		}
	}
	_ = c.Close() // all that was to be said has been
	if c.seat.IsValid() {
		c.service.listener.unseat(c.seat)
	}
}

// serveRequests serves those of HTTP/1, until there are no more.
func (c *conn) serveRequests() {
	for c.await() && c.serveOne() {
	}
}

// introduce learns from the PROXY header, if there is to be one, whom the connection
// speaks for. It comes before TLS.
func (c *conn) introduce() bool {
	l := c.service.listener
	if !l.introduces() {
		return c.admitted()
	}
	c.readUntil(time.Now().Add(l.HeaderTimeout))
	told, err := l.introduce(beneath(c.Conn), c.peer)
	if err != nil {
		c.service.edge.metrics.refused(reasonPreface)
		l.tellRefused(c.service.edge.cfg.Log, c.peer, err)
		breakOff(c.Conn)
		return false
	}
	if told.Source.IsValid() {
		c.peer = told.Source.Addr()
	}
	c.readUntil(noTime)
	return c.admitted()
}

// admitted reports whether the client may connect, and breaks the connection off if not.
func (c *conn) admitted() bool {
	if c.seat.IsValid() {
		return true
	}
	if why := c.service.listener.admit(c.peer); why != nil {
		c.service.edge.metrics.refused(refusal(why))
		breakOff(c.Conn)
		return false
	}
	c.seat = c.peer
	return true
}

// await returns true when something of a request is there.
func (c *conn) await() bool {
	if c.r < c.w {
		return true
	}
	c.r, c.w = 0, 0
	if len(c.in) > roomKept {
		c.in = make([]byte, roomFirst)
	}
	first := c.waiting == forFirst
	if first {
		c.readWait = c.service.listener.silentTime()
	}
	c.awaitRead()
	if c.service.draining.Load() {
		c.hurry()
	}
	n, err := c.take(c.in)
	if first {
		c.readWait = c.service.listener.IdleTimeout
	}
	if err != nil && c.service.draining.Load() {
		n = c.lastLook()
		err = nil // if it has come to an end the next read tells
	}
	c.w = n
	c.mu.Lock()
	c.waiting = forNothing
	if c.hurried {
		c.hurried, c.reading = false, patience{}
	}
	c.mu.Unlock()
	return err == nil && n > 0
}

// lastLook reads what came at the very moment when the time for it was over.
func (c *conn) lastLook() (n int) {
	if c.raw != nil && !c.isCut.Load() {
		_ = c.raw.Control(func(fd uintptr) { n, _ = readFD(fd, c.in) }) // with an error, nothing came
	}
	return n
}

// idle says that the request is over and another may come.
func (c *conn) idle() {
	c.watched.Store(false)
	c.mu.Lock()
	c.waiting, c.work = forNext, nil
	c.mu.Unlock()
}

// hurry gives a connection without a request a moment for one. Anybody may call it.
func (c *conn) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	grace := min(c.service.edge.lastGrace(), c.service.listener.IdleTimeout)
	switch c.waiting {
	case forNothing:
		return
	case forFirst:
		grace = min(c.service.edge.firstGrace(), c.service.listener.silentTime())
	}
	c.hurried = true
	c.readUntil(time.Now().Add(grace))
}

// cutOff ends the connection wherever it is. Anybody may call it.
func (c *conn) cutOff() {
	c.cut()
	c.leave()
}

// leave says that the client has left. Anybody may call it.
func (c *conn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.work != nil {
		c.work.recall.end(errLeft)
	}
	if c.up != nil {
		c.up.cut()
	}
}

// watch looks whether the client has left or the master is silent. Anybody may call it.
func (c *conn) watch(now balance.Instant) {
	c.mu.Lock()
	if c.work != nil {
		c.work.recall.expire(now)
	}
	if c.session != nil {
		c.session.watch(now)
	}
	waits := c.work != nil && c.watched.Load() && now.Sub(c.work.exchange.began) > watchEvery/2
	c.mu.Unlock()
	if waits && c.socket != nil {
		gone := false
		if err := c.socket.Control(func(fd uintptr) { gone = hungUp(fd) }); err == nil && gone && c.watched.Load() {
			c.leave()
		}
	}
}

// attach makes u the server's side of the link. It returns false if the client has left.
func (c *conn) attach(u *upstream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.work.recall.left() {
		return false
	}
	c.up = u
	return true
}

// detach takes the server's side away: it is kept for others if it is good for them.
func (c *conn) detach(good bool) {
	c.mu.Lock()
	u := c.up
	c.up = nil
	c.mu.Unlock()
	switch {
	case u == nil:
	case good && !u.isCut.Load():
		u.home.put(clock.Now(), u)
	default:
		_ = u.Close() // its exchange is over
	}
}

// fill reads more behind what is there, into another buffer if this one is full.
func (c *conn) fill() error {
	if c.w == len(c.in) {
		larger := make([]byte, 2*len(c.in))
		c.w = copy(larger, c.in[c.r:c.w])
		c.r, c.in = 0, larger
	}
	n, err := c.take(c.in[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	return err
}

// serveOne serves the request that has begun and reports whether another may follow.
func (c *conn) serveOne() bool {
	w := c.service.works.Get().(*work)
	again := c.exchangeOne(w)
	c.idle()
	w.clear()
	c.service.works.Put(w)
	return again
}

func (c *conn) exchangeOne(w *work) bool {
	w.req.Limits = c.service.listener.limits
	n, err := c.readHead(w)
	if err != nil {
		c.refuse(w, err)
		return false
	}
	w.begin(c.in[c.r:c.w], n)
	c.mu.Lock()
	w.recall.renew()
	c.work = w
	c.mu.Unlock()
	x := &w.exchange
	w.shown = c.shown
	answer := w.open(c.service.edge, c.service.listener, c.peer)
	again := c.carry(w, answer)
	c.detach(false)
	x.close()
	if !again {
		c.farewell(w)
	}
	return again
}

// readHead returns the length of the head that begins what is there, when it is whole.
func (c *conn) readHead(w *work) (int, error) {
	limited := false
	for {
		if c.r < c.w {
			n, err := w.req.Parse(c.in[c.r:c.w])
			if n > 0 || err != nil {
				return n, err
			}
		}
		if !limited {
			limited = true
			c.reading = patience{}
			c.readUntil(time.Now().Add(c.service.listener.HeaderTimeout))
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
}

// refuse answers a head that is none.
func (c *conn) refuse(w *work, err error) {
	answer, detail, ok := unreadable(err, c.w-c.r)
	if !ok || c.isCut.Load() {
		return
	}
	x := &w.exchange
	w.whole = false
	x.refused(c.service.edge, c.service.listener, c.peer, &w.recall)
	x.glimpse(c.in[c.r:c.w])
	c.answer(w, answer, detail, true)
	x.close()
	c.farewell(w)
}

// unreadable is what a client is told whose head could not be read, of which so many
// bytes have come; false: nothing, since nothing was asked.
func unreadable(err error, come int) (a flight.Answer, detail string, ok bool) {
	var bad http1.Error
	switch {
	case errors.As(err, &bad):
		a, detail = flight.Answer{Status: bad.Status(), Reason: reasonMalformed}, bad.Error()
		if a.Status == 431 {
			a.Reason, detail = reasonHeadTooBig, ""
		}
		return a, detail, true
	case errors.Is(err, os.ErrDeadlineExceeded) && come > len("\r\n"):
		return flight.Answer{Status: 408, Reason: reasonHeadSlow}, "", true
	}
	return a, "", false
}

// answer tells the client what came instead of a server's response.
func (c *conn) answer(w *work, a flight.Answer, detail string, closing bool) bool {
	x := &w.exchange
	size := 0
	detail = x.answers(a, detail)
	w.out, size = appendProblem(w.out[:0], a, detail, x.id, w.req.Method == http1.MethodHead && w.told.buf != nil, closing)
	x.status, x.bytes = a.Status, int64(size)
	_, err := c.Write(w.out)
	return err == nil && !closing
}

// farewell lets the client read what it was told: a connection that is closed with
// something unread in it is reset, and what was sent before is lost.
func (c *conn) farewell(w *work) {
	const most = 256 << 10
	wait := time.Second
	if w.whole && c.r == c.w { // nothing more is known to come
		wait = idleGrace
		if !w.req.KeepAlive {
			return
		}
	}
	if w.abort || c.isCut.Load() || c.closeWrite() != nil {
		return
	}
	c.readUntil(time.Now().Add(wait))
	for got := 0; got < most; {
		n, err := c.Conn.Read(c.in)
		if err != nil {
			return
		}
		got += n
	}
}

// isEnd reports whether a peer closed its side in good order.
func isEnd(err error) bool { return err == io.EOF }
