package balance_test

import (
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func TestRefusalsOfTheLastMinuteAreSummedUp(t *testing.T) {
	var r balance.Refusals
	now := balance.Instant(time.Hour)
	if got := r.Sum(now); got != (balance.RefusalSum{}) {
		t.Errorf("nothing was asked: %+v", got)
	}
	r.Asked(now, 1, false, nil, 0)
	for range 2 {
		r.Asked(now, 2, false, &balance.Refusal{Reason: balance.Saturated}, 0)
	}
	r.Asked(now, 1, true, &balance.Refusal{Reason: balance.NoServer}, 0)      // tried elsewhere: the same request
	r.Asked(now, 3, false, &balance.Refusal{Reason: balance.Malformed}, 0)    // its client's fault
	r.Asked(now.Add(time.Second), 4, false, &balance.Refusal{Reason: 200}, 0) // not known here
	r.Asked(now.Add(50*time.Second), 5, false, nil, 0)
	if got, want := r.Sum(now.Add(55*time.Second)), (balance.RefusalSum{Requests: 5, Refused: 3, Most: balance.Saturated}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := r.Sum(now.Add(75*time.Second)), (balance.RefusalSum{Requests: 1}); got != want {
		t.Errorf("later: got %+v, want %+v", got, want)
	}
	if got := r.Sum(now.Add(time.Hour)); got != (balance.RefusalSum{}) {
		t.Errorf("much later: got %+v, want nothing", got)
	}
}

func TestRefusalsOfARequestAreKept(t *testing.T) {
	var r balance.Refusals
	now := balance.Instant(time.Hour)
	for id := uint64(1); id <= 300; id++ {
		r.Asked(now, id, false, &balance.Refusal{Reason: balance.Shed, Detail: "why"}, time.Second)
	}
	if got := r.Of(300); len(got) != 1 || got[0].Refusal.Detail != "why" || got[0].Waited != time.Second || got[0].At != now {
		t.Errorf("got %+v, want the refusal of 300", got)
	}
	if got := r.Of(1); got != nil {
		t.Errorf("got %+v of a request that went long ago, want nothing", got)
	}
	if got := r.Of(0); got != nil {
		t.Errorf("got %+v of a request without an id, want nothing", got)
	}
}

func TestAnAskThatIsGrantedCostsNoAllocation(t *testing.T) {
	var r balance.Refusals
	if n := testing.AllocsPerRun(100, func() { r.Asked(balance.Instant(time.Hour), 1, false, nil, 0) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestARequestThatIsRefusedAtOnceSaysHowLongAnswersTake(t *testing.T) {
	p, held := full(t, 10)
	p.Done(13*second, held, balance.Outcome{Result: balance.OK, Duration: 12 * time.Second})
	if _, err := p.Pick(13*second, &balance.Request{}); err != nil {
		t.Fatal(err)
	}
	_, _, refusal := p.Join(14*second, &balance.Request{Deadline: 24 * second})
	if refusal == nil || refusal.Reason != balance.Shed || refusal.Needs < 11*time.Second {
		t.Fatalf("got %+v, want shed, because answers take 12 s", refusal)
	}
	if want := "requests take up to 12s, longer than the 10s until this one's deadline"; !strings.Contains(refusal.Detail, want) {
		t.Errorf("got %q, want %q in it", refusal.Detail, want)
	}
}
