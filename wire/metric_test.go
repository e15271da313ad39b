package wire

import (
	"math"
	"testing"
)

// Whatever way a metric is written, it is read the same.
func TestAMetricInAnyOrder(t *testing.T) {
	name := func(b []byte) []byte { return putText(b, 1, "named_metrics.x", MaxName) }
	value := func(b []byte) []byte { return putFloat(b, 2, math.Pi) }
	news := func(b []byte) []byte { return putUint(b, 9, 1) } // a field of a newer version
	for title, parts := range map[string][]func([]byte) []byte{
		"as we do": {name, value}, "value first": {value, name}, "a new field": {name, value, news}, "a new field first": {news, name, value},
		"twice": {name, value, name, value},
	} {
		dst := begin(nil, TReports)
		dst, report := nest(dst, 1)
		dst, metric := nest(dst, 4)
		for _, part := range parts {
			dst = part(dst)
		}
		dst = end(unnest(unnest(dst, metric), report), 0)
		var m Reports
		if err := m.Decode(dst[headerSize:]); err != nil {
			t.Errorf("%s: %v", title, err)
			continue
		}
		if got := m.Reports[0].Report.Metrics; len(got) != 1 || got[0].Name != "named_metrics.x" || got[0].Value != math.Pi {
			t.Errorf("%s: got %v, want one metric of π", title, got)
		}
	}
	for _, short := range []string{"\x0a", "\x0a\x01", "\x0a\x01a\x11\x00"} {
		f := fields{what: TReports, kind: kindBytes, in: []byte(short), bytes: []byte(short), at: len(short)}
		if f.metric(nil); f.err == nil {
			t.Errorf("%x: no error, though it is cut off", short)
		}
	}
	var lone fields // without a value, as zero is written
	lone.kind, lone.bytes, lone.in = kindBytes, []byte("\x0a\x01a"), []byte("\x0a\x01a")
	lone.at = len(lone.in)
	if got := lone.metric(nil); lone.err != nil || len(got) != 1 || got[0].Name != "a" || got[0].Value != 0 {
		t.Errorf("got %v, %v, want metric a of 0", got, lone.err)
	}
}
