package load

import (
	"math"
	"time"
)

// Quantile returns the smallest of sorted that the share q of them does not exceed;
// zero if there is none.
func Quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}
