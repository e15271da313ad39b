package orca

import (
	"math"
	"slices"
	"strconv"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// AppendText appends the metrics to dst as a value of the header endpoint-load-metrics
// in its TEXT form, and appends nothing if none of them can stand there.
//
// Envoy rejects a report whole for one key or value it does not like. So these are left
// out: keys that the form does not have (request_cost.k among them), names with bytes
// that would end a key, names told before, and values that are negative or not finite.
func AppendText(dst []byte, metrics []balance.Metric) []byte {
	before := ' '
	for i, m := range metrics {
		told := func(o balance.Metric) bool { return o.Name == m.Name && finite(o.Value) }
		if !writable(m.Name) || !finite(m.Value) || slices.ContainsFunc(metrics[:i], told) {
			continue
		}
		if before == ' ' {
			dst = append(dst, "TEXT"...)
		}
		dst = append(dst, byte(before))
		dst = append(dst, m.Name...)
		dst = append(dst, '=')
		dst = strconv.AppendFloat(dst, m.Value, 'g', -1, 64)
		before = ','
	}
	return dst
}

func finite(v float64) bool { return v >= 0 && v <= math.MaxFloat64 }

func writable(name string) bool {
	if len(name) > balance.MaxMetricName || !known(name) || inMap(name, requestCost) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == ',' || c == '=' || c == ':' {
			return false
		}
	}
	return true
}
