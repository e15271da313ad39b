package balance

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestRoughLogarithmsAndPowers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := rapid.Float64Range(-700, 700).Draw(t, "logarithm")
		if got, want := roughExp(log), math.Exp(log); math.Abs(got/want-1) > 1e-6 {
			t.Errorf("e to the power of %v is %v, want %v", log, got, want)
		}
		if got := roughLog(math.Exp(log)); math.Abs(got-log) > 1e-6 {
			t.Errorf("the logarithm of %v is %v, want %v", math.Exp(log), got, log)
		}
	})
	for e := -1000; e <= 1000; e += 50 {
		if v := math.Ldexp(1, e); roughLog(v) != float64(e)*math.Ln2 {
			t.Errorf("the logarithm of %v is %v, want %v", v, roughLog(v), float64(e)*math.Ln2)
		}
	}
	for _, v := range []float64{math.Inf(1), 1e300, 1000, -1000, -1e300, math.Inf(-1)} {
		if got := roughExp(v); !(got > 0 && got < math.Inf(1)) || (got > 1) != (v > 0) {
			t.Errorf("e to the power of %v is %v, want a finite number above zero", v, got)
		}
	}
	if got := roughLog(math.SmallestNonzeroFloat64); !(got < -700 && got > -800) {
		t.Errorf("the logarithm of the smallest number is %v", got)
	}
}
