package balance

import (
	"math"
	"testing"
)

func open(t *testing.T, l *ledger, n int) (ids []LeaseID) {
	t.Helper()
	for range n {
		at, ok := l.add(&Server{}, 0, 1, 0)
		if !ok {
			t.Fatal("the ledger is full")
		}
		ids = append(ids, at.id)
	}
	return ids
}

func slotOf(id LeaseID) int { return int(id & (maxOpen - 1)) }

// The place of a lease that has ended rests until more than a quarter of all places are free. Then the one that has been free longest
// is taken first, under another id.
func TestPlacesOfEndedLeasesRest(t *testing.T) {
	l := ledger{epoch: 7}
	ids := open(t, &l, 8)
	for i := range 2 {
		l.drop(l.find(ids[i]))
	}
	if id := open(t, &l, 1)[0]; slotOf(id) != 8 {
		t.Errorf("with 2 of 8 places free a lease stands in place %d, want a new one, 8", slotOf(id))
	}
	for i := range 3 {
		l.drop(l.find(ids[2+i]))
	}
	for i := range 3 { // 5, 4 and 3 of 9 are free
		id := open(t, &l, 1)[0]
		if slotOf(id) != i || id == ids[i] {
			t.Errorf("a lease stands in place %d under id %s, want place %d, which has been free longest, and another id than %s", slotOf(id), id, i, ids[i])
		}
		if l.find(ids[i]) != nil {
			t.Errorf("lease %s is found though it has ended", ids[i])
		}
		if at := l.find(id); at == nil || at.id != id {
			t.Errorf("lease %s is not found", id)
		}
	}
	if id := open(t, &l, 1)[0]; slotOf(id) != 9 {
		t.Errorf("with 2 of 9 places free a lease stands in place %d, want a new one, 9", slotOf(id))
	}
	if l.open != 3+3+1+1 || l.freed != 2 {
		t.Errorf("%d leases are counted open and %d places free, want 8 and 2", l.open, l.freed)
	}
}

// All places that have become free are taken again: none is lost.
func TestNoPlaceIsLost(t *testing.T) {
	var l ledger
	l.epoch = 1
	for range 20 {
		for _, id := range open(t, &l, 40) {
			l.drop(l.find(id))
		}
	}
	if n := len(l.leases); n > 60 || l.open != 0 || l.freed != n {
		t.Errorf("%d places for 40 leases at a time, %d open, %d free; want at most half as many more, and all free", n, l.open, l.freed)
	}
}

// After the last generation of a place comes the first again.
func TestGenerationsWrapAround(t *testing.T) {
	l := ledger{epoch: 3}
	id := open(t, &l, 1)[0]
	l.drop(l.find(id))
	l.leases[0].gen = 1<<genBits - 1
	if id := open(t, &l, 1)[0]; l.find(id) == nil || uint64(id)>>(genBits+slotBits) != 3 || slotOf(id) != 0 {
		t.Errorf("after the last generation lease %s is granted, want one of this epoch that is found", id)
	}
}

func TestWhichLeasesAreToCome(t *testing.T) {
	const epoch = 9
	of := func(epoch, gen, slot uint64) LeaseID {
		return LeaseID(epoch<<(genBits+slotBits) | gen<<slotBits | slot)
	}
	l := ledger{epoch: epoch}
	open(t, &l, 4)
	l.leases[1].gen, l.leases[2].gen = 100, 1<<genBits-1
	for _, c := range []struct {
		name string
		id   LeaseID
		want bool
	}{
		{"another life's", of(epoch+1, 200, 1), false},
		{"of the present generation", of(epoch, 100, 1), false},
		{"of the next", of(epoch, 101, 1), true},
		{"of a later one", of(epoch, 5000, 1), true},
		{"of the one before", of(epoch, 99, 1), false},
		{"of the next, which is the first again", of(epoch, 0, 2), true},
		{"of the one before the last", of(epoch, 1<<genBits-2, 2), false},
		{"in the next new place", of(epoch, 1, 4), true},
		{"in the last place", of(epoch, 1, 3), false},
	} {
		if got := l.isToCome(c.id); got != c.want {
			t.Errorf("a lease %s is to come: %t, want %t", c.name, got, c.want)
		}
	}
}

// A lease of another life goes by the id that it has, also where a lease of this life stands in the place of which that id speaks.
func TestLeasesOfAnotherLifeKeepTheirIDs(t *testing.T) {
	l := ledger{epoch: 2}
	own := open(t, &l, 2)
	foreign := LeaseID(5<<(genBits+slotBits) | 1<<slotBits) // speaks of place 0
	if !l.adopt(foreign, 77, &Server{}, 0, 1, 0) {
		t.Fatal("not adopted")
	}
	at := l.find(foreign)
	if at == nil || at == l.find(own[0]) || l.adopted[foreign].tag != 77 || l.open != 3 {
		t.Fatalf("found %+v with tag %d of %d leases", at, l.adopted[foreign].tag, l.open)
	}
	l.drop(at)
	if l.find(foreign) != nil || l.find(own[0]) == nil || l.find(own[1]) == nil || len(l.adopted) != 0 || l.open != 2 {
		t.Errorf("after its end %d leases are open and %d adopted, want the two of this life", l.open, len(l.adopted))
	}
	if l.find(0) != nil || l.find(math.MaxUint64) != nil {
		t.Error("leases are found that never were")
	}
}

// Leases end in order of their limits as these stand now, and what has no limit does not end.
func TestLeasesEndAsTheirLimitsSay(t *testing.T) {
	l := ledger{epoch: 1}
	lease := func(expires Instant) *lease {
		at, _ := l.add(&Server{}, 0, 1, expires)
		return l.find(at.id)
	}
	for range 16 { // so that no lease moves when another is added
		open(t, &l, 1)
	}
	a, b, c := lease(30).id, lease(10).id, lease(0).id
	wantNext := func(now, want Instant) {
		t.Helper()
		if at, next := l.due(now); at != nil || next != want {
			t.Errorf("at %d %+v is due and the next at %d, want none and %d", now, at, next, want)
		}
	}
	wantDue := func(now Instant, want LeaseID) {
		t.Helper()
		at, _ := l.due(now)
		if at == nil || at.id != want {
			t.Fatalf("at %d %+v is due, want %s", now, at, want)
		}
		l.drop(at)
	}
	wantNext(9, 10)
	wantDue(10, b) // its time is over at that very time
	l.limit(l.find(a), 50)
	wantNext(30, 50) // put off
	l.limit(l.find(a), 20)
	wantNext(19, 20)
	l.limit(l.find(a), 0)
	wantNext(1000, 0)
	l.limit(l.find(c), 40)
	l.limit(l.find(a), 35)
	wantDue(1000, a)
	wantDue(1000, c)
	wantNext(1000, 0)
}
