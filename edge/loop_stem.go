package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"syscall"

	"golang.org/x/net/http2/hpack"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// stem is a connection to a server that speaks HTTP/2, in a loop. The links of many
// requests share it: each has a shoot of it.
type stem struct {
	tongue
	timer
	list     *stemList
	stage    stemStage
	shoots   []*shoot        // that have begun, by their numbers
	waiting  []*shoot        // until it stands
	held     int             // how many there are of both
	next     uint32          // number of the next stream
	limit    int             // streams at once
	served   bool            // the server has answered by it
	turn     int             // of them is woken first
	shut     bool            // one of them could not say all, for want of a window
	leftOver int             // of held, those whose links are done
	since    balance.Instant // when it was begun
	abandon  context.CancelFunc

	// What comes.
	in      []byte // of a frame that has not come whole
	pending bool   // in begins with whole frames, for which there was no time
	window  int64  // bytes of bodies that the server may still send
	credit  int64  // of them that it may send again, and has not been told of
	packed  *hpack.Decoder
	reply   h2.Reply
	block   block

	// When.
	heardAt balance.Instant // of the server
	tookAt  balance.Instant // it took something, or there was nothing to take
	pingAt  balance.Instant // a PING was sent; zero: none is on its way
	idleAt  balance.Instant // the last stream ended
}

// stemStage is how far a stem has come.
type stemStage uint8

const (
	sprouting stemStage = iota // the connection is being made
	greeted                    // we have begun to speak; the server has not yet
	standing                   // streams are taken
	wilting                    // no more are; it ends with the last
	fallen
)

const (
	shootsMost     = 250       // streams at once by one connection
	shootsFirst    = 100       // as long as the server has not said how many it takes
	shootWindow    = 256 << 10 // bytes of a response's body that may be on their way, and are kept for a client that takes them slowly
	stemWindow     = 4 << 20   // of all by one connection
	repaidAtOnce   = stemWindow / 4
	leftOverMost   = 8    // streams whose links are done, and of which the server has not said the end
	mostShoots     = 1024 // kept for the next stream
	responsePacked = 2 * responseHeadMost
)

var (
	errNotTaken = errors.New("the server did not take the stream")
	errSilence  = errors.New("the server does not answer PING")
)

// stemList is the connections that take streams, or soon will.
type stemList struct {
	key   target
	of    whom
	stems []*stem
	limit int // streams that one of them takes, as far as is known
}

// grow returns a connection that takes a stream more, perhaps one that is still to be made.
// once: the stream is for a request that cannot be repeated, and so not trusted to an idle
// connection whose end may have been told in this very turn.
func (l *loop) grow(key target, of whom, once bool) (*stem, error) {
	list := l.stems[key]
	if list == nil {
		list = &stemList{key: key, of: of, limit: shootsFirst}
		l.stems[key] = list
		l.retire(of, key)
	}
	for _, k := range list.stems {
		if k.held < k.limit && (!once || k.held > 0 || k.stage < standing || k.quiet()) {
			return k, nil
		}
	}
	k := &stem{list: list, next: 1, limit: list.limit, window: h2.WindowFirst, idleAt: l.now}
	k.tongue = newTongue(k)
	k.loop, k.end.owner, k.timer.owner, k.server = l, k, k, true
	k.since = l.now
	list.stems = append(list.stems, k)
	if err := k.sprout(); err != nil {
		k.part()
		return nil, err
	}
	k.schedule()
	return k, nil
}

// sprout begins to make the connection: on a goroutine, if there is a name to be looked up
// or a hand to be shaken.
func (k *stem) sprout() error {
	l, key := k.loop, &k.list.key
	if key.tls == nil {
		descriptor, err := l.engine.connect(key.address)
		if err != nil {
			return err
		}
		if descriptor.IsOpen() {
			return k.take(&descriptor)
		}
	}
	ctx, abandon := context.WithTimeout(context.Background(), l.engine.edge.cfg.ConnectTimeout)
	k.abandon = abandon
	l.engine.aside.Go(func() {
		descriptor, secure, err := l.engine.reach(ctx, key)
		if !l.post(letter{do: func() { k.reached(&descriptor, secure, err); descriptor.Close() }}) {
			descriptor.Close()
		}
	})
	return nil
}

// take has the loop watch the descriptor, which it moves.
func (k *stem) take(descriptor *fd.FD) error {
	return k.loop.watch(&k.end, descriptor, readiness)
}

// reach makes a connection, and proves who the server is if that is asked for.
func (e *loops) reach(ctx context.Context, key *target) (descriptor fd.FD, secure *sealed, err error) {
	conn, err := e.edge.reaches.DialContext(ctx, "tcp", key.address)
	if err != nil {
		return fd.FD{}, nil, err
	}
	if key.tls != nil {
		if secure, err = handshake(ctx, conn, key); err != nil {
			_ = conn.Close() // nothing was said
			return fd.FD{}, nil, err
		}
	}
	descriptor, err = fd.Take(conn)
	return descriptor.Move(), secure, err
}

// reached goes on with a connection that was made elsewhere. It moves the descriptor if
// it wants it.
func (k *stem) reached(descriptor *fd.FD, secure *sealed, err error) {
	k.abandon()
	k.abandon = nil
	switch {
	case k.stage == fallen:
	case err != nil:
		k.fall(err)
	default:
		if err := k.take(descriptor); err != nil {
			k.fall(err)
			return
		}
		k.useTLS(secure)
		k.writable = true
		k.ready()
	}
}

// greet begins to speak.
func (k *stem) greet() {
	l := k.loop
	k.stage = greeted
	k.packed = hpack.NewDecoder(4096, func(f hpack.HeaderField) { k.reply.Field(f.Name, f.Value) })
	k.packed.SetMaxStringLength(responsePacked)
	k.heardAt, k.tookAt = l.now, l.now
	k.speak()
	k.out = h2.AppendSettings(append(k.out, h2.Preface...),
		h2.Chosen{Setting: h2.EnablePush, Value: 0},
		h2.Chosen{Setting: h2.InitialWindowSize, Value: shootWindow},
		h2.Chosen{Setting: h2.MaxHeaderListSize, Value: responseHeadMost})
	k.out = h2.AppendWindowUpdate(k.out, 0, stemWindow-h2.WindowFirst)
	k.window = stemWindow
}

// stand lets those begin who have waited, as many as the server takes; others have to look
// for another connection.
func (k *stem) stand() {
	k.stage, k.list.limit = standing, min(k.limit, shootsMost)
	k.limit = k.list.limit
	if k.limit == 0 {
		k.fall(errors.New("the server takes no streams"))
		return
	}
	waiting := k.waiting
	k.waiting = nil
	for i, s := range waiting {
		if i < k.limit {
			s.stir()
			continue
		}
		f := s.inbound
		f.detach()
		f.link()
	}
}

// ready implements the end's owner.
func (k *stem) ready() {
	if k.stage == sprouting {
		if !k.writable {
			return
		}
		if err := k.fd.Connected(); err != nil {
			k.fall(err)
			return
		}
		k.greet()
	}
	if !k.down.empty() && k.writable {
		k.speak()
	}
	k.listen()
	if k.isOpen() {
		k.schedule()
	}
}

// listen reads what has come, for the time that a connection has in a turn.
func (k *stem) listen() {
	turn := k.loop.turn()
	k.listenFor(&turn)
}

// listenFor goes on when as much of bodies waits to go as may: perhaps the server takes no more until what it
// says is taken.
func (k *stem) listenFor(turn *limits.Turn) {
	l := k.loop
	for (k.readable || k.pending) && k.stage < fallen && k.behind() < 2*mostBehind {
		if turn.Over(clock.Now) {
			l.soon(&k.end)
			return
		}
		if k.pending {
			k.hear(k.in, turn)
			continue
		}
		p, err := k.more(k.in, allAtOnce)
		switch {
		case err == syscall.EAGAIN:
			return
		case err == io.EOF:
			k.fall(err)
			return
		case err != nil:
			k.fall(os.NewSyscallError("read", err))
			return
		}
		k.heardAt, k.pingAt = l.now, 0
		turn.Spend(limits.TurnCall)
		k.hear(p, turn)
	}
}

// hear deals with what has come, and keeps what is no whole frame. p may lie in what is
// kept already.
func (k *stem) hear(p []byte, turn *limits.Turn) {
	for k.pending = false; k.stage < fallen; {
		if k.pending = turn.Over(clock.Now); k.pending {
			break
		}
		f, n, err := h2.Next(p)
		turn.Spend(costOf(&f))
		if err == nil && n > 0 {
			p = p[n:]
			err = k.follow(&f)
		}
		if err != nil {
			k.refuse(err)
			return
		}
		if n == 0 {
			break
		}
	}
	if k.stage == fallen {
		return
	}
	if len(p) == 0 && (k.held == 0 || cap(k.in) > 2*h2.FrameMost) {
		k.in = nil
		return
	}
	k.in = append(k.in[:0], p...)
}

// flush sends what there is to say.
func (k *stem) flush() {
	waited := k.down.waiting()
	clear, took, err := k.send()
	if err != nil {
		k.readable = true // what it said before it went is still to be read
		if k.down.reset(k.loop); k.stage < fallen {
			k.listenFor(&limits.Turn{Most: math.MaxInt64}) // the socket's buffer bounds it
			k.fall(os.NewSyscallError("write", err))
		}
		return
	}
	if clear || waited == 0 || took > 0 {
		k.tookAt = k.loop.now
	}
	if k.down.waiting() < mostBehind/2 {
		k.wake()
		if k.readable || k.pending {
			k.loop.soon(&k.end) // it was not read meanwhile
		}
	}
	if clear && k.stage == wilting && k.held == 0 {
		k.fall(nil)
		return
	}
	k.schedule()
}

// wake lets those go on that have something to say and may. Each time another one is
// first, lest one take the whole window again and again.
func (k *stem) wake() {
	if !k.shut {
		return
	}
	k.shut = false
	n := len(k.shoots)
	for i := range n {
		s := k.shoots[(k.turn+i)%n]
		s.wake()
		k.shut = k.shut || !s.writable
	}
	k.turn++
}

// left says that a shoot is no more.
func (k *stem) left() {
	if k.held--; k.held == 0 && k.stage < fallen {
		k.idleAt = k.loop.now
		k.speak() // which looks what is to be done then
	}
}

// wilt takes no more streams.
func (k *stem) wilt() {
	if k.stage >= wilting {
		return
	}
	k.stage = wilting
	k.part()
	k.speak()
}

// part takes it off the list of those that take streams.
func (k *stem) part() {
	list := k.list
	if i := slices.Index(list.stems, k); i >= 0 {
		list.stems = slices.Delete(list.stems, i, i+1)
	}
	if len(list.stems) == 0 && k.loop.stems[list.key] == list {
		delete(k.loop.stems, list.key)
	}
}

// fell ends all connections of HTTP/2 to servers.
func (l *loop) fell() {
	for _, list := range l.stems {
		for _, k := range slices.Clone(list.stems) {
			k.fall(nil)
		}
	}
	for i := range l.slots { // those that took no more streams
		if e := l.slots[i].end; e != nil {
			if k, ok := e.owner.(*stem); ok {
				k.fall(nil)
			}
		}
	}
}

// refuse ends the connection for what its server did wrong.
func (k *stem) refuse(err error) {
	code := h2.InternalError
	if why := (*h2.Error)(nil); errors.As(err, &why) {
		code = why.Code
	}
	k.bid(0, code, "")
	_, _, _ = k.send() // it is told if it takes that at once
	k.loop.engine.edge.cfg.Log.Debug("connection to a server given up", "address", k.list.key.address, "err", err)
	k.fall(fmt.Errorf("connection: %w", err))
}

// fall ends the connection, and with it whatever is under way on it.
func (k *stem) fall(err error) {
	if k.stage == fallen {
		return
	}
	k.stage = fallen
	l := k.loop
	if k.abandon != nil {
		k.abandon()
	}
	k.part()
	l.wheel.drop(&k.timer)
	if err == nil && k.down.empty() {
		k.closeNotify()
	}
	k.down.reset(l)
	k.in, k.block = nil, block{}
	k.end.close()
	for _, s := range k.waiting {
		s.lose(err, false)
	}
	for _, s := range k.shoots {
		s.unheard = k.taken <= s.behind
		s.lose(err, k.served)
	}
	k.waiting, k.shoots = nil, nil
}

// schedule sets the time at which something must be done if nothing happens until then.
func (k *stem) schedule() {
	switch {
	case k.stage < standing:
		k.loop.wheel.set(&k.timer, k.since.Add(k.loop.engine.edge.cfg.ConnectTimeout))
	case !k.down.empty():
		k.loop.wheel.set(&k.timer, k.tookAt.Add(defaultIdleTimeout))
	case k.held == 0:
		k.loop.wheel.set(&k.timer, k.idleAt.Add(defaultIdleTimeout))
	case k.pingAt != 0:
		k.loop.wheel.set(&k.timer, k.pingAt.Add(pingWait))
	default:
		k.loop.wheel.set(&k.timer, k.heardAt.Add(pingAfter))
	}
}

// expired implements the timer's owner.
func (k *stem) expired() {
	now := k.loop.now
	switch {
	case k.stage < standing:
		k.fall(os.ErrDeadlineExceeded)
	case !k.down.empty() && now >= k.tookAt.Add(defaultIdleTimeout):
		k.fall(os.ErrDeadlineExceeded)
	case !k.down.empty():
	case k.held == 0 && now >= k.idleAt.Add(defaultIdleTimeout):
		k.bid(0, h2.NoError, "")
		k.wilt()
	case k.held == 0:
	case k.pingAt != 0 && now >= k.pingAt.Add(pingWait):
		k.fall(errSilence)
	case k.pingAt == 0 && now >= k.heardAt.Add(pingAfter):
		k.pingAt = now
		k.speak()
		k.out = h2.AppendPing(k.out, make([]byte, 8), 0)
	}
	if k.isOpen() {
		k.schedule()
	}
}
