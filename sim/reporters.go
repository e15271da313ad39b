package sim

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/rate"
)

// This file is who tells of a server's load, and what.

// Reporters. The first knows its requests and is exact; the others are as things are.
const (
	byServer   = "server"   // the application: requests present and mean utilisation since its last report
	byAgent    = "agent"    // our agent: the rate of the CPU time that the kernel counts, over the agent's window
	bySmoothed = "smoothed" // an application whose utilisation is smoothed over 5 s, which it does not say
	byMachine  = "machine"  // an agent that takes the whole machine's CPU for its application's
)

const (
	smoothing     = 5 * time.Second
	machineSize   = 4  // servers on one machine
	machineUse    = .5 // of its CPUs, when those servers are busy
	neighbourStay = 5 * time.Second
	neighbourRest = .1 // of the machine's CPUs that others use, in turn
	neighbourBusy = .6
)

// load is what a server says of itself.
type load struct {
	server      int32
	inFlight    float64 // requests present; -1: not told
	utilization float64 // mean slots in use over all slots, lately; -1: not told
	cpu         bool    // utilization is the CPU's
	window      time.Duration
	rate        float64 // requests finished a second, lately
	taken       balance.Instant
}

// reporter is what a server's reporter remembers.
type reporter struct {
	last     load            // what it said last
	sampled  balance.Instant // its means then started again
	busy     float64         // slot-seconds until then
	finished int             // requests since then
	counter  rate.Counter    // of CPU time
	smooth   float64
	others   *neighbour // on the machine whose figure this one tells
}

// stock is a server taking stock, for a report or in a response; ok is false if it has
// nothing to tell yet.
func (w *world) stock(now balance.Instant, server int32) (l load, ok bool) {
	s := &w.servers[server]
	if s.down {
		s.counter, s.sampled = rate.Counter{}, now
		return load{}, false
	}
	if w.s.Lies.What != "" && w.s.Lies.isTold(int(server)) {
		return w.lie(now, server)
	}
	s.last.server, s.last.taken = server, now
	switch w.s.Reports.By {
	case byAgent:
		ok = s.last.take(&s.counter, now, s.CPU(now), float64(s.Slots()))
	case bySmoothed:
		before := s.sampled
		w.means(now, s)
		s.smooth += (s.last.utilization - s.smooth) * (1 - math.Exp(-now.Sub(before).Seconds()/smoothing.Seconds()))
		l = s.last
		l.inFlight, l.utilization = -1, s.smooth
		return l, true
	case byMachine:
		cpu, slots := 0., 0.
		first := int(server) / machineSize * machineSize
		for i := first; i < min(first+machineSize, len(w.servers)); i++ {
			cpu += w.servers[i].CPU(now)
			slots += float64(w.servers[i].Slots())
		}
		ok = s.last.take(&s.counter, now, cpu, slots)
		l = s.last
		l.utilization = min(1, machineUse*l.utilization+s.others.use(now))
		return l, ok
	default:
		w.means(now, s)
		s.last.inFlight, ok = float64(s.InFlight()), true
	}
	return s.last, ok
}

// means brings up to date what is a mean over the time since the last that was long
// enough to say something.
func (w *world) means(now balance.Instant, s *server) {
	window := now.Sub(s.sampled)
	if window < w.window {
		return
	}
	busy := s.Busy(now)
	s.last.utilization = (busy - s.busy) / window.Seconds() / float64(s.Slots())
	s.last.rate = float64(s.finished) / window.Seconds()
	s.busy, s.sampled, s.finished = busy, now, 0
}

// take reads CPU time as the agent does.
func (l *load) take(counter *rate.Counter, now balance.Instant, cpu, slots float64) (ok bool) {
	perSecond, over, ok := counter.Step(now, cpu)
	l.inFlight, l.cpu, l.utilization, l.window = -1, true, perSecond/slots, over
	return ok
}

// neighbour is what others do on a machine: a little and much in turn.
type neighbour struct {
	rng   *rand.Rand
	busy  bool
	until balance.Instant
}

func newNeighbour(seed uint64, machine int) *neighbour {
	return &neighbour{rng: rand.New(rand.NewPCG(seed, 0x6e65696768<<8+uint64(machine)))}
}

func (n *neighbour) use(now balance.Instant) float64 {
	for n.until <= now {
		n.busy = !n.busy
		n.until += 1 + balance.Instant(n.rng.ExpFloat64()*float64(neighbourStay))
	}
	if n.busy {
		return neighbourBusy
	}
	return neighbourRest
}
