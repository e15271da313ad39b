package balance

import (
	"math"
	"time"
)

// slots learns c, how many requests a server works on at once, from the only thing
// that tells it directly: a reported utilisation is the mean of min(1, n/c), and n
// is in our ledger all the time.
//
// It keeps how long each number of requests was present, and how much of the time
// was reported busy, both faded; c is what makes the two agree. A window in which
// the server was full tells less than others but misleads no more, so none is left out.
type slots struct {
	learnt  float64         // c; zero: not yet
	most    float64         // requests present at once in the time that learnt was worked out from
	vague   bool            // the utilisation was the machine's, which others use too
	busy    float64         // seconds of full utilisation that were reported, faded
	timeAt  [levels]float32 // seconds by level of n, faded
	current [levels]float32 // seconds by level since the window began
	told    float64         // seconds of full utilisation that were reported since then
	counted float64         // seconds of the window that those reports speak for
	taken   Instant         // when the figures of the last report were
}

const (
	levels          = 34
	exactLevels     = 16                     // levels of one number each; beyond, two to a doubling
	slotsMemory     = 20.                    // seconds of reports that count
	slotsEnough     = .5                     // seconds of reports before c is believed
	leastWindow     = .05                    // seconds; reports that come faster, such as with every response, are taken together
	wholeWindow     = .9                     // of a window that is told: where reports overlap, one in each is taken
	mostUtilization = 1.5                    // that one report may tell: CPU time comes in lumps, which make up for each other
	leastGap        = 100 * time.Millisecond // between reports that are always believed to be spoken for
	leastBusy       = .05                    // below, one background job would decide c
	leastPresent    = .25                    // mean requests present, likewise
	fullBusy        = .995                   // above, c could be anything smaller
)

func level(n float64) int {
	if n < exactLevels {
		return int(max(0, n) + .5)
	}
	return min(levels-1, exactLevels+int(2*math.Log2(n/exactLevels)+.5))
}

// present is the number of requests that a level stands for.
var present = func() (table [levels]float64) {
	for l := range table {
		table[l] = float64(l)
		if l >= exactLevels {
			table[l] = exactLevels * math.Exp2(float64(l-exactLevels)/2)
		}
	}
	return table
}()

// stay notes that n requests were present for so many seconds.
func (s *slots) stay(n, seconds float64) { s.current[level(n)] += float32(seconds) }

// reported takes the mean utilisation over a window; zero: since the last report. It counts for
// as long as the last report was ago. A report that is overdue says what the utilisation was of late, and nothing
// of the time when none came: where machines stand still now and then, what came just before
// and just after is of busy moments, and would make long idle ones look full.
func (s *slots) reported(utilization float64, over, usual time.Duration) {
	var window float64
	for _, t := range s.current {
		window += float64(t)
	}
	gap := window - s.counted
	if gap > seconds(over) && overdue(time.Duration(gap*1e9), usual) {
		s.current, s.told, s.counted = [levels]float32{}, 0, 0
		return
	}
	s.told += min(utilization, mostUtilization) * gap
	s.counted = window
	if window < max(leastWindow, wholeWindow*seconds(over)) {
		return
	}
	if seconds(over) > gap { // the last report alone is about all of this time
		s.told = min(utilization, mostUtilization) * window
	}
	keep := math.Exp(-window / slotsMemory)
	for i := range s.timeAt {
		s.timeAt[i] = s.timeAt[i]*float32(keep) + s.current[i]
	}
	s.busy = s.busy*keep + s.told
	s.current, s.told, s.counted = [levels]float32{}, 0, 0
	s.solve()
}

// overdue reports whether a report should have come long before, going by the usual time between two.
func overdue(gap, usual time.Duration) bool {
	return gap > max(leastGap, missedReports*usual)
}

// solve finds c with Σ timeAt·min(1, n/c) = busy. The left side falls as c grows;
// between two levels it is below/c + above, so the right step is found from the top.
func (s *slots) solve() {
	var total, below float64
	most := 0.
	for l, t := range s.timeAt {
		if t > 0 {
			most = present[l]
		}
		total += float64(t)
		below += float64(t) * present[l]
	}
	if total < slotsEnough || s.busy < leastBusy*total || below < leastPresent*total || s.busy > fullBusy*total {
		return
	}
	above := 0.
	for l := levels - 1; l > 0; l-- {
		c := below / (s.busy - above)
		if s.busy > above && c >= present[l] || l == 1 {
			if s.busy > above {
				s.learnt, s.most = max(1, c), most
			}
			return
		}
		below -= float64(s.timeAt[l]) * present[l]
		above += float64(s.timeAt[l])
	}
}
