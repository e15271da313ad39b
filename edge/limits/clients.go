package limits

import (
	"math"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// ClientKey tells clients apart: a balance.ClientPrefix, or a hash of what a client says of itself.
// Zero is a client that is not known, which is not limited.
type ClientKey uint64

// Verdict is what became of a client that wanted to enter.
type Verdict uint8

const (
	Admitted Verdict = iota
	TooMany          // it has as many open as it may
	TooFast          // it comes more often than it may
)

// Clients limits what each client has open, and how often it comes. Its memory is bounded: it knows
// MostClients at once. A client that has nothing open is forgotten when its burst is full again, which
// changes nothing for it, or, of those the one idle for longest, when room is needed. If all that are known have
// something open, those that come then share one line, with the limits of one client, until one of
// the known has nothing open any more. It is safe for concurrent use.
type Clients struct {
	most     int           // open at once; zero: any number
	interval time.Duration // between two entries in the long run; zero: any
	slack    time.Duration // that a client may be ahead of that: its burst
	shards   [clientShards]clientShard
}

const (
	clientShards = 64
	shardMost    = 1024 // clients that a shard knows

	// MostClients is how many clients are known at once.
	MostClients = clientShards * shardMost
)

// NewClients returns a limit of so many open at once, and of so many entries a second on average with
// burst of them at once. Zero is no limit; a burst of zero is one second's, at least one.
func NewClients(open int, perSecond float64, burst int) *Clients {
	c := &Clients{most: open}
	if perSecond > 0 {
		if burst == 0 {
			burst = int(math.Ceil(perSecond))
		}
		c.interval = max(1, time.Duration(float64(time.Second)/perSecond))
		c.slack = time.Duration(burst-1) * c.interval
	}
	for i := range c.shards {
		c.shards[i].init()
	}
	return c
}

// Enter counts one more that a client has open, if it may. If not, wait is how long it takes
// until it may come again by its rate; zero: that is not the reason. Whatever has entered must leave.
func (c *Clients) Enter(now balance.Instant, k ClientKey) (v Verdict, wait time.Duration) {
	if k == 0 {
		return Admitted, 0
	}
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetIdle(now)
	e := s.of(k)
	switch ahead := e.due.Sub(now); {
	case c.most > 0 && e.open >= c.most:
		v = TooMany
	case c.interval > 0 && ahead > c.slack:
		v, wait = TooFast, ahead-c.slack
	default:
		e.open++
		if c.interval > 0 {
			e.due = max(e.due, now).Add(c.interval)
		}
	}
	s.place(e)
	return v, wait
}

// Leave says that something a client had open is over.
func (c *Clients) Leave(k ClientKey) {
	if k == 0 {
		return
	}
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.known[k]
	if e == nil || e.open == 0 { // it came when there was no room
		e = &s.others
	}
	e.open--
	s.place(e)
}

// Known returns how many clients are known.
func (c *Clients) Known() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += len(s.known)
		s.mu.Unlock()
	}
	return n
}

// shard spreads keys, of which neighbours are alike.
func (c *Clients) shard(k ClientKey) *clientShard {
	return &c.shards[uint64(k)*0x9e3779b97f4a7c15>>58]
}

// clientShard is the part of the clients that one lock is for.
type clientShard struct {
	mu     sync.Mutex
	known  map[ClientKey]*clientEntry
	others clientEntry  // the line of those for whom there is no room
	idle   clientEntry  // begins and ends the ring of those with nothing open, idle for longest first
	spare  *clientEntry // entries to be used again, by next
}

// clientEntry is what is known of a client.
type clientEntry struct {
	key        ClientKey
	open       int
	due        balance.Instant // when the next would come at the average rate; its burst is full from then on
	prev, next *clientEntry    // in the ring of the idle; nil: it is not there
}

func (s *clientShard) init() {
	s.known = make(map[ClientKey]*clientEntry)
	s.idle.prev, s.idle.next = &s.idle, &s.idle
}

// of returns the entry of a client, a new one if it is not known, or that of the others if there is no room.
func (s *clientShard) of(k ClientKey) *clientEntry {
	if e := s.known[k]; e != nil {
		return e
	}
	if len(s.known) >= shardMost {
		if s.idle.next == &s.idle {
			return &s.others
		}
		s.forget(s.idle.next)
	}
	e := s.spare
	if e == nil {
		e = new(clientEntry)
	} else {
		s.spare = e.next
	}
	*e = clientEntry{key: k}
	s.known[k] = e
	return e
}

// place puts an entry where it belongs: in the ring, as the last, or not.
func (s *clientShard) place(e *clientEntry) {
	if e == &s.others {
		return
	}
	idle := e.open == 0
	switch {
	case idle && e.due == 0:
		s.forget(e) // it is as one that never came
	case idle && e.prev == nil:
		e.prev, e.next = s.idle.prev, &s.idle
		e.prev.next, e.next.prev = e, e
	case !idle:
		e.unlink()
	}
}

func (e *clientEntry) unlink() {
	if e.prev != nil {
		e.prev.next, e.next.prev = e.next, e.prev
		e.prev, e.next = nil, nil
	}
}

// forgetIdle forgets a few of those that have been idle for so long that it makes no difference.
func (s *clientShard) forgetIdle(now balance.Instant) {
	for range 2 {
		e := s.idle.next
		if e == &s.idle || e.due > now {
			return
		}
		s.forget(e)
	}
}

func (s *clientShard) forget(e *clientEntry) {
	delete(s.known, e.key)
	e.unlink()
	e.next, s.spare = s.spare, e
}
