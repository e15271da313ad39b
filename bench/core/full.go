package main

import (
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/figures"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// This file measures what decisions cost in a pool that is full, over what they cost in one with room.

const (
	queueSize = 1000
	waitFor   = 500 // requests in the queue, where some wait
)

var gpu = []balance.Label{{Key: "gpu", Value: "yes"}}

// fullPool is a pool with a queue. Half of its servers carry a label; edge-2 cannot reach a tenth of them.
type fullPool struct {
	pool     *balance.Pool
	now      balance.Instant
	servers  int
	open     []balance.LeaseID // a ring
	at       int
	releases []balance.Release
	foreign  balance.LeaseID
	plain    balance.Request
	labelled balance.Request
	cutOff   balance.Request
}

func newFullPool(servers int) *fullPool {
	f := &fullPool{pool: balance.New(balance.Config{Name: "bench", QueueSize: queueSize}, balance.ByScore{Scorer: policy.LeastLoad{}}, 1), now: 1e9, servers: servers, foreign: 1 << 60,
		plain: balance.Request{Edge: "edge-1"}, labelled: balance.Request{Edge: "edge-1", Labels: gpu}, cutOff: balance.Request{Edge: "edge-2"}}
	for i := range servers {
		spec := balance.ServerSpec{ID: id(i), Address: "127.0.0.1:8000", Slots: float64(2 + i%3*2)}
		if i%2 == 0 {
			spec.Labels = gpu
		}
		must(f.pool.Put(f.now, spec, true))
	}
	f.now = f.now.Add(time.Minute)
	f.exclude()
	return f
}

func id(i int) balance.ServerID { return balance.ServerID(fmt.Sprint("s", i)) }

// exclude has edge-2 fail to reach every tenth server, which edge-1 reaches.
func (f *fullPool) exclude() {
	for i := 0; i < f.servers; i += 10 {
		for _, by := range []struct {
			edge   balance.EdgeID
			result balance.Result
		}{{"edge-1", balance.OK}, {"edge-2", balance.Unreachable}} {
			f.foreign++
			if f.pool.Hold(f.now, by.edge, &balance.Held{Lease: f.foreign, Server: id(i), Age: time.Millisecond}) != nil {
				continue // its limit has grown so far that it is given no lease more in this way; it is still excluded
			}
			f.pool.Done(f.now, f.foreign, balance.Outcome{Result: by.result, Duration: 60 * time.Millisecond})
		}
	}
}

// fill opens so many leases, or as many as there is room for.
func (f *fullPool) fill(most int) {
	for len(f.open) < most {
		grant, err := f.pool.Pick(f.now, &f.plain)
		if err != nil {
			return
		}
		f.open = append(f.open, grant.Lease)
	}
}

// done ends the oldest lease.
func (f *fullPool) done() {
	f.now += 1000
	if lease := f.open[f.at]; lease != 0 {
		f.pool.Done(f.now, lease, balance.Outcome{Duration: 50*time.Millisecond + time.Duration(f.now%1000)*20*time.Microsecond})
	}
	f.open[f.at] = 0
}

func (f *fullPool) keep(lease balance.LeaseID) {
	f.open[f.at] = lease
	if f.at++; f.at == len(f.open) {
		f.at = 0
	}
}

// ask is one decision: a lease ends, those that wait are served, and another request comes, which waits or is refused if it has to.
func (f *fullPool) ask(req *balance.Request) {
	f.done()
	f.releases = f.pool.Serve(f.now, f.releases[:0])
	lease := balance.LeaseID(0)
	for i := range f.releases {
		lease = max(lease, f.releases[i].Grant.Lease)
	}
	if grant, err := f.pool.Pick(f.now, req); err == nil {
		lease = grant.Lease
	} else if f.pool.Waiting() < waitFor {
		f.pool.Join(f.now, req)
	}
	f.keep(lease)
}

// refused is a decision for a request that finds the queue full.
func (f *fullPool) refused(req *balance.Request) {
	f.now += 1000
	if _, err := f.pool.Pick(f.now, req); err == nil {
		must(fmt.Errorf("a full pool of %d servers took a request", f.servers))
	}
	if _, _, refusal := f.pool.Join(f.now, req); refusal == nil {
		must(fmt.Errorf("a full queue took a request"))
	}
}

// fullCase is a row of the table.
type fullCase struct {
	name string
	step func(*fullPool)
	room bool // a fifth of the servers' slots is free
	full bool // so is the queue
	pool *fullPool
	cost []float64
}

func fullCases(servers int) []*fullCase {
	cases := []*fullCase{
		{name: "room", room: true, step: func(f *fullPool) { f.ask(&f.plain) }},
		{name: "waiting", step: func(f *fullPool) { f.ask(&f.plain) }},
		{name: "waiting, labels", step: func(f *fullPool) { f.ask(&f.labelled) }},
		{name: "waiting, exclusions", step: func(f *fullPool) { f.ask(&f.cutOff) }},
		{name: "refused", full: true, step: func(f *fullPool) { f.refused(&f.plain) }},
		{name: "refused, labels", full: true, step: func(f *fullPool) { f.refused(&f.labelled) }},
		{name: "refused, exclusions", full: true, step: func(f *fullPool) { f.refused(&f.cutOff) }},
	}
	for _, c := range cases {
		f := newFullPool(servers)
		c.pool = f
		most := 1 << 30
		if c.room {
			most = servers * 4 * 4 / 5 // a server has four slots on average
		}
		f.fill(most)
		for c.full && f.pool.Waiting() < queueSize {
			_, _, refusal := f.pool.Join(f.now, &f.plain)
			if refusal != nil {
				must(refusal)
			}
		}
		for range 2 * waitFor {
			c.step(f)
		}
	}
	return cases
}

// fullDecisions measures decisions of pools that are full, prints them and returns their costs over those of a pool with room.
func fullDecisions(rounds int) (all []figures.Figure) {
	fmt.Println("\nns per decision in a pool with room, and in one that is full: a request waits and one that waits is served, or it is refused")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	for i, servers := range []int{10, 1000, 10000} {
		cases := fullCases(servers)
		for range rounds {
			for _, c := range cases {
				c.pool.exclude()
				c.cost = append(c.cost, timeSteps(20*time.Millisecond, func() { c.step(c.pool) }))
			}
		}
		if i == 0 {
			fmt.Fprint(w, "servers\t")
			for _, c := range cases {
				fmt.Fprintf(w, "%s\t", c.name)
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%d\t", servers)
		room := 0.
		for j, c := range cases {
			slices.Sort(c.cost)
			cost := c.cost[len(c.cost)/2]
			fmt.Fprintf(w, "%.0f\t", cost)
			if j == 0 {
				room = cost
				continue
			}
			all = append(all, figures.Figure{Name: fmt.Sprintf("full pool, %s, %d servers, over one with room", c.name, servers), Value: cost / room, Unit: "ratio", Goal: "<=4"})
		}
		fmt.Fprintln(w)
	}
	must(w.Flush())
	return all
}

// timeSteps returns ns per step over about the given time.
func timeSteps(about time.Duration, step func()) float64 {
	start, n := time.Now(), 0
	for time.Since(start) < about {
		for range 64 {
			step()
		}
		n += 64
	}
	return float64(time.Since(start).Nanoseconds()) / float64(n)
}
