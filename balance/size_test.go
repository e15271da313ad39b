package balance

import (
	"testing"
	"unsafe"
)

// A server's record fills whole cache lines, which the allocator's classes keep.
func TestServersStandInCacheLinesOfTheirOwn(t *testing.T) {
	if size := unsafe.Sizeof(Server{}); size != 3*64 {
		t.Errorf("a Server takes %d bytes, want 192: what is needed seldom belongs into details", size)
	}
}

// Many servers never report, fail or have slots to be learnt. What that needs is not theirs to carry.
func TestServersThatAreWellAreSmall(t *testing.T) {
	if size := unsafe.Sizeof(Server{}) + unsafe.Sizeof(details{}); size > 192+768 { // an allocator's class; indexes and names take a hundred bytes more
		t.Errorf("a server takes %d bytes as long as nothing is wrong with it and it reports nothing, want %d at most: what few need belongs behind a pointer", size, 192+768)
	}
	p, now := New(Config{Name: "p"}, ByScore{nothing{}}, 1), second
	for _, spec := range []ServerSpec{{ID: "a", Address: "127.0.0.1:80"}, {ID: "b", Address: "127.0.0.1:80", Slots: 2}} {
		if err := p.Put(now, spec, true); err != nil {
			t.Fatal(err)
		}
	}
	serve := func(o Outcome) {
		if g, err := p.Pick(now, &Request{}); err == nil {
			p.Done(now+second/100, g.Lease, o)
		}
		now += second
		p.Expire(now)
	}
	for range 30 {
		serve(Outcome{Duration: 1e6})
	}
	for _, s := range p.servers {
		if s.answers.last != nil || s.losses.rare != nil || s.full != nil {
			t.Errorf("server %s, with which nothing is wrong, has %+v", s.spec.ID, s.details)
		}
	}
	for i := range 100 {
		serve(Outcome{Result: Result(i % int(Results)), Duration: 1e6, Status: 500})
	}
	p.Views(now)
	p.Explain(now, &Request{})
	if *silence != (evidence{}) || *unheardKnee != (knee{}) {
		t.Error("what servers share that have told nothing has been written to")
	}
}

// It is told in time which requests a server that was ejected long ago did not get, and then forgotten.
func TestRareLossesAreForgotten(t *testing.T) {
	var l losses
	l.add(60*second, lostByEjection, 3)
	for at := 60 * second; at < 200*second; at += second {
		l.add(at, lostByScore, 1)
		if got, want := l.count(lostByEjection), uint64(3); at < 120*second && got != want {
			t.Fatalf("after %v %d are known, want %d", at.Sub(60*second), got, want)
		}
	}
	if l.rare != nil {
		t.Error("rare losses of long ago are kept")
	}
	if got := l.count(lostByScore); got != 70 {
		t.Errorf("%d losses in 70 s, want one a second", got)
	}
}
