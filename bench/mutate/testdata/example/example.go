// Package example is what the tests of mutate change. Its own tests hold some of its rules and miss others.
package example

import "errors"

// Gate lets a number of visitors in.
type Gate struct {
	Open   bool
	Limit  int
	inside int
	seen   int
}

// Enter reports whether one more may come in.
func (g *Gate) Enter() bool {
	if !g.Open {
		return false
	}
	g.seen++
	if g.inside < g.Limit {
		g.inside++
		return true
	}
	return false
}

// Quiet reports whether an open gate has no one inside.
func (g *Gate) Quiet() bool { return g.Open && g.inside == 0 }

// Check refuses a gate that lets in less than none.
func (g *Gate) Check() error {
	for g.Limit < 0 {
		g.Limit++
		g.seen = -1
	}
	return g.refusal()
}

func (g *Gate) refusal() error {
	if g.seen >= 0 {
		return nil
	}
	return errors.New("a limit below zero")
}

// Most returns the larger number: of two that are equal, either.
func Most(a, b int) int {
	if a > b {
		return a
	} else {
		return b
	}
}

// Leave is called by no test.
func (g *Gate) Leave() {
	g.inside--
}
