// Package load sends traffic at times that do not depend on the answers (open loop), like many independent users. A closed loop would wait
// for a slow server before it sends the next request, and so would hide exactly the slowness that is to be measured. It checks that every
// answer belongs to its request (package echo).
package load

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// Arrival is one request to be sent.
type Arrival struct {
	At   time.Duration // since the start
	Work float64       // seconds at a server of speed 1
	URL  string        // where to; empty: the next of those given to Send

	Kind   Kind
	Method string // empty: GET
	Body   int64  // bytes to be sent; of a WebSocket, in messages
	Fill   int    // bytes to be received, beside a line
}

// LogNormal draws a trace: Poisson arrivals at a rate per second, and work that is
// log-normal with a mean and a shape σ. Equal seeds give equal traces.
func LogNormal(seed uint64, length time.Duration, rate, mean, sigma float64) []Arrival {
	rng := rand.New(rand.NewPCG(seed, 0x6c6f6164))
	location := math.Log(mean) - sigma*sigma/2
	var trace []Arrival
	for at := rng.ExpFloat64() / rate; at < length.Seconds(); at += rng.ExpFloat64() / rate {
		trace = append(trace, Arrival{At: time.Duration(at * float64(time.Second)), Work: math.Exp(location + sigma*rng.NormFloat64())})
	}
	return trace
}

// Result is what became of one Arrival.
type Result struct {
	Arrival
	Outcome
	Index int           // of the Arrival in the trace
	Took  time.Duration // from when it should have been sent until its answer was read
	Late  time.Duration // from when it should have been sent until it was: the sender's own fault
}

// Send sends a trace, each request to its own URL or else to the next of urls, with its
// work in the header Sample-Work. done is called for each result, from one goroutine at a time.
// Send returns when all are answered, or ctx has ended.
func Send(ctx context.Context, sender *Sender, urls []string, trace []Arrival, done func(Result)) {
	var (
		mu       sync.Mutex
		inFlight sync.WaitGroup
		start    = time.Now()
		timer    = time.NewTimer(0)
	)
	defer timer.Stop()
	defer inFlight.Wait()
	<-timer.C
	for i, arrival := range trace {
		if wait := arrival.At - time.Since(start); wait > longestNap {
			timer.Reset(wait - longestNap)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		}
		if wait := arrival.At - time.Since(start); wait > 0 {
			clock.SleepPrecise(wait)
		}
		inFlight.Go(func() {
			r := Result{Arrival: arrival, Index: i, Late: time.Since(start) - arrival.At}
			if arrival.URL == "" {
				arrival.URL = urls[i%len(urls)]
			}
			r.Outcome = sender.Do(ctx, arrival)
			r.Took = time.Since(start) - arrival.At
			mu.Lock()
			defer mu.Unlock()
			done(r)
		})
	}
}

// longestNap is how much of a wait is slept without listening for the end of ctx. It is
// longer than a timer is late.
const longestNap = 2 * time.Millisecond
