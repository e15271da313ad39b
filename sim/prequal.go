package sim

import (
	"math"
	"slices"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file models Prequal (Wydrowski and others, NSDI 2024): every edge keeps a small
// pool of answered probes, each with a server's requests in flight and the latency that
// it expects, and chooses from the pool by the rule "hot, cold, least".

// prober is a chooser that asks servers beforehand.
type prober interface {
	query(now balance.Instant, edge int32)
	answer(now balance.Instant, p probe)
}

// probe is one probe on its way or answered.
type probe struct {
	edge, server int32
	inFlight     float64
	latency      float64
	at           balance.Instant // answered
	uses         float64         // left
}

// prequalKnobs are what the paper calls r_probe, the pool's size, r_remove, Q_RIF,
// delta and the age limit.
type prequalKnobs struct {
	probes   float64
	pool     int
	removes  float64
	hot      float64 // quantile of requests in flight beyond which a server is hot
	delta    float64
	oldest   balance.Instant
	relative bool // in flight counts over the server's weight
}

var (
	prequalPublished = prequalKnobs{probes: 3, pool: 16, removes: 1, hot: .84, delta: 1, oldest: 1e9}
	// prequalTuned knows weights, probes more, forgets sooner and looks at no latency:
	// so it suits the scenario B1 much better.
	prequalTuned = prequalKnobs{probes: 5, pool: 16, removes: 1, hot: 0, delta: 1, oldest: 2e8, relative: true}
)

type prequal struct {
	local
	knobs    prequalKnobs
	pools    [][]probe
	seen     []seenCounts // by edge
	owed     []float64    // by edge: fractions of probes and removals not done yet
	removing []float64
	turn     []bool // by edge: remove the oldest next, else the worst
}

// seenCounts is the in-flight counts of the last probes, for their quantile.
type seenCounts struct {
	ring [128]float64
	n    int
	hot  float64
}

func newPrequal(l local, knobs prequalKnobs) *prequal {
	edges := l.w.s.Edges
	for i := range l.w.servers {
		l.w.servers[i].pace = newPace()
	}
	knobs.pool = min(knobs.pool, max(1, len(l.weights)/2)) // the paper's m is well below its n
	return &prequal{local: l, knobs: knobs, pools: make([][]probe, edges), seen: make([]seenCounts, edges),
		owed: make([]float64, edges), removing: make([]float64, edges), turn: make([]bool, edges)}
}

// query sends the probes that a request is worth, to servers drawn evenly.
func (p *prequal) query(now balance.Instant, edge int32) {
	p.owed[edge] += p.knobs.probes
	for ; p.owed[edge] >= 1; p.owed[edge]-- {
		p.w.probes.send(now, probe{edge: edge, server: p.rng.Int32N(int32(len(p.weights)))})
	}
}

// probe is a probe reaching its server.
func (w *world) probe(now balance.Instant, p probe) {
	s := &w.servers[p.server]
	if s.down {
		return
	}
	p.inFlight = float64(s.InFlight())
	p.latency = s.pace.expect(s.InFlight())
	w.answers.send(now, p)
}

func (p *prequal) answer(now balance.Instant, a probe) {
	if p.knobs.relative {
		a.inFlight /= p.weights[a.server]
	}
	n, m := float64(len(p.weights)), float64(p.knobs.pool)
	a.at = now
	a.uses = max(1, (1+p.knobs.delta)/((1-m/n)*p.knobs.probes-p.knobs.removes))
	p.seen[a.edge].add(a.inFlight, p.knobs.hot)
	pool := slices.DeleteFunc(p.pools[a.edge], func(o probe) bool { return o.server == a.server })
	if len(pool) == p.knobs.pool {
		pool = slices.Delete(pool, 0, 1)
	}
	p.pools[a.edge] = append(pool, a)
}

func (s *seenCounts) add(v, hot float64) {
	s.ring[s.n%len(s.ring)] = v
	if s.n++; s.n%16 != 0 && s.n > 16 {
		return // the quantile moves slowly
	}
	sorted := slices.Clone(s.ring[:min(s.n, len(s.ring))])
	slices.Sort(sorted)
	s.hot = quantile(sorted, hot)
	if hot == 0 {
		s.hot = -1 // all servers are hot: only requests in flight count
	}
}

func (p *prequal) choose(now balance.Instant, _ int32, r *request) int32 {
	e := r.edge
	open := p.open(now, r)
	pool := slices.DeleteFunc(p.pools[e], func(o probe) bool { return now-o.at > p.knobs.oldest || !open(int(o.server)) })
	for p.removing[e] += p.knobs.removes; p.removing[e] >= 1 && len(pool) > 2; p.removing[e]-- {
		i := 0 // the oldest
		if p.turn[e] = !p.turn[e]; p.turn[e] {
			i = p.worst(pool, e)
		}
		pool = slices.Delete(pool, i, i+1)
	}
	p.removing[e] = min(p.removing[e], 1)
	p.pools[e] = pool
	if len(pool) < 2 {
		for {
			if i := p.rng.Int32N(int32(len(p.weights))); open(int(i)) {
				return i
			}
		}
	}
	best := 0
	for i := range pool {
		if p.better(&pool[i], &pool[best], p.seen[e].hot) {
			best = i
		}
	}
	server := pool[best].server
	pool[best].inFlight += p.step(server)
	if pool[best].uses--; pool[best].uses < 1 && pool[best].uses <= p.rng.Float64() {
		p.pools[e] = slices.Delete(pool, best, best+1)
	}
	return server
}

func (p *prequal) step(server int32) float64 {
	if p.knobs.relative {
		return 1 / p.weights[server]
	}
	return 1
}

// better is the rule: cold before hot, the cold by latency, the hot by count.
func (p *prequal) better(a, b *probe, hot float64) bool {
	aCold, bCold := a.inFlight <= hot, b.inFlight <= hot
	switch {
	case aCold != bCold:
		return aCold
	case aCold:
		return a.latency < b.latency
	}
	return a.inFlight < b.inFlight
}

func (p *prequal) worst(pool []probe, edge int32) int {
	worst := 0
	for i := range pool {
		if p.better(&pool[worst], &pool[i], p.seen[edge].hot) {
			worst = i
		}
	}
	return worst
}

// pace is how a server answers probes: the median of recent latencies of requests that
// met about as many others as a request would now.
type pace struct {
	began  map[int32]began
	levels []level // by requests met, the last for all beyond
}

type began struct {
	at  balance.Instant
	met int
}

type level struct {
	last [9]float64
	n    int
}

func newPace() *pace { return &pace{began: make(map[int32]began), levels: make([]level, 64)} }

func (p *pace) begin(id int32, met int, now balance.Instant) { p.began[id] = began{now, met} }

func (p *pace) end(id int32, now balance.Instant) {
	b := p.began[id]
	delete(p.began, id)
	l := &p.levels[min(b.met, len(p.levels)-1)]
	l.last[l.n%len(l.last)] = now.Sub(b.at).Seconds()
	l.n++
}

// expect looks at the level of so many in flight, or the nearest that knows anything.
func (p *pace) expect(inFlight int) float64 {
	at := min(inFlight, len(p.levels)-1)
	for off := range p.levels {
		for _, i := range [2]int{at - off, at + off} {
			if i >= 0 && i < len(p.levels) && p.levels[i].n > 0 {
				return p.levels[i].median()
			}
		}
	}
	return math.Inf(-1) // never used: worth a try
}

func (l *level) median() float64 {
	kept := l.last
	sorted := kept[:min(l.n, len(kept))]
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}
