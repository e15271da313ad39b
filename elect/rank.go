package elect

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strings"
)

// nearer returns the masters that shall lead a pool rather than self, the first of all
// first. Each pool has an order of masters of its own, by a hash of both names, so that
// pools spread over masters, and those of one that is lost over all others.
func nearer(pool, self string, masters []Candidate) []Candidate {
	mine := weight(pool, self)
	var before []Candidate
	for _, m := range masters {
		if order(weight(pool, m.ID), m.ID, mine, self) < 0 {
			before = append(before, m)
		}
	}
	slices.SortFunc(before, func(a, b Candidate) int {
		return order(weight(pool, a.ID), a.ID, weight(pool, b.ID), b.ID)
	})
	return before
}

func order(a uint64, first string, b uint64, second string) int {
	return cmp.Or(cmp.Compare(b, a), cmp.Compare(first, second))
}

// weight is the same for every life of a master, so that its pools come back to it.
func weight(pool, id string) uint64 {
	name, _, _ := strings.Cut(id, LifeMark)
	h := fnv.New64a()
	_, _ = h.Write([]byte(pool + "\x00" + name))
	x := h.Sum64()
	x ^= x >> 32 // FNV leaves the high bits of like names alike
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	return x
}

// LifeMark stands in a Candidate's ID between the master's name and what is of this life only.
const LifeMark = "~"
