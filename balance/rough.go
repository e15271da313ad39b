package balance

import "math"

// Logarithms and powers for what is an estimate anyway, to seven digits: those of package math take a tenth of a decision. Both are exact for powers of two.

const (
	roughSteps = 1 << roughBits // of a table, between two powers of two
	roughBits  = 10
	restBits   = fractionBits - roughBits // of the fraction, that a step leaves

	fractionBits = 52   // of a float64
	exponentBias = 1023 // of a float64
)

var roughLogs, roughPowers = func() (logs, powers [roughSteps + 1]float64) {
	for i := range logs {
		logs[i], powers[i] = math.Log2(1+float64(i)/roughSteps), math.Exp2(float64(i)/roughSteps)
	}
	return logs, powers
}()

// roughLog returns the natural logarithm of a finite number above zero.
func roughLog(v float64) float64 {
	bits := math.Float64bits(v)
	step := bits >> restBits & (roughSteps - 1)
	below, rest := roughLogs[step], float64(bits&(1<<restBits-1))*(1./(1<<restBits))
	return (float64(int(bits>>fractionBits)-exponentBias) + below + rest*(roughLogs[step+1]-below)) * math.Ln2
}

// roughExp returns e to the power of a number; of one that is very large or small the largest or smallest that it can tell.
func roughExp(v float64) float64 {
	v = min(max(v*math.Log2E, 1-exponentBias), exponentBias)
	whole := math.Floor(v)
	at := (v - whole) * roughSteps
	step := min(int(at), roughSteps-1)
	below := roughPowers[step]
	return math.Float64frombits(uint64(int(whole)+exponentBias)<<fractionBits) * (below + (at-float64(step))*(roughPowers[step+1]-below))
}
