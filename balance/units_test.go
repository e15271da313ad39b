package balance

import (
	"strings"
	"testing"
	"time"
)

// A lease's id and tag read as they were written, and nothing else does.
func TestLeasesReadAsTheyAreWritten(t *testing.T) {
	for _, want := range []TaggedLease{{1, 1}, {1<<64 - 1, 1<<64 - 1}, {0x0003f00000000017, 0xa1b2c3d4e5f60718}} {
		if got, err := ParseTaggedLease(want.String()); err != nil || got != want || len(want.String()) != 32 {
			t.Errorf("%s reads as %+v, %v", want, got, err)
		}
		if got, err := ParseLeaseID(want.ID.String()); err != nil || got != want.ID {
			t.Errorf("%s reads as %s, %v", want.ID, got, err)
		}
	}
	if got := (TaggedLease{ID: 7}).String(); got != (LeaseID(7)).String() {
		t.Errorf("a lease without a tag is written %s", got)
	}
	id, tag := "0003f00000000017", "a1b2c3d4e5f60718"
	for bad, want := range map[string]string{
		"": "want 32", id: "the tag is missing", id + tag[:15]: "want 32", id + tag + "0": "want 32", strings.Repeat("0", 16) + tag: "want 32",
		"x" + id[1:] + tag: "want 32", id + "x" + tag[1:]: "want 32", "x" + id[1:]: "want 32",
	} {
		if got, err := ParseTaggedLease(bad); err == nil || got != (TaggedLease{}) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q reads as %+v, %v; want an error with %q", bad, got, err, want)
		}
	}
	for _, bad := range []string{"", "17", id + "0", "0000000000000000", "x" + id[1:]} {
		if got, err := ParseLeaseID(bad); err == nil || got != 0 {
			t.Errorf("%q reads as %s, %v", bad, got, err)
		}
	}
}

func TestBeliefsAndReasonsReadAsTheyAreWritten(t *testing.T) {
	for _, b := range []Belief{Told, Proven, Disbelieved} {
		if got, ok := ParseBelief(b.String()); !ok || got != b {
			t.Errorf("%s reads as %s, %t", b, got, ok)
		}
	}
	if got, ok := ParseBelief(""); !ok || got != Told {
		t.Errorf("no word reads as %s, %t", got, ok)
	}
	if _, ok := ParseBelief("sure"); ok || Belief(9).String() != "belief-9" {
		t.Error("a belief that is none is read, or has a word")
	}
	for r, want := range map[Reason]int{NoServer: 503, Saturated: 503, Shed: 429, Malformed: 400, 0: 503, 99: 503} {
		if got := r.HTTPStatus(); got != want {
			t.Errorf("%s: status %d, want %d", r, got, want)
		}
	}
	if Reason(0).String() != "reason-0" || Reason(99).String() != "reason-99" || Shed.String() != "shed" {
		t.Errorf("reasons read %s, %s and %s", Reason(0), Reason(99), Shed)
	}
	if got := (&Refusal{Reason: Shed}).Error(); got != "shed" {
		t.Errorf("a refusal without a detail reads %q", got)
	}
	if got := (&Refusal{Reason: Shed, Detail: "why"}).Error(); got != "shed: why" {
		t.Errorf("a refusal reads %q", got)
	}
}

// A server that says to be kept to some figures has its agent's word for what they are.
func TestWhatSlotsRestOn(t *testing.T) {
	const now = 10 * sec
	seen := &knee{bend: bend{c: 4}}
	seen.weight[0] = 30
	alike := &knee{shared: bend{c: 4}, sharers: 3}
	alike.weight[0] = 30
	told := func(learnt float64, vague bool, v verdict) *evidence {
		e := &evidence{slots: slots{learnt: learnt, vague: vague, taken: now - 2*sec}, agrees: agreement{verdict: v}}
		e.slots.timeAt[1] = 5
		return e
	}
	for _, c := range []struct {
		name string
		cap  capacity
		knee *knee
		e    *evidence
		want string
	}{
		{"nothing", capacity{slots: 1}, unheardKnee, silence, "assumed"},
		{"the others", capacity{slots: 4, known: true, assumed: true}, unheardKnee, silence, "assumed, as the others have"},
		{"declared", capacity{slots: 4, known: true, told: true}, unheardKnee, silence, "declared"},
		{"declared, and as much is learnt of the CPU", capacity{slots: 4, known: true, told: true}, unheardKnee, told(4, true, agrees), "declared"},
		{"declared, and as much is told that contradicts", capacity{slots: 4, known: true, told: true}, unheardKnee, told(4, false, contradict), "declared"},
		{"told by the application", capacity{slots: 4, known: true, told: true}, unheardKnee, told(4, false, agrees), "its utilization, 5 s of reports, the last 2s ago"},
		{"told by the CPU", capacity{slots: 4, known: true}, unheardKnee, told(4, true, agrees), "its CPU's utilization, 5 s of reports, the last 2s ago"},
		{"latencies", capacity{slots: 4, known: true}, seen, silence, "latencies, 30 samples"},
		{"latencies of servers alike", capacity{slots: 4, known: true}, alike, silence, "latencies, 30 samples and those of 2 servers alike"},
		{"refuted", capacity{slots: 4, known: true, refuted: true}, seen, told(8, false, agrees), "latencies, 30 samples, which rule out what was told"},
	} {
		_, s := limits(t, Config{}, 0)
		s.capacity, s.knee, s.evidence = c.cap, c.knee, c.e
		if got := s.slotsRestOn(now); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if l := s.learnt(now); l.Age != -1 {
			t.Errorf("%s: the last sample was %v ago, want none", c.name, l.Age)
		}
		s.sampled = now - sec
		if l := s.learnt(now); l.Age != time.Second {
			t.Errorf("%s: the last sample was %v ago, want a second", c.name, l.Age)
		}
	}
}
