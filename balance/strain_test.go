package balance

import (
	"math"
	"testing"
	"time"
)

// Strain is the mean of the answers of late, as sure as they are many: of the first in full, of later ones ever less, down to a twelfth.
func TestStrainIsTheMeanOfAnswersOfLate(t *testing.T) {
	var s strain
	if got := s.most(sec, 1, .25); !math.IsInf(got, 1) {
		t.Errorf("without an answer a server may be %v times as slow, want any", got)
	}
	s.observe(sec, math.Log(4), 1)
	if s.weight != 1 || !isNear(s.mean, math.Log(4)) {
		t.Errorf("one answer that took 4 times as long: %v of weight %v", math.Exp(s.mean), s.weight)
	}
	if got, want := s.most(sec, 1, .25), 4*math.Exp(strainLikely*.5); !isNear(got, want) {
		t.Errorf("after one answer of deviation a half it may be %v times as slow, want two deviations beyond 4, %v", got, want)
	}
	if got, want := s.most(sec, 1, 0), 4*math.Exp(strainLikely*strainSpread); !isNear(got, want) {
		t.Errorf("after one answer that none differs from it may be %v times as slow, want %v", got, want)
	}
	if got := s.most(2*sec, 1, .25); !math.IsInf(got, 1) {
		t.Errorf("a time constant later a server may be %v times as slow, want any again", got)
	}
	for range 3 {
		s.observe(sec, 0, 1)
	}
	if got := s.mean; !isNear(got, math.Log(4)/4) {
		t.Errorf("one answer that took 4 times as long and three as they should: %v, want a quarter of the logarithm", got)
	}
	if got, want := s.most(sec, 1, 1), math.Exp(s.mean+strainLikely/2); !isNear(got, want) {
		t.Errorf("four answers of deviation 1: %v, want one deviation beyond, %v", got, want)
	}
	for range 100 {
		s.observe(sec, 0, 1)
	}
	if before := s.mean; s.weight != strainAnswers {
		t.Errorf("%v answers count, want %v at most", s.weight, strainAnswers)
	} else if s.observe(sec, 12, 1); !isNear(s.mean, before+(12-before)/strainAnswers) {
		t.Errorf("one more moves the mean from %v to %v, want by a twelfth", before, s.mean)
	}
}

func TestHowLongAnAnswerCounts(t *testing.T) {
	for mean, want := range map[time.Duration]float64{10 * time.Millisecond: 1, 100 * time.Millisecond: 1, time.Second: 10} {
		p, s := limits(t, Config{}, 1)
		p.takes(mean, time.Millisecond)
		if got := s.strainMemory(); !isNear(got, want) {
			t.Errorf("where requests take %v an answer counts for %v s, want %v", mean, got, want)
		}
	}
}
