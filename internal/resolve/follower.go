package resolve

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// mostAtOnce is how many names are looked up at a time.
const mostAtOnce = 64

// Follower looks names up again and again, while Run runs. Its methods may be called from any goroutine.
type Follower struct {
	lookup func(context.Context, Query) Answer
	now    func() balance.Instant
	log    *slog.Logger  // is told of names that cannot be looked up, and can again; nil: none is
	unused time.Duration // after which a name that was not asked for is not followed any more; zero: never
	wake   chan struct{}

	reading sync.RWMutex // over memory work only; guards the following
	ats     map[at]*led

	mu       sync.Mutex // over memory work only
	names    map[Query]*followed
	busy     int // look-ups under way
	good     uint64
	failures uint64
}

// followed is one name of a Follower, guarded by its lock.
type followed struct {
	name  Name
	busy  bool
	asked balance.Instant // Await or At was called last, about
	first chan struct{}   // closed with the first answer
	ports []*led
}

// at is what At is asked for.
type at struct{ resolvers, hostPort string }

// led is where a name leads, with a port, for those who ask for each request.
type led struct {
	key  at
	port string
	at   atomic.Pointer[string]
	used atomic.Bool // since due looked last
}

// At returns where one server is whose address is a name and a port, as balance.Grant.At has it; "" if that is not known
// here, and then a Dialer finds out. Of the query only the resolvers are read.
func (f *Follower) At(q Query, hostPort string) string {
	f.reading.RLock()
	l := f.ats[at{q.Resolvers, hostPort}]
	f.reading.RUnlock()
	if l == nil {
		return ""
	}
	if !l.used.Load() {
		l.used.Store(true)
	}
	if known := l.at.Load(); known != nil {
		return *known
	}
	return ""
}

// lead has At know a name that Await has found. mu is held.
func (f *Follower) lead(q Query, n *followed, hostPort string) {
	key := at{q.Resolvers, hostPort}
	_, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return
	}
	f.reading.Lock()
	defer f.reading.Unlock()
	if f.ats[key] != nil {
		return
	}
	if f.ats == nil {
		f.ats = make(map[at]*led)
	}
	l := &led{key: key, port: port}
	n.ports = append(n.ports, l)
	f.ats[key] = l
	l.renew(&n.name)
}

func (l *led) renew(n *Name) {
	if place, ok := n.One(); ok {
		where := place.At(l.port)
		l.at.Store(&where)
	}
}

// drop stops following a name. mu is held.
func (f *Follower) drop(q Query, n *followed) {
	delete(f.names, q)
	f.reading.Lock()
	defer f.reading.Unlock()
	for _, l := range n.ports {
		delete(f.ats, l.key)
	}
}

// NewFollower returns a Follower of no names.
func NewFollower() *Follower {
	return &Follower{lookup: Lookup, now: clock.Now, wake: make(chan struct{}, 1), names: make(map[Query]*followed)}
}

// By has names looked up by another function than Lookup, for tests. It is called before Run.
func (f *Follower) By(lookup func(context.Context, Query) Answer) { f.lookup = lookup }

// Log has the log told of names that cannot be looked up. It is for callers that do not tell it otherwise, and
// is called before Run.
func (f *Follower) Log(log *slog.Logger) { f.log = log }

// Forget has names that are got by Await alone forgotten when they have not been asked for for so long. It is called
// before Run.
func (f *Follower) Forget(unused time.Duration) { f.unused = unused }

// Run looks names up until ctx ends. changed is called when a name's addresses or errors have changed, without a lock held; it may be nil.
func (f *Follower) Run(ctx context.Context, changed func()) {
	var running sync.WaitGroup
	defer running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-timer.C:
		}
		now := f.now()
		due, next := f.due(now)
		for _, q := range due {
			running.Go(func() {
				a := f.lookup(ctx, q)
				if ctx.Err() == nil && f.take(f.now(), q, a) && changed != nil {
					changed()
				}
				f.nudge()
			})
		}
		timer.Reset(next.Sub(now))
	}
}

// due returns the names to be looked up now, and marks them as busy, and when to look again.
func (f *Follower) due(now balance.Instant) (due []Query, next balance.Instant) {
	next = now.Add(time.Minute)
	f.mu.Lock()
	defer f.mu.Unlock()
	for q, n := range f.names {
		for _, l := range n.ports {
			if l.used.Swap(false) {
				n.asked = now
			}
		}
		if f.unused > 0 && now.Sub(n.asked) > f.unused && !n.busy {
			f.drop(q, n)
			continue
		}
		at := n.name.Due()
		switch {
		case n.busy:
		case at > now:
			next = min(next, at)
		case f.busy < mostAtOnce:
			n.busy = true
			f.busy++
			due = append(due, q)
		} // else the end of a look-up is waited for
	}
	return due, next
}

// take takes an answer. It reports whether that changes what is known.
func (f *Follower) take(now balance.Instant, q Query, a Answer) (changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy--
	if a.Err == nil {
		f.good++
	} else {
		f.failures++
	}
	n := f.names[q]
	if n == nil {
		return false // it is not asked for any more
	}
	n.busy = false
	was, since := n.name.Problem()
	first := !n.name.Asked()
	changed = n.name.Take(now, a)
	if first {
		close(n.first)
	}
	for _, l := range n.ports {
		l.renew(&n.name)
	}
	if f.log != nil {
		switch is, _ := n.name.Problem(); {
		case was == "" && is != "":
			f.log.Warn("a server's name cannot be looked up; where it led last stays in use", "name", q.Name, "err", is)
		case was != "" && is == "":
			f.log.Info("a server's name can be looked up again", "name", q.Name, "after", now.Sub(since).Round(time.Millisecond).String())
		}
	}
	return changed
}

// Keep follows these names, and no others.
func (f *Follower) Keep(queries map[Query]bool) {
	fresh := false
	f.mu.Lock()
	for q, n := range f.names {
		if !queries[q] && !n.busy {
			f.drop(q, n)
		}
	}
	for q := range queries {
		if f.names[q] == nil {
			f.names[q] = &followed{first: make(chan struct{})}
			fresh = true
		}
	}
	f.mu.Unlock()
	if fresh {
		f.nudge()
	}
}

// Get returns what is known of a name; nothing, if it is not followed.
func (f *Follower) Get(q Query) Name {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.names[q]; n != nil {
		return n.name.clone()
	}
	return Name{}
}

// Await follows a name, if it is not followed yet, and returns what is known of it as soon as anything is. From
// then on At knows that address.
func (f *Follower) Await(ctx context.Context, q Query, hostPort string) (Name, error) {
	now := f.now()
	f.mu.Lock()
	n := f.names[q]
	if n == nil {
		n = &followed{first: make(chan struct{})}
		f.names[q] = n
		f.nudge()
	}
	n.asked = now
	f.mu.Unlock()
	select {
	case <-n.first:
	case <-ctx.Done():
		return Name{}, context.Cause(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lead(q, n, hostPort)
	return n.name.clone(), nil
}

// Counts returns how many look-ups have given addresses, and how many have not.
func (f *Follower) Counts() (good, failed uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.good, f.failures
}

// Failing returns how many names could not be looked up last.
func (f *Follower) Failing() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, followed := range f.names {
		if why, _ := followed.name.Problem(); why != "" {
			n++
		}
	}
	return n
}

func (f *Follower) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}
