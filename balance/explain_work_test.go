package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// films is a pool of two servers that transcode one at a time, one twice as fast as the other, with the figures of the example in docs/choosing.md.
func films(t *testing.T) (p *Pool, now Instant) {
	t.Helper()
	p = New(Config{Name: "video", QueueSize: 20, QueueWait: 10 * time.Hour, Decisions: 10}, ByScore{unitScore{}}, 1)
	for _, s := range []ServerSpec{{ID: "slow", Address: "127.0.0.1:1", Slots: 1}, {ID: "fast", Address: "127.0.0.1:2", Slots: 1, Speed: 2}} {
		if err := p.Put(sec, s, true); err != nil {
			t.Fatal(err)
		}
	}
	now = sec.Add(time.Minute)
	p.maintain(now)
	p.takes(10*time.Minute, time.Microsecond)
	p.times.perUsual = 1. / 600
	for _, s := range p.servers {
		s.ratio = 1 / s.speed
		p.bound(s)
	}
	p.sizes = sizes{n: 1000, x: math.Log(10), xx: 1, xy: 1, yy: 1, exponent: 1, mean: 1, works: sizesMemory, work: 1, square: 10, varied: true}
	p.sizes.concludeSize()
	p.perRatio, p.workPrice = 1.5, .0625
	return p, now
}

// TestTheExampleOfWorkInTheDocument: what is explained of a film that had better wait is what docs/choosing.md says.
func TestTheExampleOfWorkInTheDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/choosing.md")
	if err != nil {
		t.Fatal(err)
	}
	p, now := films(t)
	first, err := p.Pick(now, &Request{Size: 30})
	if err != nil || first.Server != "fast" {
		t.Fatalf("30 minutes go to %s, %v, want fast", first.Server, err)
	}
	p.sizes.work = 1 // which each moves
	d := p.Explain(now, &Request{Size: 90})
	if d.Chosen != "" || d.Note != "it would wait for fast, which has no room now: it is done sooner there" || math.Abs(d.Work-9) > 1e-6 {
		t.Errorf("a film of 90 minutes would go to %q with work %v: %s; want it to wait for fast", d.Chosen, d.Work, d.Note)
	}
	rows := ""
	for _, c := range d.Candidates {
		w := c.Weighed
		rows += fmt.Sprintf("| %s | %s | %.4g | %.3g | %s | %.3g | %.3g | %.3g |\n", c.Server, c.Why, c.Score, w.Left, time.Duration(w.Time*float64(time.Second)).Round(time.Second), w.Stay, w.Slows, w.Price)
	}
	if !strings.Contains(string(text), rows) {
		t.Errorf("docs/choosing.md does not have these rows:\n%s", rows)
	}
	p.Done(now, first.Lease, Outcome{Result: Canceled})
	g, err := p.Pick(now, &Request{Size: 90})
	if err != nil {
		t.Fatal(err)
	}
	kept, _ := p.Decision(now, g.Lease)
	if c := kept.Candidates; len(c) != 2 || c[0].Server != "fast" || c[0].Why != "chosen" || c[1].Why != "higher score" || math.Abs(c[0].Score-308.3) > .1 || math.Abs(c[1].Score-2460.75) > .1 || math.Abs(c[0].Weighed.Time-45*60) > 1 {
		t.Errorf("of the film that was placed it is kept %+v, want fast at 308 before slow at 2461", c)
	}
}

// TestExplainedIsWhatIsChosen: where the choice goes by work, explain names the server that the request then gets, the chosen one has the lowest score of those that
// could be, and what is kept of the choice says the same.
func TestExplainedIsWhatIsChosen(t *testing.T) {
	for _, n := range []int{2, 20, 100} {
		p := New(Config{Name: "web", QueueSize: 1000, Decisions: 10}, ByScore{unitScore{}}, 1)
		for i := range n {
			if err := p.Put(sec, ServerSpec{ID: ServerID(fmt.Sprint("s", i)), Address: "127.0.0.1:1", Slots: float64(1 + i%3), Speed: float64(1 + i%2)}, true); err != nil {
				t.Fatal(err)
			}
		}
		p.sizes = *regression(1000, 1, func(_ *rand.Rand, log float64) float64 { return log }, math.Inf(1))
		rng, now, waits := rand.New(rand.NewPCG(uint64(n), 2)), sec.Add(time.Minute), 0
		var open []LeaseID
		for step := range 2000 {
			now = now.Add(time.Duration(rng.IntN(20)) * time.Millisecond)
			if len(open) > n+rng.IntN(n) {
				i := rng.IntN(len(open))
				p.Done(now, open[i], Outcome{Duration: time.Duration(rng.IntN(200)+1) * time.Millisecond})
				open = append(open[:i], open[i+1:]...)
			}
			req := Request{Edge: "e", Size: math.Exp(rng.NormFloat64())}
			p.maintain(now)
			d := p.Explain(now, &req)
			g, err := p.Pick(now, &req)
			if err != nil {
				if waits++; d.Chosen != "" {
					t.Fatalf("%d servers, step %d: %s is explained, but the request waits", n, step, d.Chosen)
				}
				continue
			}
			if open = append(open, g.Lease); d.Work == 0 {
				t.Fatalf("%d servers, step %d: the choice is not by work", n, step)
			}
			kept, ok := p.Decision(now, g.Lease)
			if d.Chosen != g.Server || !ok || kept.Chosen != g.Server || math.Abs(kept.Work-d.Work) > 1e-9 {
				t.Fatalf("%d servers, step %d: %s is explained, %s is chosen, and %s kept with work %v, want %v", n, step, d.Chosen, g.Server, kept.Chosen, kept.Work, d.Work)
			}
			if d.Note != "" {
				continue // it had to be tried
			}
			for name, told := range map[string]Decision{"asked": d, "kept": kept} {
				if won := told.Candidates[0]; won.Server != g.Server || won.Why != "chosen" {
					t.Fatalf("%d servers, step %d, %s: first stands %+v, want %s, which was chosen", n, step, name, won, g.Server)
				}
				for _, c := range told.Candidates[1:] {
					if c.Why == "higher score" && c.Score <= told.Candidates[0].Score || c.Why == "equal score, its turn comes later" && c.Score != told.Candidates[0].Score {
						t.Fatalf("%d servers, step %d, %s: %+v has lost against the score %v", n, step, name, c, told.Candidates[0].Score)
					}
				}
			}
		}
		if n == 2 && waits == 0 {
			t.Error("no request has waited for a server")
		}
	}
}
