//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/bench/ask/trial"
	"github.com/evenkeel-lb/evenkeel/client"
)

// load is what an agent reports at its turn of that number.
func load(turn int) []balance.Metric {
	f := float64(turn % 100)
	return []balance.Metric{
		{Name: balance.CPUUtilization, Value: f / 200}, {Name: balance.MemUtilization, Value: .4}, {Name: balance.RPS, Value: 100 + f},
		{Name: "named_metrics.load1", Value: f / 50}, {Name: "named_metrics.psi_cpu", Value: f / 1000}, {Name: "named_metrics.psi_memory", Value: .01},
		{Name: "named_metrics.psi_io", Value: .02}, {Name: "named_metrics.rx_bytes", Value: 1e6 + f}, {Name: "named_metrics.tx_bytes", Value: 2e6 + f},
		{Name: "named_metrics.cache", Value: .9},
	}
}

func server(i int) balance.ServerID { return balance.ServerID(fmt.Sprintf("agent-%d", i)) }

// orders reads what every crew is told first.
func orders() (places trial.Places, first int, err error) {
	in := json.NewDecoder(os.Stdin)
	if err = in.Decode(&places); err == nil {
		err = in.Decode(&first)
	}
	return places, first, err
}

// ready says so once all are connected, and obeys until the parent has enough.
func ready(all []interface{ Connected() bool }, obey func(trial.Order) (*trial.Result, error)) error {
	deadline := time.Now().Add(time.Minute)
	for slices.ContainsFunc(all, func(c interface{ Connected() bool }) bool { return !c.Connected() }) {
		if time.Now().After(deadline) {
			return fmt.Errorf("not all of %d are connected after a minute", len(all))
		}
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Println("true")
	return trial.Serve(obey)
}

// agents is a process of agents that report once a second, evenly spread.
func agents(n int) error {
	places, first, err := orders()
	if err != nil {
		return err
	}
	secure, err := crewTLS(&places)
	if err != nil {
		return err
	}
	var all []*client.Agent
	var up []interface{ Connected() bool }
	for i := range n {
		a, err := client.NewAgent(client.AgentConfig{Masters: []string{places.TCP}, Pool: trial.Pool, TLS: secure,
			Server: balance.ServerSpec{ID: server(first + i), Address: fmt.Sprintf("10.1.%d.%d:80", (first+i)/250, (first+i)%250), Slots: 4}})
		if err != nil {
			return err
		}
		all, up = append(all, a), append(up, a)
		go a.Run(context.Background())
	}
	go func() {
		const steps = 100
		tick := time.NewTicker(time.Second / steps)
		for turn := 0; ; turn++ {
			<-tick.C
			for i := turn % steps; i < n; i += steps {
				all[i].Report(balance.Report{Metrics: load(turn + i)})
			}
		}
	}()
	return ready(up, nil)
}

// edges is a process of edges that do nothing.
func edges(n int) error {
	places, first, err := orders()
	if err != nil {
		return err
	}
	secure, err := crewTLS(&places)
	if err != nil {
		return err
	}
	var up []interface{ Connected() bool }
	for i := range n {
		c, err := client.New(client.Config{Masters: []string{places.TCP}, ID: balance.EdgeID(fmt.Sprintf("idle-%d", first+i)), TLS: secure})
		if err != nil {
			return err
		}
		up = append(up, c)
		go c.Run(context.Background())
	}
	return ready(up, nil)
}

// reporter is an edge that asks, and reports if told so.
func reporter() error {
	places, _, err := orders()
	if err != nil {
		return err
	}
	secure, err := crewTLS(&places)
	if err != nil {
		return err
	}
	c, err := client.New(client.Config{Masters: []string{places.TCP}, ID: "reporter", TLS: secure})
	if err != nil {
		return err
	}
	go c.Run(context.Background())
	const known = 1000
	var ids [known]balance.ServerID
	for i := range ids {
		ids[i] = server(i)
	}
	var turn atomic.Int64
	ctx, req := context.Background(), &balance.Request{Path: "/v1/render"}
	return ready([]interface{ Connected() bool }{c}, func(o trial.Order) (*trial.Result, error) {
		reporting := o.What == "asks with reports"
		metrics := load(1)
		return trial.Run(o.Waiting, false, o.For, func(int) error {
			if reporting {
				c.Report(trial.Pool, balance.Report{Server: ids[turn.Add(1)%known], Metrics: metrics})
			}
			g, err := c.Pick(ctx, trial.Pool, req)
			if err == nil {
				c.Done(trial.Pool, g.Lease, outcome)
			}
			return err
		}), nil
	})
}
