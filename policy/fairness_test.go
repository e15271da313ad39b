package policy_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/station"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// world is eight equal servers that share their four slots, under a steady load of
// four fifths, with reports that a test may forge.
type world struct {
	slots    int // of each server
	pool     *balance.Pool
	stations []*station.Station
	ids      []balance.ServerID
	leases   map[uint64]lease
	waiting  map[balance.WaitID]uint64 // jobs
	refused  int
	rng      *rand.Rand
	busy     []float64
	served   []int
	forge    func(server int, honest []balance.Metric) []balance.Metric // nil: all are honest
	slow     func(server int, took time.Duration) time.Duration         // nil: durations are as they are
}

type lease struct {
	id      balance.LeaseID
	server  int
	started balance.Instant
}

func newWorld(t *testing.T, slots int, cfg balance.Config) *world {
	w := &world{slots: slots, waiting: make(map[balance.WaitID]uint64), leases: make(map[uint64]lease), served: make([]int, 8), busy: make([]float64, 8)}
	p, err := policy.New("least-load")
	if err != nil {
		t.Fatal(err)
	}
	w.pool = balance.New(cfg, p, 1)
	for i := range 8 {
		id := balance.ServerID(fmt.Sprint("s", i))
		w.ids = append(w.ids, id)
		w.stations = append(w.stations, station.NewPS(slots, 1))
		if err := w.pool.Put(second, balance.ServerSpec{ID: id, Address: "127.0.0.1:8000"}, true); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// run lets the world go on from second to the given time and counts who served how
// many after the first ten seconds.
func (w *world) run(t *testing.T, length time.Duration) {
	t.Helper()
	const work, use, reportEvery = .1, .8, 100 * time.Millisecond
	rng := rand.New(rand.NewPCG(7, 8))
	w.rng = rng
	rate := use * 8 * float64(w.slots) / work
	arrival, report, job := second, second.Add(reportEvery), uint64(0)
	for now := second; now < second.Add(length); {
		next, at := min(arrival, report), -1
		for i, s := range w.stations {
			if end, ok := s.Next(); ok && end < next {
				next, at = end, i
			}
		}
		now = next
		switch {
		case at >= 0:
			w.finish(now, at)
			w.serve(now)
		case now == report:
			w.report(t, now, reportEvery)
			report = report.Add(reportEvery)
		default:
			job++
			w.ask(now, job)
			arrival = arrival.Add(time.Duration(rng.ExpFloat64() / rate * 1e9))
		}
	}
	if err := w.pool.Check(); err != nil {
		t.Fatal(err)
	}
}

func (w *world) ask(now balance.Instant, job uint64) {
	req := balance.Request{Edge: "e"}
	grant, err := w.pool.Pick(now, &req)
	if err == nil {
		w.begin(now, job, grant)
		return
	}
	id, _, refusal := w.pool.Join(now, &req)
	if refusal != nil {
		w.refused++
		return
	}
	w.waiting[id] = job
}

func (w *world) begin(now balance.Instant, job uint64, grant balance.Grant) {
	const work = .1
	var server int
	fmt.Sscanf(string(grant.Server), "s%d", &server)
	w.stations[server].Arrive(now, job, work*w.rng.ExpFloat64())
	w.leases[job] = lease{grant.Lease, server, now}
	if now > second.Add(10*time.Second) {
		w.served[server]++
	}
}

// serve lets those who wait go on.
func (w *world) serve(now balance.Instant) {
	for _, r := range w.pool.Serve(now, nil) {
		job := w.waiting[r.ID]
		delete(w.waiting, r.ID)
		if r.Refusal != nil {
			w.refused++
			continue
		}
		w.begin(now, job, r.Grant)
	}
}

func (w *world) finish(now balance.Instant, server int) {
	for {
		job, ok := w.stations[server].Finish(now)
		if !ok {
			return
		}
		l := w.leases[job]
		delete(w.leases, job)
		took := now.Sub(l.started)
		if w.slow != nil {
			took = w.slow(server, took)
		}
		w.pool.Done(now, l.id, balance.Outcome{Duration: took})
	}
}

func (w *world) report(t *testing.T, now balance.Instant, every time.Duration) {
	for i, s := range w.stations {
		busy := s.Busy(now)
		metrics := []balance.Metric{
			{Name: balance.InFlight, Value: float64(s.InFlight())},
			{Name: balance.ApplicationUtilization, Value: (busy - w.busy[i]) / float64(w.slots) / every.Seconds()},
		}
		w.busy[i] = busy
		if w.forge != nil {
			metrics = w.forge(i, metrics)
		}
		if err := w.pool.Report(now, &balance.Report{Server: w.ids[i], Metrics: metrics}); err != nil && !errors.As(err, new(*balance.Contradiction)) {
			t.Fatal(err)
		}
	}
}

func (w *world) share(server int) float64 {
	total := 0
	for _, n := range w.served {
		total += n
	}
	return float64(w.served[server]) / float64(total)
}

// A server that lies about its load gets at most twice its fair share, and one that
// only seems bad is not starved for ever.
func TestLiarsGainLittle(t *testing.T) {
	set := func(name string, value float64) func(int, []balance.Metric) []balance.Metric {
		return func(server int, honest []balance.Metric) []balance.Metric {
			for i := range honest {
				if server == 0 && honest[i].Name == name {
					honest[i].Value = value
				}
			}
			return honest
		}
	}
	both := func(count, utilization float64) func(int, []balance.Metric) []balance.Metric {
		first, then := set(balance.InFlight, count), set(balance.ApplicationUtilization, utilization)
		return func(i int, m []balance.Metric) []balance.Metric { return then(i, first(i, m)) }
	}
	for _, c := range []struct {
		name        string
		forge       func(int, []balance.Metric) []balance.Metric
		least, most float64 // of a fair share
	}{
		{"honest", nil, .9, 1.1},
		{"says it has no requests", set(balance.InFlight, 0), .8, 2},
		{"says it is nearly idle", set(balance.ApplicationUtilization, .11), .2, 2},
		{"says it is quite idle", set(balance.ApplicationUtilization, 0), .2, 2},
		{"says it has nothing to do", both(0, .06), .2, 2},
		{"says it is full", both(1000, 1), 0, 1},
		{"says nothing", func(i int, m []balance.Metric) []balance.Metric {
			if i == 0 {
				return nil
			}
			return m
		}, .5, 1.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 4, balance.Config{Name: "web"})
			w.forge = c.forge
			w.run(t, 70*time.Second)
			if got := w.share(0) * 8; got < c.least || got > c.most {
				t.Errorf("server s0 got %.2f times its fair share, want %.1f to %.1f; all: %v", got, c.least, c.most, w.served)
			}
		})
	}
}

func TestUnluckyServersAreTriedAgain(t *testing.T) {
	w := newWorld(t, 4, balance.Config{Name: "web"})
	unlucky := 8
	w.slow = func(server int, took time.Duration) time.Duration {
		if server == 0 && unlucky > 0 {
			unlucky--
			return 100 * took
		}
		return took
	}
	w.run(t, 100*time.Second)
	if got := w.share(0) * 8; unlucky > 0 || got < .5 {
		t.Errorf("a server whose first 8 requests took 100 times as long got %.2f times its fair share in the 90 s after, want more than half; all: %v", got, w.served)
	}
}

// Neighbours that use up the CPU of every machine make slots look few. With a queue,
// and so with limits, that must not hold back work that does not need the CPU.
func TestBusyNeighboursDoNotLockThePool(t *testing.T) {
	w := newWorld(t, 64, balance.Config{Name: "web", QueueSize: 1000})
	w.forge = func(int, []balance.Metric) []balance.Metric {
		return []balance.Metric{{Name: balance.CPUUtilization, Value: .95}}
	}
	w.run(t, 40*time.Second)
	if w.refused > 0 || len(w.waiting) > 100 {
		t.Errorf("%d requests were refused and %d wait though the servers have room", w.refused, len(w.waiting))
	}
}
