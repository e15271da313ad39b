package agent

import "github.com/evenkeel-lb/evenkeel/balance"

// hostSource samples the machine. newHostSource, of which every platform has its own,
// returns nil where nothing can be sampled.
type hostSource interface {
	// sample returns what can be told at now, even beside an error about the rest.
	sample(now balance.Instant) ([]balance.Metric, error)
}
