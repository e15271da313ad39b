package policy_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// bad is a way in which a server answers at once without doing the work.
type bad struct {
	name string
	out  balance.Outcome
}

var bads = []bad{
	{"404", balance.Outcome{Result: balance.ClientError, Status: 404}},
	{"429", balance.Outcome{Result: balance.Full, Status: 429}},
	{"429 for 5 s", balance.Outcome{Result: balance.Full, Status: 429, RetryAfter: 5 * time.Second}},
	{"429 for no time", balance.Outcome{Result: balance.Full, Status: 429, RetryAfter: time.Microsecond}},
	{"500", balance.Outcome{Result: balance.Fault, Status: 500}},
	{"503 for 5 s", balance.Outcome{Result: balance.Full, Status: 503, RetryAfter: 5 * time.Second}},
	{"gRPC 5", balance.Outcome{Result: balance.ClientError, Status: 200, GRPC: 5}},
	{"gRPC 8", balance.Outcome{Result: balance.Full, Status: 200, GRPC: 8}},
	{"gRPC 13", balance.Outcome{Result: balance.Fault, Status: 200, GRPC: 13}},
	{"gRPC 14 with pushback", balance.Outcome{Result: balance.Full, Status: 200, GRPC: 14, RetryAfter: 250 * time.Millisecond}},
	{"reset", balance.Outcome{Result: balance.Broken, Error: "reset by peer"}},
}

// arrivals is how requests come: from clients that each wait for the answer and think a
// little, or at random at a rate.
type arrivals struct {
	name    string
	clients int
	rate    float64 // a second
}

var twelve, forty = arrivals{"12 clients", 12, 0}, arrivals{"40 a second", 0, 40}

// market is a pool before servers that take 50 ms for a request, as many at once as they have
// slots, or answer badly at once.
type market struct {
	t       *testing.T
	pool    *balance.Pool
	rng     *rand.Rand
	how     arrivals
	free    [][]balance.Instant                                    // when each slot of each server is free; without slots: any number at once
	bad     func(now balance.Instant, server int) *balance.Outcome // nil: it does the work
	count   func(now balance.Instant, server int)                  // an answer has come
	request func(n int) balance.Request
	edges   int

	now      balance.Instant
	events   eventHeap
	waiting  map[balance.WaitID]waiting
	alone    time.Duration // that a request takes
	asked    int
	refused  int
	provoked int
	answered int
	took     time.Duration   // of all that were answered, from the ask
	times    []time.Duration // the same, one by one
	away     int             // requests of provokers that the pool has answered itself
	next     balance.Instant // when the pool is looked after; zero: with the next event
}

// waiting is a request in the queue.
type waiting struct {
	since    balance.Instant
	provoker bool // its client is one to which servers answer badly at once
}

type event struct {
	at    balance.Instant
	order int
	what  func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

func newMarket(t *testing.T, servers int, slots float64, cfg balance.Config, how arrivals, seed uint64) *market {
	cfg.Name = "web"
	s := &market{t: t, pool: balance.New(cfg, chosen(t), seed), rng: rand.New(rand.NewPCG(seed, 1)), how: how, now: second, waiting: make(map[balance.WaitID]waiting), edges: 1, alone: 50 * time.Millisecond,
		bad:   func(balance.Instant, int) *balance.Outcome { return nil },
		count: func(balance.Instant, int) {}}
	for i := range servers {
		s.free = append(s.free, make([]balance.Instant, int(slots)))
		if err := s.pool.Put(s.now, balance.ServerSpec{ID: balance.ServerID(fmt.Sprint(i)), Address: "127.0.0.1:1", Slots: slots}, true); err != nil {
			t.Fatal(err)
		}
	}
	for range how.clients {
		s.after(time.Duration(s.rng.IntN(int(10*time.Millisecond))), s.ask)
	}
	if how.rate > 0 {
		s.after(0, s.arrive)
	}
	return s
}

func (s *market) after(d time.Duration, what func()) {
	s.asked++
	heap.Push(&s.events, event{s.now.Add(d), s.asked, what})
}

func (s *market) arrive() {
	s.after(time.Duration(s.rng.ExpFloat64()/s.how.rate*1e9), s.arrive)
	s.ask()
}

// again has the client of an answered request ask anew.
func (s *market) again() {
	if s.how.clients > 0 {
		s.after(10*time.Millisecond, s.ask)
	}
}

func (s *market) ask() {
	req := balance.Request{Edge: balance.EdgeID(fmt.Sprint("e", s.asked%s.edges))}
	if s.request != nil {
		req = s.request(s.asked)
	}
	grant, err := s.pool.Pick(s.now, &req)
	if err == nil {
		s.link(grant, s.now)
		return
	}
	id, _, refusal := s.pool.Join(s.now, &req)
	if refusal != nil {
		s.refused++
		s.again()
		return
	}
	s.waiting[id] = waiting{since: s.now}
	s.expire()
}

func (s *market) link(g balance.Grant, asked balance.Instant) {
	var server int
	fmt.Sscan(string(g.Server), &server)
	out, took := s.bad(s.now, server), time.Millisecond
	if out == nil {
		out, took = new(balance.Outcome), s.work(server)
	}
	s.after(took, func() {
		o := *out
		o.Duration = took
		s.pool.Done(s.now, g.Lease, o)
		s.answered++
		s.took += s.now.Sub(asked)
		s.times = append(s.times, s.now.Sub(asked))
		s.count(s.now, server)
		s.again()
		s.serve()
	})
}

// work has the server do a request and returns how long that takes.
func (s *market) work(server int) time.Duration {
	free := s.free[server]
	if len(free) == 0 {
		return s.alone
	}
	first := 0
	for i := range free {
		if free[i] < free[first] {
			first = i
		}
	}
	free[first] = max(free[first], s.now).Add(s.alone)
	return free[first].Sub(s.now)
}

// serve takes the waits that are over, as a master does after a done and when a time has come.
func (s *market) serve() {
	for _, r := range s.pool.Serve(s.now, nil) {
		w := s.waiting[r.ID]
		delete(s.waiting, r.ID)
		switch {
		case w.provoker && r.Refusal != nil:
			s.turnedAway()
		case w.provoker:
			s.provoked429(r.Grant)
		case r.Refusal != nil:
			s.refused++
			s.again()
		default:
			s.link(r.Grant, w.since)
		}
	}
	s.expire()
}

// expire has the pool looked after when it wants to be.
func (s *market) expire() {
	next := s.pool.Expire(s.now)
	if next == 0 || len(s.waiting) == 0 || s.next > s.now && s.next <= next {
		return
	}
	s.next = max(next, s.now+1)
	s.after(s.next.Sub(s.now), func() {
		if s.now == s.next {
			s.next = 0
			s.serve()
		}
	})
}

func (s *market) run(length time.Duration) {
	end := s.now.Add(length)
	for len(s.events) > 0 && s.events[0].at < end {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.what()
	}
	s.now = end
	if err := s.pool.Check(); err != nil {
		s.t.Fatal(err)
	}
}

// pools are those in which a server that answers badly at once must not draw what comes.
var pools = []struct {
	name    string
	servers int
	slots   float64
	queue   int
}{
	{"4 servers, no queue", 4, 0, 0},
	{"4 servers", 4, 0, 1000},
	{"4 servers of 4 slots", 4, 4, 1000},
	{"4 servers of 1 slot", 4, 1, 1000},
	{"2 servers", 2, 0, 1000},
	{"2 servers of 8 slots", 2, 8, 1000},
	{"8 servers of 2 slots", 8, 2, 1000},
}

const back = .7 // of a fair share that a server gets again

// One server answers badly at once. It gets no more than its fair share of what is
// answered after the second second, and that again within half a minute once it is well.
func TestFastErrorsDrawNoTraffic(t *testing.T) {
	seeds := 2
	if testing.Short() {
		seeds = 1
	}
	for _, b := range bads {
		for _, how := range []arrivals{twelve, forty} {
			for _, p := range pools {
				t.Run(fmt.Sprintf("%s/%s/%s", b.name, how.name, p.name), func(t *testing.T) {
					t.Parallel()
					for _, c := range []struct{ before, lasting time.Duration }{{0, 40 * time.Second}, {20 * time.Second, 6 * time.Second}} {
						var during, after tally
						for seed := range uint64(seeds) {
							s := newMarket(t, p.servers, p.slots, balance.Config{QueueSize: p.queue}, how, seed)
							s.outage(b, c.before, c.lasting, &during, &after)
							if s.refused > 0 {
								t.Errorf("%v: %d requests were refused", c, s.refused)
							}
						}
						fair := 1 / float64(p.servers)
						if got := during.share(); got > fair {
							t.Errorf("%v: it got %.2f of %d requests, want %.2f at most", c, got, during.all, fair)
						}
						if got := after.share(); got < back*fair {
							t.Errorf("%v: 30 s later it got %.2f of %d requests, want %.2f at least", c, got, after.all, back*fair)
						}
					}
				})
			}
		}
	}
}

// tally counts answers of all servers and of the first.
type tally struct{ all, first int }

func (t *tally) share() float64 { return float64(t.first) / float64(max(1, t.all)) }

func (t *tally) add(server int) {
	if t.all++; server == 0 {
		t.first++
	}
}

// outage has the first server answer badly for a while, and counts what is answered meanwhile
// and in half a minute that begins half a minute after it is well.
func (s *market) outage(b bad, before, lasting time.Duration, during, after *tally) {
	sick := s.now.Add(before)
	well := sick.Add(lasting)
	s.bad = func(now balance.Instant, server int) *balance.Outcome {
		if server == 0 && now >= sick && now < well {
			return &b.out
		}
		return nil
	}
	s.count = func(now balance.Instant, server int) {
		if now >= sick.Add(2*time.Second) && now < well {
			during.add(server)
		}
		if now >= well.Add(30*time.Second) {
			after.add(server)
		}
	}
	s.run(before + lasting + time.Minute)
}

// A client to which servers answer badly at once, because of what it sends or how much, must
// not keep other clients' requests from them, be it at all servers or, by a key, at one.
func TestProvokedErrorsDisplaceNoOthers(t *testing.T) {
	for _, b := range bads {
		if b.out.Result != balance.ClientError && b.out.Result != balance.Full {
			continue // whose fault they are
		}
		for _, p := range pools {
			for _, rate := range []float64{10, 40} { // the others ask 40 times a second
				for _, one := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%s/%v a second/one server %v", b.name, p.name, rate, one), func(t *testing.T) {
						t.Parallel()
						plain := newMarket(t, p.servers, p.slots, balance.Config{QueueSize: p.queue}, forty, 3)
						plain.run(40 * time.Second)
						s := newMarket(t, p.servers, p.slots, balance.Config{QueueSize: p.queue}, forty, 3)
						s.provoke(b.out, rate, one)
						s.run(40 * time.Second)
						if s.refused > 0 {
							t.Errorf("%d of the others' requests were refused", s.refused)
						}
						if mean, before := s.meanTook(), plain.meanTook(); mean > before+20*time.Millisecond {
							t.Errorf("the others' requests took %v on average, want about %v as without", mean, before)
						}
						if rate := s.provoked; rate < 5 {
							t.Errorf("only %d were provoked", rate)
						}
						for _, v := range s.pool.Views(s.now) {
							// One to which a client sends several wrong requests for each right one may look wrong itself,
							// and is spared like any that fails; never more than the one.
							if v.State != balance.Up && !(one && v.Spec.ID == "0" && b.out.Result == balance.ClientError) {
								t.Errorf("server %s is %v", v.Spec.ID, v.State)
							}
						}
					})
				}
			}
		}
	}
}

// provoke has a client ask at a rate, and be answered so at once; by each server, or asking
// the first one only.
func (s *market) provoke(out balance.Outcome, rate float64, one bool) {
	var others []balance.ServerID
	for i := range s.free {
		if one && i > 0 {
			others = append(others, balance.ServerID(fmt.Sprint(i)))
		}
	}
	var next func()
	next = func() {
		s.after(time.Duration(s.rng.ExpFloat64()/rate*1e9), next)
		g, err := s.pool.Pick(s.now, &balance.Request{Edge: "e0", Tenant: "x", Exclude: others})
		if err != nil {
			return // it gives up
		}
		s.provoked++
		s.after(time.Millisecond, func() {
			s.pool.Done(s.now, g.Lease, out)
			s.serve()
		})
	}
	s.after(0, next)
}

func (s *market) meanTook() time.Duration { return s.took / time.Duration(max(1, s.answered)) }

func chosen(t *testing.T) balance.Policy {
	p, err := policy.New("")
	if err != nil {
		t.Fatal(err)
	}
	return p
}
