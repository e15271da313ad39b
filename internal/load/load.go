// Package load sends traffic at times that do not depend on the answers (open loop),
// as many users who know nothing of each other do. A closed loop would wait for a slow
// server before it sends the next request, and so would hide exactly the slowness that
// is to be measured.
package load

import (
	"context"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Arrival is one request to be sent.
type Arrival struct {
	At   time.Duration // since the start
	Work float64       // seconds at a server of speed 1
	URL  string        // where to; empty: the next of those given to Send
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
	Index  int           // of the Arrival in the trace
	Took   time.Duration // from when it should have been sent until its answer was read
	Late   time.Duration // from when it should have been sent until it was: the sender's own fault
	Server string        // the header Evenkeel-Server of the answer
	Status int           // 0: no answer
}

// Send sends a trace, each request to its own URL or else to the next of urls, with its
// work in the header Sample-Work. done is called for each result, from one goroutine at a time.
// Send returns when all are answered, or ctx has ended.
func Send(ctx context.Context, client *http.Client, urls []string, trace []Arrival, done func(Result)) {
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
			nap(wait)
		}
		inFlight.Go(func() {
			r := Result{Arrival: arrival, Index: i, Late: time.Since(start) - arrival.At}
			url := arrival.URL
			if url == "" {
				url = urls[i%len(urls)]
			}
			r.Server, r.Status = one(ctx, client, url, arrival.Work)
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

func one(ctx context.Context, client *http.Client, url string, work float64) (server string, status int) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", 0
	}
	req.Header.Set("Sample-Work", strconv.FormatFloat(work, 'g', 6, 64))
	resp, err := client.Do(req)
	if err != nil {
		return "", 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", 0
	}
	return resp.Header.Get("Evenkeel-Server"), resp.StatusCode
}

// Client returns an HTTP client for Send: as many connections as it takes, kept.
func Client() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4096, DisableCompression: true}}
}
