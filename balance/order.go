package balance

import "math"

// order keeps servers by a key so that the one with the lowest is at hand at once.
//
// It is a tournament of width 8: of every eight servers the one with the lowest key
// goes up a round. A change replays only the rounds above it, about four at 10,000
// servers, in memory that lies together. Equal keys are decided by a tag that is
// drawn anew with every change, so among equals it is anyone's turn.
type order struct {
	keys   []key
	rounds [][]int32 // rounds[0][i] is the winner of servers 8i … 8i+7, and so on up to one
}

type key struct {
	score float64 // +Inf: not to be picked
	tag   uint32
}

const width = 8

var never = key{score: math.Inf(1)}

func (k key) less(than key) bool {
	return k.score < than.score || k.score == than.score && k.tag < than.tag
}

// resize makes room for n servers; new ones are not to be picked.
func (o *order) resize(n int) {
	for len(o.keys) < n {
		o.keys = append(o.keys, never)
	}
	o.keys = o.keys[:n]
	rounds := o.rounds[:0]
	for size := n; len(rounds) == 0 || size > 1; {
		size = (size + width - 1) / width
		var round []int32
		if len(rounds) < len(o.rounds) {
			round = o.rounds[:len(rounds)+1][len(rounds)]
		}
		for len(round) < size {
			round = append(round, 0)
		}
		rounds = append(rounds, round[:size])
	}
	o.rounds = rounds
	for i := 0; i < n; i += width {
		o.replay(i)
	}
}

// set changes the key of server i.
func (o *order) set(i int, k key) {
	o.keys[i] = k
	o.replay(i)
}

// replay plays the rounds above server i again.
func (o *order) replay(i int) {
	first := i &^ (width - 1)
	best := first
	for j := first + 1; j < min(first+width, len(o.keys)); j++ {
		if o.keys[j].less(o.keys[best]) {
			best = j
		}
	}
	at := i / width
	o.rounds[0][at] = int32(best)
	for r := 1; r < len(o.rounds); r++ {
		below := o.rounds[r-1]
		first := at &^ (width - 1)
		best := below[first]
		for _, j := range below[first+1 : min(first+width, len(below))] {
			if o.keys[j].less(o.keys[best]) {
				best = j
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
	if math.IsInf(o.keys[best].score, 1) {
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
