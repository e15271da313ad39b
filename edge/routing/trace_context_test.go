package routing

import (
	"math"
	"strings"
	"testing"
)

func TestParseTraceParent(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	good := "00-" + trace + "-" + span + "-01"
	for value, flags := range map[string]byte{
		good:                                    TraceSampled,
		"00-" + trace + "-" + span + "-00":      0,
		"00-" + trace + "-" + span + "-ff":      TraceSampled | TraceRandom,
		"00-" + trace + "-" + span + "-02":      TraceRandom,
		"cc-" + trace + "-" + span + "-01":      TraceSampled, // of a later version
		"cc-" + trace + "-" + span + "-01-x":    TraceSampled,
		"01-" + trace + "-" + span + "-a9-":     TraceSampled,
		"00-" + trace + "-" + span + "-0" + "3": TraceSampled | TraceRandom,
	} {
		p, ok := ParseTraceParent(value)
		if !ok || string(p.Trace[:]) != trace || string(p.Span[:]) != span || p.Flags != flags {
			t.Errorf("%s: %s %s %x %t, want flags %x", value, p.Trace, p.Span, p.Flags, ok, flags)
		}
	}
	for _, value := range []string{
		"", "00", good[:54], good + "-", good + "x", "cc" + good[2:] + "x", "ff" + good[2:], "0g" + good[2:], "0A" + good[2:],
		strings.Replace(good, "0af7", "0AF7", 1), strings.Replace(good, "0af7", "0ag7", 1), strings.Replace(good, "b7ad", "b7a-", 1), strings.Replace(good, "-01", "-0x", 1), strings.Replace(good, "-01", "-0/", 1),
		strings.Replace(good, "00-", "00_", 1), strings.Replace(good, "-b7", "_b7", 1), strings.Replace(good, "-01", "_01", 1),
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01", "00-" + trace + "-" + strings.Repeat("0", 16) + "-01",
	} {
		if p, ok := ParseTraceParent(value); ok {
			t.Errorf("%q is taken for %s %s", value, p.Trace, p.Span)
		}
	}
	p, _ := ParseTraceParent("cc-" + trace + "-" + span + "-f9-x")
	if got := string(p.AppendTraceParent([]byte("x"), (*[16]byte)([]byte("00f067aa0ba902b7")))); got != "x00-"+trace+"-00f067aa0ba902b7-01" {
		t.Errorf("goes on as %s", got)
	}
}

func TestTraceSettings(t *testing.T) {
	for sample, bad := range map[float64]bool{0: false, 1: false, -1: false, .5: false, 1.01: true, math.NaN(): true, math.Inf(1): true} {
		found := false
		(&Trace{Sample: sample}).Validate(func(field, problem string) { found = field == "sample" && problem != "" })
		if found != bad {
			t.Errorf("sample %v: found bad %t", sample, found)
		}
	}
}

func FuzzTraceParent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-f9-x")
	f.Fuzz(func(t *testing.T, value string) {
		p, ok := ParseTraceParent(value)
		if !ok {
			return
		}
		written := string(p.AppendTraceParent(nil, &p.Span))
		if again, ok := ParseTraceParent(written); !ok || again != p || len(written) != traceParentLength {
			t.Errorf("%q is written as %q, which is %v, %t", value, written, again, ok)
		}
	})
}
