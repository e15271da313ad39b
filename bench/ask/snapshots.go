//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/bench/ask/trial"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/internal/figures"
	"github.com/evenkeel-lb/evenkeel/master"
)

// watching is how many edges watch in one process, for a single one's cost is too little to measure.
const watching = 16

// measureSnapshots shows what edges cost that only watch a pool, all of whose loads change
// all the time: theirs, the master's, and the network's.
func measureSnapshots(servers int, byTLS bool, out string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	role := "changing"
	if byTLS {
		role += " by TLS"
	}
	m, err := trial.Start(self, role, fmt.Sprint(servers))
	if err != nil {
		return err
	}
	defer m.Stop()
	var places trial.Places
	if err := m.Hear(&places); err != nil {
		return err
	}
	alone, err := change(m, nil)
	if err != nil {
		return err
	}
	crew, err := trial.Start(self, "watchers", fmt.Sprint(servers))
	if err != nil {
		return err
	}
	defer crew.Stop()
	if err := crew.Say(places); err != nil {
		return err
	}
	var first time.Duration
	if err := crew.Hear(&first); err != nil {
		return fmt.Errorf("the edges: %w", err)
	}
	watched, err := change(m, crew)
	if err != nil {
		return err
	}
	share := func(cpu time.Duration) float64 { return cpu.Seconds() / watched.Elapsed.Seconds() }
	all := []goal{
		{Name: "an edge's share of a core", Got: share(watched.edge) / watching, Bound: .01, AtMost: true},
		{Name: "first snapshot, ms", Got: micros(first) / 1e3, Bound: 100, AtMost: true},
	}
	list := []figures.Figure{
		{Name: "bytes a second to an edge", Value: float64(watched.sent) / watched.Elapsed.Seconds() / watching, Unit: "bytes/s"},
		{Name: fmt.Sprintf("the master's share of a core for %d edges", watching), Value: share(watched.CPU) - alone.CPU.Seconds()/alone.Elapsed.Seconds(), Unit: "ratio"},
	}
	for i := range all {
		all[i].Met = all[i].Got <= all[i].Bound
	}
	fmt.Printf("%d servers whose loads all change, every fifth of a second; %d edges.\n\n", servers, watching)
	for _, f := range list {
		fmt.Printf("%s: %.4g\n", f.Name, f.Value)
	}
	tell(os.Stdout, all)
	return save(out, append(goalFigures(all), list...))
}

// changes is what one measurement showed.
type changes struct {
	trial.Result
	sent int // bytes by the master
	edge time.Duration
}

// change has the loads change for a while and measures the master and, unless nil, the edges.
func change(m, crew *trial.Process) (*changes, error) {
	var c changes
	if crew != nil {
		before, err := crew.Do(trial.Order{What: "cpu"})
		if err != nil {
			return nil, err
		}
		c.edge = -before.CPU
	}
	r, err := m.Do(trial.Order{What: "change", For: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	c.Result, c.sent = *r, r.Asks
	if crew != nil {
		after, err := crew.Do(trial.Order{What: "cpu"})
		if err != nil {
			return nil, err
		}
		c.edge += after.CPU
	}
	return &c, nil
}

// counter counts what is written to the connections of a listener.
type counter struct {
	net.Listener
	sent *atomic.Int64
}

type countedConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c counter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	return countedConn{conn, c.sent}, err
}

func (c countedConn) Write(b []byte) (int, error) {
	c.sent.Add(int64(len(b)))
	return c.Conn.Write(b)
}

// changing is the process of a master in whose pool all loads change, by reports.
func changing(servers int, byTLS bool) error {
	specs := trial.Servers(servers)
	m, err := master.New(master.Config{Pools: []master.PoolConfig{{Name: trial.Pool, Servers: specs}}, Seed: 1})
	if err != nil {
		return err
	}
	var sent atomic.Int64
	l, places, err := door(byTLS, func(l net.Listener) net.Listener { return counter{l, &sent} })
	if err != nil {
		return err
	}
	go m.Run(context.Background())
	go m.Serve(context.Background(), l)
	if err := json.NewEncoder(os.Stdout).Encode(places); err != nil {
		return err
	}
	edge := m.Edge("reporter")
	metrics := []balance.Metric{{Name: balance.InFlight}}
	return trial.Serve(func(o trial.Order) (*trial.Result, error) {
		before, cpu, began := sent.Load(), trial.CPU(), time.Now()
		const turns = 5 // a second
		for tick := time.NewTicker(time.Second / turns); time.Since(began) < o.For; <-tick.C {
			for i := range specs {
				metrics[0].Value = rand.Float64() * 20
				edge.Report(trial.Pool, balance.Report{Server: specs[i].ID, Metrics: metrics})
			}
		}
		return &trial.Result{Asks: int(sent.Load() - before), CPU: trial.CPU() - cpu, Elapsed: time.Since(began)}, nil
	})
}

// watchers is a process of edges that watch. It tells how long the first snapshot took,
// the worst of several edges that connected one after the other.
func watchers(servers int) error {
	var places trial.Places
	if err := json.NewDecoder(os.Stdin).Decode(&places); err != nil {
		return err
	}
	secure, err := crewTLS(&places)
	if err != nil {
		return err
	}
	var worst time.Duration
	var running sync.WaitGroup
	for i := range watching {
		c, err := client.New(client.Config{Masters: []string{places.TCP}, ID: balance.EdgeID(fmt.Sprint("edge-", i)), Pools: []string{trial.Pool}, TLS: secure})
		if err != nil {
			return err
		}
		began := time.Now()
		running.Go(func() { _ = c.Run(context.Background()) })
		for {
			if s := c.Snapshot(trial.Pool); s != nil && len(s.Servers) == servers {
				break
			}
			if time.Since(began) > 20*time.Second {
				return fmt.Errorf("no snapshot of %d servers in 20 s", servers)
			}
			time.Sleep(time.Millisecond)
		}
		worst = max(worst, time.Since(began))
	}
	if err := json.NewEncoder(os.Stdout).Encode(worst); err != nil {
		return err
	}
	return trial.Serve(func(o trial.Order) (*trial.Result, error) { return nil, fmt.Errorf("%s: no such order", o.What) })
}
