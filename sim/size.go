package sim

import (
	"math"
	"math/rand/v2"
)

// Size says what requests tell of their size, which is their work.
type Size struct {
	Told  bool    `yaml:"told"`
	Known float64 `yaml:"known"` // standard deviation of the logarithm of what is told over the truth; zero: exactly
	Lie   bool    `yaml:"lie"`   // what is told has nothing to do with the truth
}

// Class is a class of requests, which tell its name.
type Class struct {
	Name  string  `yaml:"name"`
	Share float64 `yaml:"share"` // of the requests, over those of the other classes; zero: 1
	Work  float64 `yaml:"work"`  // of a request, over those of the other classes; zero: 1. The mean over all classes is the scenario's
}

// sizeTeller draws the sizes that requests tell.
type sizeTeller struct {
	Size
	rng *rand.Rand
}

// told returns the size that a request of that work tells; zero: it tells none.
func (t *sizeTeller) told(work float64) float64 {
	switch {
	case !t.Told:
		return 0
	case t.Lie:
		return math.Exp(t.rng.NormFloat64())
	}
	return work * math.Exp(t.Known*t.rng.NormFloat64())
}
