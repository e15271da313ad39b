package edge

import (
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// trunk is a client's connection of HTTP/2 in a loop. Each of its streams is a branch,
// which the rest of the loop takes for a client's connection of HTTP/1.1.
type trunk struct {
	tongue
	timer
	service  *loopService
	peer     netip.Addr
	stage    trunkStage
	branches []*branch // those that are not closed, by their numbers
	next     int       // of them is woken first
	served   bool      // one of them has ended, or has brought a part of a body

	// What comes.
	in      []byte // of a frame that has not come whole
	preface int    // bytes of the client's preface that have come
	settled bool   // its first SETTINGS have come
	last    uint32 // the highest number of a stream so far
	window  int64  // bytes of bodies that it may still send
	credit  int64  // of them that it may send again, and has not been told of
	leave   allowance
	packed  *hpack.Decoder
	head    h2.Head
	block   block
	struck  struckStreams
	unread  unreadStreams
	wasted  int   // frames that bring nothing, for which those stand that are not yet weighed and came to nothing by their client's fault
	barren  int64 // bytes of frames that brought nothing after all, and are not yet weighed
	tooLong int   // requests whose fields were more than is taken
	broken  bool  // it broke the protocol, and is told so
	pending bool  // in begins with whole frames, which did not fit into their turn

	// When.
	resumeAt balance.Instant // reading is put off until then; zero: it is not
	heardAt  balance.Instant // of the client
	tookAt   balance.Instant // the client took something, or there was nothing to take
	pingAt   balance.Instant // a PING was sent; zero: none is on its way
	idleAt   balance.Instant // the last stream ended
	endAt    balance.Instant // no more streams are taken; zero: they are
	final    uint32          // the last stream that is served, once that is told
}

// trunkStage is how far a trunk has come.
type trunkStage uint8

const (
	growing      trunkStage = iota // new streams are taken
	aging                          // no more are; it ends with the last
	felled                         // all has been said, and some of it is on its way
	settlingDown                   // all has gone; what the client still sends is thrown away
	gone
)

const (
	mostBranches  = 1024     // kept for the next stream
	allAtOnce     = 64 << 10 // bytes that are read at once
	someAtOnce    = 16 << 10 // of a client that has sent frames that bring nothing
	fewAtOnce     = 4 << 10  // of one that has sent many, or nothing yet
	lingers       = time.Second
	discardedMost = 128 << 10 // bytes beyond the window that are read and forgotten when the connection has ended
	creditAtOnce  = connectionWindow / 4
	tooLongMost   = 3               // requests with more fields than are taken, after which the connection ends
	givenUpWeighs = 10              // frames that bring nothing: a server has perhaps been asked, and its connection is lost
	streamsBeyond = 2 * streamsMost // with those that their clients have given up, and that are still being ended
)

// beginTrunk makes one of an accepted descriptor, of which something was read already.
func (l *loop) beginTrunk(s *loopService, descriptor *fd.FD, peer netip.Addr, tls *sealed, early []byte) {
	k := &trunk{service: s, peer: peer, window: connectionWindow}
	k.tongue = newTongue(k)
	k.end.owner, k.timer.owner = k, k
	if err := l.watch(&k.end, descriptor, readiness); err != nil {
		s.left(l, k)
		return
	}
	s.members[l][k] = struct{}{}
	k.useTLS(tls)
	k.head.Schemes = s.listener.schemes(peer)
	k.packed = hpack.NewDecoder(4096, func(f hpack.HeaderField) { k.head.Field(f.Name, f.Value) })
	k.packed.SetMaxStringLength(2 * max(s.listener.HeaderLimit, h2.FrameMost))
	k.heardAt, k.tookAt, k.idleAt = l.now, l.now, l.now
	k.greet()
	if s.draining.Load() {
		k.hurry()
	}
	if len(early) > 0 {
		turn := k.loop.turn()
		k.take(early, &turn)
	}
	k.ready()
	if s.isCut.Load() {
		k.cutOff()
	}
}

// greet says what a client may do.
func (k *trunk) greet() {
	k.speak()
	k.out = h2.AppendSettings(k.out,
		h2.Chosen{Setting: h2.MaxConcurrentStreams, Value: streamsMost},
		h2.Chosen{Setting: h2.InitialWindowSize, Value: streamWindow},
		h2.Chosen{Setting: h2.MaxHeaderListSize, Value: uint32(k.service.listener.HeaderLimit)})
	k.out = h2.AppendWindowUpdate(k.out, 0, connectionWindow-h2.WindowFirst)
}

// ready implements the end's owner.
func (k *trunk) ready() {
	if !k.down.empty() && k.writable {
		k.speak()
	}
	switch k.stage {
	case growing, aging:
		k.listen()
	case settlingDown:
		k.throw()
	}
	if k.isOpen() {
		k.schedule()
	}
}

// listen reads what has come, as long as the client takes what is said to it.
func (k *trunk) listen() {
	l := k.loop
	for turn := l.turn(); (k.readable || k.pending) && k.stage <= aging && k.resumeAt == 0 && k.behind() < mostBehind; {
		if turn.Over(clock.Now) {
			l.soon(&k.end)
			return
		}
		if k.pending {
			k.take(k.in, &turn)
			continue
		}
		p, err := k.more(k.in, k.portion())
		switch {
		case err == syscall.EAGAIN:
			return
		case err != nil:
			k.close() // and so all its requests
			return
		}
		k.heardAt, k.pingAt = l.now, 0
		turn.Spend(limits.TurnCall)
		k.take(p, &turn)
	}
}

// portion is how much is read at once: less of a client that has sent frames which bring
// nothing, or has neither been served nor sent a body yet, since a great many go into a large one, and all of
// them are dealt with before anybody else has a turn.
func (k *trunk) portion() int {
	switch {
	case !k.served || k.leave.spent > idleFramesAtOnce/64:
		return fewAtOnce
	case k.leave.spent > 0:
		return someAtOnce
	}
	return allAtOnce
}

// take deals with what has come, and keeps what is no whole frame.
func (k *trunk) take(p []byte, turn *limits.Turn) {
	if k.preface < len(h2.Preface) {
		n := min(len(p), len(h2.Preface)-k.preface)
		if string(p[:n]) != h2.Preface[k.preface:k.preface+n] {
			k.fail(&h2.Error{Code: h2.ProtocolError, Reason: "the connection does not begin with the preface of HTTP/2"})
			return
		}
		k.preface += n
		p = p[n:]
	}
	idle, octets := 0, int64(0)
	for k.pending = false; k.stage <= aging; {
		if k.pending = turn.Over(clock.Now); k.pending {
			break
		}
		f, n, err := h2.Next(p)
		turn.Spend(costOf(&f))
		if err == nil && n > 0 {
			p = p[n:]
			if brings(&f) {
				octets += int64(f.Size)
			} else if f.Type != h2.WindowUpdate {
				idle++
			}
			err = k.follow(&f)
		}
		if err != nil {
			k.fail(err)
			return
		}
		if n == 0 {
			break
		}
	}
	if k.stage <= aging {
		k.keep(p)
		k.pace(idle+k.wasted, max(0, octets-k.barren))
		k.wasted, k.barren = 0, 0
	}
}

// turn begins the share that one connection has of this turn.
func (l *loop) turn() limits.Turn { return limits.Turn{Most: l.engine.edge.cfg.turnMost} }

// costOf is what a frame costs, as a limits.Turn counts it.
func costOf(f *h2.Frame) int { return 1 + f.Size>>10 }

// brings reports whether a frame brings a request further.
func brings(f *h2.Frame) bool {
	return f.Type == h2.Headers || f.Type == h2.Data && (f.Size > 0 || f.Has(h2.EndStream))
}

// keep keeps a part of a frame. p may lie in what is kept already.
func (k *trunk) keep(p []byte) {
	if len(p) == 0 && (len(k.branches) == 0 || cap(k.in) > 2*h2.FrameMost) {
		k.in = nil
		return
	}
	k.in = append(k.in[:0], p...)
}

// pace holds back a client that sends too many frames that bring nothing.
func (k *trunk) pace(idle int, octets int64) {
	if k.leave.spent > 0 {
		k.leave.earn(octets)
	}
	if idle == 0 {
		return
	}
	if k.leave.take(k.loop.now, idle) > 0 {
		k.service.engine.edge.metrics.heldBack.Inc()
		k.resumeAt = k.loop.now.Add(k.leave.debt())
	}
}

// wake lets those branches go on that have something to say and may. Each time another
// one is first, lest one take the whole window again and again.
func (k *trunk) wake() {
	n := len(k.branches)
	for i := range n {
		k.branches[(k.next+i)%n].wake()
	}
	k.next++
}

// left says that a branch is no more.
func (k *trunk) left(b *branch) {
	for i := range k.branches {
		if k.branches[i] == b {
			k.branches = append(k.branches[:i], k.branches[i+1:]...)
			break
		}
	}
	k.served = true
	if len(k.branches) > 0 {
		return
	}
	if k.idleAt = k.loop.now; k.stage == gone {
		k.service.left(k.loop, k)
		return
	}
	k.speak() // which looks what is to be done then
}
