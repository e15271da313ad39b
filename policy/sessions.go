package policy

import "github.com/evenkeel-lb/evenkeel/balance"

// Sessions takes the server that would be least full: for work that lasts minutes or
// hours, where how long it lasted says nothing about the server.
type Sessions struct{}

// Score is the share of the slots that would be taken.
func (Sessions) Score(now balance.Instant, s *balance.Server) float64 {
	c, _ := s.Slots()
	sr := s.Success()
	return (s.Load(now) + 1) / (c * s.Speed() * sr * sr)
}
