package sim

import (
	"cmp"
	"math/rand/v2"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/internal/station"
)

// chooser decides which server takes a request: the master's pool, or a peer at
// every edge.
type chooser interface {
	// choose returns a server's index, or waits or refuses.
	choose(now balance.Instant, id int32, r *request) int32
	// done tells that a request is over, when the word of it reaches the chooser.
	done(now balance.Instant, r *request)
	// report hands over what a server says of itself, when it reaches the chooser.
	report(now balance.Instant, l load)
}

const (
	waits   = -1 // world.granted or world.refused follows
	refuses = -2
)

// request is one request on its way. Its place in world.requests is its id as long
// as it is under way.
type request struct {
	arrival
	sent     balance.Instant // to the server
	lease    balance.LeaseID // zero: chosen by its edge
	server   int32
	counted  bool // not of the warm-up, nor direct
	troubled bool // arrived during a fault
	faulty   bool // answered by an error, or not at all
	answered bool
	present  bool           // at its server
	result   balance.Result // if it is faulty
	status   int            // of the answer; zero: not told
	tried    tried          // servers that could not be reached or broke off
	wait     wait           // in the master's queue
	load     load           // what the response tells of the server, if responses do
}

// world is one run: everything that changes while it lasts.
type world struct {
	s       *Scenario
	fleet   []Kind
	trace   *trace
	rng     *rand.Rand // chance that is neither the trace's nor the chooser's
	servers []server
	race    race // whose next completion is first

	chooser chooser
	master  *master // the chooser, an ask away; nil: the chooser is a peer at the edges
	prober  prober  // nil: the chooser sends no probes

	requests []request
	free     []int32
	under    int                 // how many are under way
	inFlight [][]int32           // by edge and server: sent and not answered yet
	failures [][]balance.Instant // by edge and server: when it failed the edge last; zero: never

	upcoming   arrival
	pending    bool // upcoming has not happened
	asks       lane[int32]
	grants     lane[int32] // from the master over the edge to the server
	straight   lane[int32] // from the edge or a direct client to the server
	responses  lane[int32]
	errors     lane[int32] // from a sick server
	breaks     lane[int32] // word that a server that is down has broken off or refused a connection
	dones      lane[int32]
	reports    lane[load]
	probes     lane[probe]
	answers    lane[probe]     // to probes
	chosen     lane[int32]     // word of requests whose edge has chosen, to the master
	pushes     lane[push]      // from the master to all edges
	locals     []flight.Local  // by edge; none: edges are too near
	ownLeases  balance.LeaseID // the last that an edge gave itself
	timers     timers
	window     time.Duration                         // shortest over which servers take means
	view       view                                  // of a peer
	breaksDown bool                                  // a fault has servers go down
	batches    [][]int32                             // by edge: dones that wait for an ask
	watch      func(now balance.Instant, r *request) // called with each answer; nil: not

	warmed balance.Instant // the warm-up was over
	ended  balance.Instant // the last request arrived
	tally  tally
}

// server is one server's model.
type server struct {
	*station.Station
	reporter
	sick    bool
	down    bool
	away    bool
	cold    int // requests to come that take longer
	lies    liar
	check   check
	slow    bool
	dragged float64 // what drags leave of its speed
	cache   *lru
	before  float64 // busy when the warm-up ended
	weather *rand.Rand
	pace    *pace
}

const (
	sickFor       = balance.Instant(time.Millisecond) // how long a sick server takes to answer an error
	defaultWindow = 100 * time.Millisecond            // of a server that sends no reports
)

func newWorld(s *Scenario, seed uint64) *world {
	fleet := s.Servers.fleet()
	ask, link := balance.Instant(s.Ask), balance.Instant(s.Link)
	w := &world{
		s: s, fleet: fleet, trace: newTrace(s, fleet, seed),
		rng:       rand.New(rand.NewPCG(seed, 0x776f726c64)),
		race:      newRace(len(fleet)),
		servers:   make([]server, len(fleet)),
		asks:      newLane[int32](ask / 2),
		grants:    newLane[int32](ask/2 + link/2),
		straight:  newLane[int32](link / 2),
		responses: newLane[int32](link / 2),
		errors:    newLane[int32](link/2 + sickFor),
		breaks:    newLane[int32](link / 2),
		dones:     newLane[int32](ask / 2),
		reports:   newLane[load](ask / 2),
		probes:    newLane[probe](link / 2),
		answers:   newLane[probe](link / 2),
		chosen:    newLane[int32](ask / 2),
		pushes:    newLane[push](ask / 2),
		inFlight:  make([][]int32, s.Edges),
		failures:  make([][]balance.Instant, s.Edges),
		batches:   make([][]int32, s.Edges),
		window:    cmp.Or(s.Reports.Every, defaultWindow) / 2,
		tally:     newTally(s),
	}
	for e := range w.inFlight {
		w.inFlight[e] = make([]int32, len(fleet))
		w.failures[e] = make([]balance.Instant, len(fleet))
	}
	for i, k := range fleet {
		w.servers[i] = server{Station: newStation(s, k), reporter: reporter{sampled: start, others: newNeighbour(seed, i/machineSize)}, weather: weather(seed, i), dragged: 1}
		if q := s.Servers.Quota; q.Period > 0 {
			w.servers[i].SetQuota(0, q.Period, q.Burst, quotaPhase(seed, i, q.Period))
		}
		if s.Affinity.Cache > 0 {
			w.servers[i].cache = newLRU(s.Affinity.Keys, s.Affinity.Cache)
		}
		if s.Reports.Every > 0 {
			phase := w.rng.Float64() * float64(s.Reports.Every)
			w.timers.set(start+balance.Instant(phase), sampleServer, i)
		}
		if s.Checks.Every > 0 {
			w.timers.set(start+balance.Instant(float64(s.Checks.Every)*w.rng.Float64()), checkServer, i)
		}
		if s.Slowdown.Speed > 0 {
			w.timers.set(s.Slowdown.next(start, false, w.servers[i].weather), slowServer, i)
		}
	}
	if s.Ask >= balance.LeastLocal {
		w.locals = make([]flight.Local, s.Edges)
		w.timers.set(start, pushChanges, 0)
	}
	if s.Churn.Every > 0 {
		w.breaksDown = true
		w.timers.set(start+balance.Instant(s.Churn.Every), serverLeaves, 0)
	}
	for i, d := range s.Drag {
		w.timers.set(start+balance.Instant(d.At), dragBegins, i)
	}
	for i, f := range s.Faults {
		w.breaksDown = w.breaksDown || f.What == "down"
		w.timers.set(start+balance.Instant(f.At), faultBegins, i)
	}
	w.upcoming, w.pending = w.trace.next()
	return w
}

func newStation(s *Scenario, k Kind) *station.Station {
	if k.Batch > 0 {
		speeds := make([]float64, k.Slots)
		for n := range speeds {
			speeds[n] = k.together(n+1) - k.together(n)
		}
		batching := station.NewPooled(speeds)
		batching.SetSpeed(0, k.Speed)
		return batching
	}
	if s.Servers.Discipline == "fcfs" {
		return station.NewFCFS(k.Slots, k.Speed)
	}
	return station.NewPS(k.Slots, k.Speed)
}

// quotaPhase is when the first period of a server's quota ends.
func quotaPhase(seed uint64, server int, period time.Duration) balance.Instant {
	return 1 + balance.Instant(rand.New(rand.NewPCG(seed, 0x71756f7461<<16+uint64(server))).Float64()*float64(period))
}

// weather is the source of a server's antagonists: the same for every policy and for
// the ideal.
func weather(seed uint64, server int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, 0x77656174686572<<8+uint64(server)))
}

// next returns when the antagonist comes or, if it is there, goes.
func (s Slowdown) next(now balance.Instant, there bool, rng *rand.Rand) balance.Instant {
	mean := s.After
	if there {
		mean = s.For
	}
	return now + balance.Instant(rng.ExpFloat64()*float64(mean))
}

// sources are the heads that the loop compares, in the order in which equal times happen.
const (
	fromStations = iota
	fromTimers
	fromErrors
	fromBreaks
	fromResponses
	fromDones
	fromReports
	fromPushes
	fromChosen
	fromAnswers
	fromProbes
	fromGrants
	fromStraight
	fromAsks
	fromMaster
	fromTrace
)

// run lets everything happen, until the last request is over.
func (w *world) run() {
	for w.pending || w.under > 0 {
		w.step()
	}
}

// step lets the next thing happen.
func (w *world) step() {
	source, now := fromTrace, never
	if w.pending {
		now = w.upcoming.at
	}
	soonest := func(from int, at balance.Instant) {
		if at < now || at == now && from < source {
			source, now = from, at
		}
	}
	_, at := w.race.first()
	soonest(fromStations, at)
	soonest(fromTimers, w.timers.first())
	soonest(fromErrors, w.errors.first())
	soonest(fromBreaks, w.breaks.first())
	soonest(fromResponses, w.responses.first())
	soonest(fromDones, w.dones.first())
	soonest(fromReports, w.reports.first())
	soonest(fromPushes, w.pushes.first())
	soonest(fromChosen, w.chosen.first())
	soonest(fromAnswers, w.answers.first())
	soonest(fromProbes, w.probes.first())
	soonest(fromGrants, w.grants.first())
	soonest(fromStraight, w.straight.first())
	soonest(fromAsks, w.asks.first())
	if w.master != nil {
		soonest(fromMaster, w.master.wake)
	}
	w.happen(source, now)
}

func (w *world) happen(source int, now balance.Instant) {
	switch source {
	case fromStations:
		i, _ := w.race.first()
		w.finish(now, int32(i))
	case fromTimers:
		w.ring(now, w.timers.take())
	case fromErrors:
		w.respond(now, w.errors.take())
	case fromBreaks:
		w.broke(now, w.breaks.take())
	case fromResponses:
		w.respond(now, w.responses.take())
	case fromDones:
		w.over(now, w.dones.take())
	case fromReports:
		w.tell(now, w.reports.take())
	case fromPushes:
		w.takePush(w.pushes.take())
	case fromChosen:
		w.tellChosen(now, w.chosen.take())
	case fromAnswers:
		w.prober.answer(now, w.answers.take())
	case fromProbes:
		w.probe(now, w.probes.take())
	case fromGrants:
		w.reach(now, w.grants.take())
	case fromStraight:
		w.reach(now, w.straight.take())
	case fromAsks:
		w.ask(now, w.asks.take())
	case fromTrace:
		w.arrive(now)
	case fromMaster:
		w.master.tick(now)
	}
}
