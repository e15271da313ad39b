package balance

import (
	"math"
	"time"
)

// pace learns b, the time of one request alone at a server, from how long requests
// took there and how crowded it was when they came.
//
// It averages logarithms: service times spread over decades, and the mean of a few
// raw ones says only which server met the longest request. Old samples fade, and
// what fades is replaced by the pool's own mean, so a server that was unlucky once
// is tried again.
type pace struct {
	weight float64 // of the samples so far, faded
	sum    float64 // of their logarithms, faded alike
	last   Instant // when both were last faded
}

const (
	priorWeight = 3               // samples that the pool's mean is worth
	paceMemory  = 5 * time.Second // time constant, for short requests
	paceService = 20              // in services, for long ones
)

// observe takes the logarithm of a service time in seconds.
func (p *pace) observe(now Instant, log float64) {
	p.fade(now, p.mean(log))
	p.weight++
	p.sum += log
}

func (p *pace) fade(now Instant, log float64) {
	memory := max(paceMemory.Seconds(), paceService*math.Exp(log))
	keep := math.Exp(-now.Sub(p.last).Seconds() / memory)
	p.weight *= keep
	p.sum *= keep
	p.last = now
}

// mean returns the mean logarithm, or prior as far as samples are few.
func (p *pace) mean(prior float64) float64 {
	return (p.sum + priorWeight*prior) / (p.weight + priorWeight)
}

// crowding is how much slower than alone a request is at a server with c slots
// that has n requests, this one included.
func crowding(n, c float64) float64 { return max(1, n/c) }
