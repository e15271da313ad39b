package balance

import "math"

// order keeps servers by score so that the one with the lowest is at hand at once.
//
// It is a tournament of width 8: of every eight keys the lowest goes up a round. A
// change goes up only as far as it changes a winner, four rounds at most at 10,000
// servers; eight keys are one cache line and are compared without a branch.
type order struct {
	size   int
	rounds [][]key // rounds[0] by server index, rounds[r+1][i] the lowest of rounds[r][8i … 8i+7]; each filled up with never to whole eights
}

// key is a score as an integer that compares alike, with the server's index in its
// lowest bits. The bits between are the server's turn, so that among servers less than a
// hundredth apart the one goes first that has waited longest.
type key uint64

const (
	width     = 8
	indexBits = slotBits // as many servers as leases
	turnBits  = 21
	turns     = 1 << turnBits
	lowBits   = indexBits + turnBits // of a float64's 52 bits of fraction: scores are rounded to 7 of them
	never     = key(1<<64 - 1)       // not to be picked
)

// newKey returns the key of a score that is not negative. It rounds to the nearest, not down: otherwise
// equal scores that differ in their last bit would often be a step apart, as many are round numbers.
func newKey(score float64, turn uint32, index int32) key {
	return key((math.Float64bits(score)+1<<(lowBits-1))&^(1<<lowBits-1) | uint64(turn)<<indexBits | uint64(index))
}

// score returns the rounded score; +Inf for never.
func (k key) score() float64 {
	if k == never {
		return math.Inf(1)
	}
	return math.Float64frombits(uint64(k) &^ (1<<lowBits - 1))
}

// turn returns the server's, or what was drawn instead; the last for never.
func (k key) turn() uint32 { return uint32(k>>indexBits) & (turns - 1) }

// index returns the server's, -1 for never.
func (k key) index() int32 {
	if k == never {
		return -1
	}
	return int32(k & (1<<indexBits - 1))
}

// lowest returns the lowest of the eight keys of which at is one.
func lowest(round []key, at int) key {
	k := (*[width]key)(round[at&^(width-1):])
	return min(min(min(k[0], k[1]), min(k[2], k[3])), min(min(k[4], k[5]), min(k[6], k[7])))
}

// grow adds a server, which is not to be picked yet.
func (o *order) grow() {
	o.size++
	for r, n := 0, o.size; ; r, n = r+1, (n+width-1)/width {
		if r == len(o.rounds) {
			o.rounds = append(o.rounds, nil)
		}
		for len(o.rounds[r]) < n {
			o.rounds[r] = append(o.rounds[r], never, never, never, never, never, never, never, never)
			if len(o.rounds[r]) == width && r > 0 {
				o.rounds[r][0] = lowest(o.rounds[r-1], 0)
			}
		}
		if n == 1 {
			return
		}
	}
}

// shrink removes the last server.
func (o *order) shrink() {
	o.set(o.size-1, never)
	o.size--
	n, rounds := o.size, 1
	for ; n > 1; n = (n + width - 1) / width {
		rounds++
	}
	o.rounds = o.rounds[:rounds]
}

// of returns the key of server i.
func (o *order) of(i int32) key { return o.rounds[0][i] }

// set changes the key of server i.
func (o *order) set(i int, k key) {
	last := len(o.rounds) - 1
	for r, round := range o.rounds {
		was := round[i]
		round[i] = k
		if r == last {
			return
		}
		switch won := o.rounds[r+1][i/width]; {
		case k < won:
		case was == won:
			if k = lowest(round, i); k == won {
				return
			}
		default:
			return
		}
		i /= width
	}
}

// first returns the server with the lowest key, or -1 if none is to be picked.
func (o *order) first() int32 {
	if o.size == 0 {
		return -1
	}
	return o.rounds[len(o.rounds)-1][0].index()
}

// finalists appends the servers that reached the last round, at most width of them.
// Where there are no more than that, all have, even those that are not to be picked.
func (o *order) finalists(dst []int32) []int32 {
	if o.size <= width {
		for i := range int32(o.size) {
			dst = append(dst, i)
		}
		return dst
	}
	for _, k := range o.rounds[len(o.rounds)-2] {
		if k != never {
			dst = append(dst, k.index())
		}
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
		saved[len(dst)-start] = o.of(i)
		dst = append(dst, i)
		o.set(int(i), never)
	}
	for j, i := range dst[start:] {
		o.set(int(i), saved[j])
	}
	return dst
}

const maxBest = 16
