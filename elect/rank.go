package elect

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strings"
)

// before returns the masters that shall lead a pool rather than self, the first of all
// first: those that know servers of it, then those that edges reach, and among equals those that are nearer. Each pool
// has an order of masters of its own, by a hash of both names, so that pools spread over
// masters, and those of one that is lost over all others. Pools with the same group have the same order.
func before(pool, group string, self Candidate, masters []Candidate) []Candidate {
	var all []Candidate
	for _, m := range masters {
		if m.ID != self.ID && compare(pool, group, m, self) < 0 {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b Candidate) int { return compare(pool, group, a, b) })
	return all
}

// compare returns a negative number if a comes before b for a pool.
func compare(pool, group string, a, b Candidate) int {
	if lacks := a.lacks(pool); lacks != b.lacks(pool) {
		if lacks {
			return 1
		}
		return -1
	}
	if a.short != b.short {
		if a.short {
			return 1
		}
		return -1
	}
	return cmp.Or(cmp.Compare(weight(group, b.ID), weight(group, a.ID)), cmp.Compare(a.ID, b.ID))
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
