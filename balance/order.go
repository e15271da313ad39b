package balance

import "math"

// order keeps servers by score so that the one with the lowest is at hand at once.
//
// It is a tournament of width 8: of every eight servers the one with the lowest key
// goes up a round. A change replays only the rounds above it, about four at 10,000
// servers, and eight keys are one cache line.
type order struct {
	keys   []key     // by server index
	rounds [][]int32 // rounds[0][i] is the winner of servers 8i … 8i+7, and so on up to one
}

// key is a score as an integer that compares alike. Its low bits are drawn by lot, so
// that among servers less than a hundredth apart, which is nearer than b is known,
// it is anyone's turn.
type key uint64

const (
	width   = 8
	lotBits = 45             // of a float64's 52 bits of fraction: the lot is worth 2^-7
	never   = key(1<<64 - 1) // not to be picked
)

func newKey(score float64, lot uint64) key {
	return key(math.Float64bits(score)&^(1<<lotBits-1) | lot&(1<<lotBits-1))
}

// score returns the score less its low bits; +Inf for never.
func (k key) score() float64 {
	if k == never {
		return math.Inf(1)
	}
	return math.Float64frombits(uint64(k) &^ (1<<lotBits - 1))
}

// grow adds a server, which is not to be picked yet.
func (o *order) grow() {
	o.keys = append(o.keys, never)
	last := len(o.keys) - 1
	for r, size := 0, len(o.keys); size > 1 || r == 0; r++ {
		size = (size + width - 1) / width
		if r == len(o.rounds) {
			o.rounds = append(o.rounds, nil)
			if r > 0 {
				o.rounds[r] = append(o.rounds[r], o.rounds[r-1][0])
			}
		}
		if len(o.rounds[r]) < size {
			o.rounds[r] = append(o.rounds[r], int32(last))
		}
	}
	o.replay(last)
	if n := len(o.rounds); n > 1 {
		o.replay(0) // of a round that has just begun
	}
}

// shrink removes the last server.
func (o *order) shrink() {
	o.keys = o.keys[:len(o.keys)-1]
	if len(o.keys) == 0 {
		o.rounds = o.rounds[:0]
		return
	}
	size := len(o.keys)
	for r := range o.rounds {
		size = (size + width - 1) / width
		o.rounds[r] = o.rounds[r][:size]
		if size == 1 {
			o.rounds = o.rounds[:r+1]
			break
		}
	}
	o.replay(len(o.keys) - 1)
}

// set changes the key of server i.
func (o *order) set(i int, k key) {
	o.keys[i] = k
	o.replay(i)
}

// replay plays the rounds above server i again.
func (o *order) replay(i int) {
	first := i &^ (width - 1)
	best, lowest := first, o.keys[first]
	for j, k := range o.keys[first+1 : min(first+width, len(o.keys))] {
		if k < lowest {
			best, lowest = first+1+j, k
		}
	}
	at := i / width
	o.rounds[0][at] = int32(best)
	for r := 1; r < len(o.rounds); r++ {
		below := o.rounds[r-1]
		first := at &^ (width - 1)
		best := below[first]
		lowest := o.keys[best]
		for _, j := range below[first+1 : min(first+width, len(below))] {
			if k := o.keys[j]; k < lowest {
				best, lowest = j, k
			}
		}
		at /= width
		o.rounds[r][at] = best
	}
}

// first returns the server with the lowest key, or -1 if none is to be picked.
func (o *order) first() int {
	if len(o.keys) == 0 {
		return -1
	}
	best := o.rounds[len(o.rounds)-1][0]
	if o.keys[best] == never {
		return -1
	}
	return int(best)
}

// finalists appends the servers that reached the last round, at most width of them.
func (o *order) finalists(dst []int32) []int32 {
	if len(o.rounds) > 1 {
		return append(dst, o.rounds[len(o.rounds)-2]...)
	}
	for i := range o.keys {
		dst = append(dst, int32(i))
	}
	return dst
}

// best appends up to n servers with the lowest keys, lowest first.
func (o *order) best(dst []int32, n int) []int32 {
	start := len(dst)
	var saved [maxBest]key
	for len(dst)-start < min(n, maxBest) {
		i := o.first()
		if i < 0 {
			break
		}
		saved[len(dst)-start] = o.keys[i]
		dst = append(dst, int32(i))
		o.set(i, never)
	}
	for j, i := range dst[start:] {
		o.set(int(i), saved[j])
	}
	return dst
}

const maxBest = 16
