package h2conn

import (
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// An allowance lets through what clients in good order send, and no more than its rate of what an attack is made of.
func TestAllowance(t *testing.T) {
	var a floodLimit
	now := balance.Instant(time.Hour)
	if pause := a.charge(now, IdleFramesAtOnce); pause != 0 {
		t.Errorf("the first %d frames are held back for %v", IdleFramesAtOnce, pause)
	}
	if pause := a.charge(now, 10); pause != 10*time.Millisecond {
		t.Errorf("ten more are held back for %v, want 10ms", pause)
	}
	if pause := a.charge(now.Add(10*time.Millisecond), 0); pause != 0 {
		t.Errorf("after that pause there is another of %v", pause)
	}
	if pause := a.charge(now.Add(time.Minute), IdleFramesAtOnce); pause != 0 {
		t.Errorf("a minute later %d frames are held back for %v", IdleFramesAtOnce, pause)
	}
	if a.credit(5 * BytesPerFrame); a.charge(now.Add(time.Minute), 5) != 0 {
		t.Error("bytes have earned nothing")
	}
}
