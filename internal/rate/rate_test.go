package rate

import (
	"math"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func TestCounter(t *testing.T) {
	var c Counter
	for _, step := range []struct {
		ms          int
		count, want float64
		over        int // ms
		ok          bool
	}{
		{0, 1000, 0, 0, false},
		{100, 1010, 100, 100, true},
		{500, 1050, 100, 500, true},
		{600, 1150, 280, 500, true},
		{5000, 5550, 1000, 4400, true},
		{5100, 3, 0, 0, false}, // counts anew
		{5200, 13, 100, 100, true},
		{5200, 13, 0, 0, false}, // no time has passed
	} {
		at := balance.Instant(time.Hour + time.Duration(step.ms)*time.Millisecond)
		got, over, ok := c.Step(at, step.count)
		if math.Abs(got-step.want) > 1e-6 || over != time.Duration(step.over)*time.Millisecond || ok != step.ok {
			t.Errorf("at %d ms, count %v: got %v over %v, %v, want %v over %d ms, %v", step.ms, step.count, got, over, ok, step.want, step.over, step.ok)
		}
	}
}
