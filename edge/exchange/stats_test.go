package exchange

import (
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{0, 25 * time.Microsecond, 25*time.Microsecond + 1, 75 * time.Microsecond, time.Hour} {
		h.observe(&pickScale, d)
	}
	if h.counts[0] != 2 || h.counts[1] != 2 || h.counts[len(pickScale.seconds)] != 1 {
		t.Errorf("counts %v, want two at the first bound, two at the second and one beyond all", h.counts)
	}
	if want := time.Hour + 125*time.Microsecond + 1; h.sum != want {
		t.Errorf("sum %v, want %v", h.sum, want)
	}
}
