//go:build linux

package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// arrival is a request to come.
type arrival struct {
	at   time.Duration
	job  int
	edge int
}

// arrivals draws the requests of one run, a Poisson process of so many a second.
func arrivals(seed uint64, rate float64, length time.Duration, jobs []job, edges int) (all []arrival) {
	random := rand.New(rand.NewPCG(seed, 7))
	at := 0.
	for {
		at += random.ExpFloat64() / rate
		if at >= length.Seconds() {
			return all
		}
		kind, draw := 0, random.Float64()
		for kind < len(jobs)-1 && draw >= jobs[kind].share {
			draw -= jobs[kind].share
			kind++
		}
		all = append(all, arrival{time.Duration(at * float64(time.Second)), kind, random.IntN(edges)})
	}
}

// answer is what became of an arrival.
type answer struct {
	At      time.Duration `json:"at"`
	Job     string        `json:"job"`
	Server  string        `json:"server"`
	Took    time.Duration `json:"took"`
	Late    time.Duration `json:"late"`              // sent so much after its time
	Problem string        `json:"problem,omitempty"` // not a right answer; empty: it is
	Foreign bool          `json:"foreign,omitempty"` // another request's
}

// patience is how long a client waits.
const patience = time.Minute

// send makes the requests at their times and returns all answers, in order of the arrivals.
func send(edges []string, all []arrival, jobs []job) []answer {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 30 * time.Second}}
	defer client.CloseIdleConnections()
	answers := make([]answer, len(all))
	var open sync.WaitGroup
	start := time.Now()
	for i, a := range all {
		time.Sleep(time.Until(start.Add(a.at)))
		open.Go(func() {
			answers[i] = ask(client, edges[a.edge], i, a, start.Add(a.at), &jobs[a.job])
		})
	}
	open.Wait()
	return answers
}

func ask(client *http.Client, edge string, i int, a arrival, due time.Time, j *job) (got answer) {
	got = answer{At: a.at, Job: j.name, Late: time.Since(due)}
	id := strconv.Itoa(i) + "-" + strconv.FormatInt(due.UnixNano(), 36)
	defer func() { got.Took = time.Since(due) }()
	res, err := client.Get("http://" + edge + "/" + j.name + "?id=" + id)
	if err != nil {
		got.Problem = err.Error()
		return got
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	got.Server = res.Header.Get("X-Server")
	switch {
	case err != nil:
		got.Problem = err.Error()
	case res.StatusCode != http.StatusOK:
		got.Problem = res.Status
	case res.Header.Get("X-Id") != id, sha256.Sum256(body) != j.sum:
		got.Problem, got.Foreign = fmt.Sprintf("asked %s of job %s, and the answer of %q has %d bytes", id, j.name, res.Header.Get("X-Id"), len(body)), true
	}
	return got
}

// summary is what a run, or a phase of it, comes to.
type summary struct {
	Requests int     `json:"requests"`
	Mean     float64 `json:"mean_s"`
	P95      float64 `json:"p95_s"`
	Failed   int     `json:"failed"`
	Foreign  int     `json:"foreign"`
}

// summarise counts the answers to what arrived from one time to another. A failed request counts as
// having taken as long as a client waits, for it has not been served.
func summarise(all []answer, from, to time.Duration) (s summary) {
	var took []float64
	for _, a := range all {
		if a.At < from || a.At >= to {
			continue
		}
		seconds := a.Took.Seconds()
		if a.Problem != "" {
			s.Failed++
			seconds = max(seconds, patience.Seconds())
		}
		if a.Foreign {
			s.Foreign++
		}
		took = append(took, seconds)
		s.Mean += seconds
	}
	s.Requests = len(took)
	if s.Requests == 0 {
		return s
	}
	s.Mean /= float64(s.Requests)
	slices.Sort(took)
	s.P95 = took[min(len(took)-1, int(.95*float64(len(took))))]
	return s
}
