package sim

import (
	"cmp"
	"math"
	"slices"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// tally counts what becomes of requests. The first tenth of a run is its warm-up and
// does not count; neither do direct requests, whose server no policy chose.
type tally struct {
	warmup    int
	seen      int
	trouble   bool         // a fault is on
	durations [2][]float64 // without and during a fault
	errors    [2]int       // without and during a fault
	refused   int          // requests that got no server
	timeout   float64      // seconds that clients wait
	counted   [2]int
	tenants   []tenantTally
	works     []workTime // of all that counted; nil: no figure is about them
}

// workTime is the work of a request and how long it took, in seconds.
type workTime struct{ work, took float64 }

type tenantTally struct{ counted, inTime int }

// timeouts is how many times as long as the mean work clients wait. A request that fails or is refused counts as if it had
// taken that long: who failed fast would look fast otherwise.
const timeouts = 10

func newTally(s *Scenario) tally {
	warmup := s.WarmupRequests()
	t := tally{warmup: warmup, timeout: timeouts * s.Work.Mean.Seconds(), durations: [2][]float64{make([]float64, 0, s.Requests-warmup)},
		tenants: make([]tenantTally, max(1, len(s.Tenants)))}
	if s.hasGoal("largest/untold") || s.Arrivals.Shape == batch {
		t.works = make([]workTime, 0, s.Requests-warmup)
	}
	return t
}

func (t *tally) admit(w *world, a arrival) (counted, troubled bool) {
	t.seen++
	if t.seen == t.warmup+1 {
		w.beginCounting(a.at)
	}
	if t.seen <= t.warmup || a.edge < 0 {
		return false, t.trouble
	}
	t.counted[index(t.trouble)]++
	t.tenants[a.tenant].counted++
	return true, t.trouble
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (t *tally) respond(now balance.Instant, r *request, deadline balance.Instant) {
	switch {
	case !r.counted:
	case r.faulty:
		t.fail(r)
	default:
		took := now - r.at
		t.lasted(r, float64(took)/1e9)
		if deadline == 0 || took <= deadline {
			t.tenants[r.tenant].inTime++
		}
	}
}

// refuse counts a request that got no server: an error, or with a deadline just one
// that was not answered in time.
func (t *tally) refuse(r *request) {
	if r.counted {
		t.refused++
		t.fail(r)
	}
}

func (t *tally) fail(r *request) {
	t.errors[index(r.troubled)]++
	t.lasted(r, t.timeout)
}

// lasted enters how long a request took that counts.
func (t *tally) lasted(r *request, took float64) {
	of := &t.durations[index(r.troubled)]
	*of = append(*of, took)
	if t.works != nil {
		t.works = append(t.works, workTime{r.work, took})
	}
}

// makespan returns the time until the last request of a batch is done, over what no order could beat: all work on all slots, or the largest request on the
// fastest slot. It is NaN for arrivals of another shape and where not all are served.
func (t *tally) makespan(s *Scenario, fleet []Kind) float64 {
	if s.Arrivals.Shape != batch || t.errors != [2]int{} {
		return math.NaN()
	}
	last, total, largest, fastest := 0., 0., 0., 0.
	for _, r := range t.works {
		last, total, largest = max(last, r.took), total+r.work, max(largest, r.work)
	}
	for _, k := range fleet {
		fastest = max(fastest, k.Speed)
	}
	return last / max(total/s.capacity(fleet), largest/fastest)
}

// largest returns the mean time of the largest hundredth of the requests by their work; NaN if no goal is about it.
func (t *tally) largest() float64 {
	if len(t.works) == 0 {
		return math.NaN()
	}
	slices.SortFunc(t.works, func(a, b workTime) int { return cmp.Or(cmp.Compare(b.work, a.work), cmp.Compare(b.took, a.took)) })
	n, sum := (len(t.works)+99)/100, 0.
	for _, r := range t.works[:n] {
		sum += r.took
	}
	return sum / float64(n)
}

func (w *world) beginCounting(now balance.Instant) {
	w.warmed = now
	for i := range w.servers {
		w.servers[i].before = w.servers[i].Busy(now)
	}
}

// finishCounting ends the window over which utilisation counts, as after the last
// arrival the servers run empty.
func (w *world) finishCounting(now balance.Instant) {
	w.ended = now
	for i := range w.servers {
		s := &w.servers[i]
		s.before = (s.Busy(now) - s.before) / float64(s.Slots()) / now.Sub(w.warmed).Seconds()
	}
}

// Result is the figures of one run, or the means of several runs' figures. Times are
// in seconds. NaN stands for what the scenario does not have.
type Result struct {
	Policy      string
	Requests    int     // that count
	Errors      float64 // share answered by an error or refused; of those that arrived during faults only, if there are any
	Refused     float64 // share refused, of all
	Mean        float64
	P50         float64
	P95         float64
	P99         float64
	P999        float64
	Utilization float64   // of all slots, weighted by their speed
	CalmP99     float64   // of requests that arrived while nothing was broken
	TroubleP99  float64   // of requests that arrived during a fault
	InTime      []float64 // by tenant: share answered within the deadline
	Goodput     float64   // requests answered within the deadline, over those of mean work that the servers could do
	P99Ideal    float64   // P99 over the ideal's with the same seed
	MeanIdeal   float64   // Mean over the ideal's
	P99Silent   float64   // P99 over that of a run in which no server reports, with the same seed
	MeanSilent  float64   // Mean likewise
	P99Untold   float64   // P99 over that of a run in which no request tells its size, with the same seed
	ByWork
	TroubleCalm float64 // TroubleP99 over that of a run without faults, with the same seed
	MeanPeer    float64 // Mean over that of the best peer; only in a Comparison, as P99Peer, P999Peer and GoodputPeer are
	P99Peer     float64
	P999Peer    float64
	GoodputPeer float64
	slowest     []float64 // times of the slowest hundredth of the requests, in order
	Curve       []float64 // times at Levels
}

// ByWork is figures that depend on which requests are large.
type ByWork struct {
	MeanLargest   float64 // mean time of the largest hundredth of the requests by their work; NaN if no goal is about it
	LargestUntold float64 // over that of a run in which no request tells its size, with the same seed
	Makespan      float64 // of a batch, over what no order could beat
}

// Levels are the shares at which a Result's Curve tells the time: evenly spaced on the
// logarithm of what is left, from none to a ten-thousandth.
var Levels = func() []float64 {
	levels := make([]float64, 161)
	for i := range levels {
		levels[i] = 1 - math.Pow(10, -float64(i)/40)
	}
	return levels
}()

func (w *world) result(policy string) Result {
	t := &w.tally
	r := Result{Policy: policy, Requests: t.counted[0] + t.counted[1], P99Ideal: math.NaN(), MeanIdeal: math.NaN(), P99Silent: math.NaN(), MeanSilent: math.NaN(), P99Untold: math.NaN(), ByWork: ByWork{t.largest(), math.NaN(), t.makespan(w.s, w.fleet)}, TroubleCalm: math.NaN()}
	for _, d := range t.durations {
		slices.Sort(d)
	}
	r.CalmP99, r.TroubleP99 = quantile(t.durations[0], .99), quantile(t.durations[1], .99)
	r.durations(append(t.durations[0], t.durations[1]...))
	during := index(t.counted[1] > 0)
	r.Errors = float64(t.errors[during]) / float64(t.counted[during])
	r.Refused = float64(t.refused) / float64(r.Requests)
	total := 0.
	for i, k := range w.fleet {
		r.Utilization += k.weight() * w.servers[i].before
		total += k.weight()
	}
	r.Utilization /= total
	for _, tenant := range t.tenants {
		r.InTime = append(r.InTime, float64(tenant.inTime)/float64(tenant.counted))
		r.Goodput += float64(tenant.inTime)
	}
	r.Goodput *= w.s.Work.Mean.Seconds() / total / w.ended.Sub(w.warmed).Seconds()
	return r
}

// durations sorts them and fills the figures that they make.
func (r *Result) durations(d []float64) {
	slices.Sort(d)
	sum := 0.
	for _, v := range d {
		sum += v
	}
	r.Mean = sum / float64(len(d))
	r.slowest = slices.Clone(d[len(d)-(len(d)+99)/100:])
	r.P50, r.P95, r.P99, r.P999 = quantile(d, .5), quantile(d, .95), quantile(d, .99), quantile(d, .999)
	for _, level := range Levels {
		r.Curve = append(r.Curve, quantile(d, level))
	}
}

// quantile of sorted values: the smallest that the share q of them does not exceed.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[min(len(sorted)-1, max(0, int(math.Ceil(q*float64(len(sorted))))-1))]
}
