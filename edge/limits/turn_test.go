package limits

import (
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// A turn ends by time, which is looked at as often as what is done may cost much.
func TestATurnEndsByTime(t *testing.T) {
	now, looks := balance.Instant(time.Hour), 0
	clock := func() balance.Instant { looks++; return now }
	turn := Turn{Most: time.Millisecond}
	for i := range TurnLook {
		if turn.Over(clock) || looks != 0 {
			t.Fatalf("over, or the clock was looked at, after %d small frames", i)
		}
		turn.Spend(1)
	}
	for i := range 100 { // as long as no time passes, whatever is done
		if turn.Over(clock) || looks != i+1 {
			t.Fatalf("after %d calls: over, or looked %d times", i, looks)
		}
		turn.Spend(TurnCall)
	}
	if now += balance.Instant(time.Millisecond); turn.Over(clock) {
		t.Error("over before its time")
	}
	now++
	if turn.Over(clock) {
		t.Error("over although the clock was looked at just before")
	}
	if turn.Spend(TurnCall); !turn.Over(clock) {
		t.Error("not over after its time")
	}
	if looks = 0; !turn.Over(clock) || looks != 0 {
		t.Error("it begins again")
	}
}
