package sim

import (
	"math"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// never is later than everything.
const never = balance.Instant(math.MaxInt64)

// lane is a way of constant length: what enters first arrives first.
type lane[T any] struct {
	delay balance.Instant
	ring  []entry[T] // a power of two long
	head  int
	count int
}

type entry[T any] struct {
	at   balance.Instant
	what T
}

func newLane[T any](delay balance.Instant) lane[T] {
	return lane[T]{delay: delay, ring: make([]entry[T], 64)}
}

func (l *lane[T]) send(now balance.Instant, what T) {
	if l.count == len(l.ring) {
		grown := make([]entry[T], 2*len(l.ring))
		n := copy(grown, l.ring[l.head:])
		copy(grown[n:], l.ring[:l.head])
		l.ring, l.head = grown, 0
	}
	l.ring[(l.head+l.count)&(len(l.ring)-1)] = entry[T]{now + l.delay, what}
	l.count++
}

// first returns when the first arrives; never if the lane is empty.
func (l *lane[T]) first() balance.Instant {
	if l.count == 0 {
		return never
	}
	return l.ring[l.head].at
}

func (l *lane[T]) take() T {
	what := l.ring[l.head].what
	l.head = (l.head + 1) & (len(l.ring) - 1)
	l.count--
	return what
}

// race knows which of n times is the earliest: a tournament whose winner is at the
// root, so that a change costs one match a round.
type race struct {
	times  []balance.Instant
	winner []int32 // winner[1] is the root's; leaves begin at half
	half   int
}

func newRace(n int) race {
	half := 1
	for half < n {
		half *= 2
	}
	r := race{times: make([]balance.Instant, half), winner: make([]int32, 2*half), half: half}
	for i := range r.times {
		r.times[i] = never
		r.winner[half+i] = int32(i)
	}
	for i := half - 1; i > 0; i-- {
		r.winner[i] = r.winner[2*i]
	}
	return r
}

func (r *race) set(i int, at balance.Instant) {
	if r.times[i] == at {
		return
	}
	r.times[i] = at
	for node := (r.half + i) / 2; node > 0; node /= 2 {
		a, b := r.winner[2*node], r.winner[2*node+1]
		if r.times[b] < r.times[a] {
			a = b
		}
		r.winner[node] = a
	}
}

func (r *race) first() (int, balance.Instant) {
	w := r.winner[1]
	return int(w), r.times[w]
}

// timer is something that happens by itself.
type timer struct {
	at    balance.Instant
	seq   uint64
	what  timerKind
	index int // server or fault
}

type timerKind uint8

const (
	sampleServer timerKind = iota
	slowServer
	faultBegins
	faultEnds
	flushDones
	pushChanges
	checkServer
	serverLeaves
	serverReturns
	dragBegins
	dragEnds
)

// timers is a binary heap of few entries.
type timers struct {
	heap []timer
	seq  uint64
}

func (t *timers) set(at balance.Instant, what timerKind, index int) {
	t.seq++
	t.heap = append(t.heap, timer{at, t.seq, what, index})
	for i := len(t.heap) - 1; i > 0 && t.before(i, (i-1)/2); i = (i - 1) / 2 {
		t.heap[i], t.heap[(i-1)/2] = t.heap[(i-1)/2], t.heap[i]
	}
}

func (t *timers) before(i, j int) bool {
	a, b := &t.heap[i], &t.heap[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

func (t *timers) first() balance.Instant {
	if len(t.heap) == 0 {
		return never
	}
	return t.heap[0].at
}

func (t *timers) take() timer {
	first, last := t.heap[0], len(t.heap)-1
	t.heap[0] = t.heap[last]
	t.heap = t.heap[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return first
		}
		if child+1 < last && t.before(child+1, child) {
			child++
		}
		if !t.before(child, i) {
			return first
		}
		t.heap[i], t.heap[child] = t.heap[child], t.heap[i]
		i = child
	}
}
