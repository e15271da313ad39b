// Package policy has the ways to choose a server, one file each, listed in Table.
//
// A policy sees only servers that may take the request; which those are is the
// pool's business. It compares what balance knows of them and has no other state
// than a place in a round.
package policy

import (
	"fmt"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Row is one way to choose.
type Row struct {
	Name string
	Doc  string // one line, for people
	New  func() balance.Policy
}

// Default is the name of the policy of a pool that names none.
const Default = "least-load"

// Table lists every policy.
var Table = []Row{
	{"least-load", "the server where the request and those it would delay wait least", func() balance.Policy { return balance.ByScore{Scorer: LeastLoad{}} }},
	{"sessions", "the server that would be least full; for sessions of minutes and more", func() balance.Policy { return balance.ByScore{Scorer: Sessions{}} }},
	{"consistent-hash", "the same server for the same key, while none has more than 1.25 times its share", func() balance.Policy { return ConsistentHash{} }},
	{"two-choices", "the less loaded of two servers drawn at random by weight", func() balance.Policy { return TwoChoices{} }},
	{"round-robin", "each in turn, as often as its declared weight says", func() balance.Policy { return new(RoundRobin) }},
	{"random", "any, as often as its declared weight says", func() balance.Policy { return Random{} }},
}

// New returns a fresh policy by its name; "" is the default.
func New(name string) (balance.Policy, error) {
	if name == "" {
		name = Default
	}
	var names []string
	for _, row := range Table {
		if row.Name == name {
			return row.New(), nil
		}
		names = append(names, row.Name)
	}
	return nil, fmt.Errorf("policy %q is not known: want one of %s", name, strings.Join(names, ", "))
}
