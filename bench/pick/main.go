// Pick measures how long an edge waits for a master's answer, over TLS and plainly, with few requests a
// second and with many: with few, both processes sleep when an answer arrives. Two whole systems of real
// processes, one with certificates and one without, take turns in one run. It prints a table and writes
// build/bench/pick.json.
//
//	pick [-rounds n] [-scale f] [-binary file] [-out file]
//
// The goal compares the mean over TLS with the plain one of the same run.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
	"github.com/evenkeel-lb/evenkeel/internal/load"
)

// pace is one rate, and how long a turn at it is.
type pace struct {
	rate float64 // requests a second
	turn time.Duration
}

var paces = []pace{{5, 4 * time.Second}, {120, 2 * time.Second}, {600, time.Second}}

// A pick over TLS may take so much of a plain one, and so much more.
const (
	mostRatio  = 1.5
	mostMicros = 100
)

// total is what the edge's histogram has counted over the turns of one system at one pace.
type total struct {
	picks   float64
	seconds float64
}

func (t total) meanMicros() float64 { return t.seconds / t.picks * 1e6 }

func main() {
	log.SetFlags(0)
	log.SetPrefix("pick: ")
	binary := flag.String("binary", "build/evenkeel", "what to measure")
	rounds := flag.Int("rounds", 10, "turns of each system at each pace")
	scale := flag.Float64("scale", 1, "of the length of each turn")
	out := flag.String("out", "build/bench/pick.json", "file for the figures")
	flag.Parse()
	dir, err := os.MkdirTemp("", "evenkeel-pick-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := measure(*binary, dir, *rounds, *scale, *out); err != nil {
		log.Fatal(err)
	}
}

func measure(binary, dir string, rounds int, scale float64, out string) error {
	systems, err := openSystems(binary, dir)
	defer func() {
		for _, s := range systems {
			s.close()
		}
	}()
	if err != nil {
		return err
	}
	sender := load.NewSender(load.Limits{Time: 20 * time.Second})
	defer sender.Close()
	totals := make(map[string][]total) // by system, one for each pace
	for _, s := range systems {
		totals[s.name] = make([]total, len(paces))
	}
	for round := range rounds {
		fmt.Fprintf(os.Stderr, "\rround %d of %d", round+1, rounds)
		for i, p := range paces {
			for k := range systems {
				s := systems[(k+round)%len(systems)] // each is first as often as the other
				got, err := s.turn(sender, uint64(round), p.rate, time.Duration(scale*float64(p.turn)))
				if err != nil {
					return fmt.Errorf("%s, %g/s: %w", s.name, p.rate, err)
				}
				totals[s.name][i].picks += got.picks
				totals[s.name][i].seconds += got.seconds
			}
		}
	}
	fmt.Fprintln(os.Stderr)
	return figures.Write(out, judge(totals))
}

// turn sends requests through a system at a rate, and returns what its edge counted.
func (s *system) turn(sender *load.Sender, seed uint64, rate float64, length time.Duration) (total, error) {
	before, err := s.counted()
	if err != nil {
		return total{}, err
	}
	var bad *load.Result
	trace := load.LogNormal(seed, length, rate, 1e-6, .1) // next to no work: the pick is what is measured
	load.Send(context.Background(), sender, []string{s.url}, trace, func(r load.Result) {
		if r.Status != http.StatusOK {
			bad = &r
		}
	})
	if bad != nil {
		return total{}, fmt.Errorf("a request failed: status %d, %v", bad.Status, bad.Err)
	}
	after, err := s.counted()
	if n := after.picks - before.picks; err == nil && n < float64(len(trace)) {
		err = fmt.Errorf("%d requests were answered, but only %g picks: the edge has chosen for itself", len(trace), n)
	}
	return total{picks: after.picks - before.picks, seconds: after.seconds - before.seconds}, err
}

// judge prints the table and returns the figures.
func judge(totals map[string][]total) (list []figures.Figure) {
	fmt.Printf("%8s  %10s  %10s  %7s  %s\n", "requests/s", "plain, µs", "mTLS, µs", "picks", "goal")
	for i, p := range paces {
		plain, tls := totals[plainSystem][i], totals[tlsSystem][i]
		most := mostRatio*plain.meanMicros() + mostMicros
		met := "met"
		if tls.meanMicros() > most {
			met = "missed"
		}
		fmt.Printf("%10g  %10.1f  %10.1f  %7.0f  ≤ %.1f µs, %s\n", p.rate, plain.meanMicros(), tls.meanMicros(), tls.picks, most, met)
		list = append(list,
			figures.Figure{Name: fmt.Sprintf("plain, %g requests/s, mean pick", p.rate), Value: plain.meanMicros(), Unit: "us"},
			figures.Figure{Name: fmt.Sprintf("mTLS, %g requests/s, mean pick", p.rate), Value: tls.meanMicros(), Unit: "us", Goal: fmt.Sprintf("<=%.1f", most)})
	}
	return list
}
