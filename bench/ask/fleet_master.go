//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/bench/ask/trial"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/master"
)

// fleetMaster is the process of the master that a fleet reports to.
func fleetMaster(byTLS bool) error {
	own := master.Config{Pools: []master.PoolConfig{{Name: trial.Pool, Addresses: []string{"10.1.0.0/16"}}}, Seed: 1}
	m, err := master.New(own)
	if err != nil {
		return err
	}
	l, places, err := door(byTLS)
	if err != nil {
		return err
	}
	go m.Run(context.Background())
	go m.Serve(context.Background(), l)
	if err := json.NewEncoder(os.Stdout).Encode(places); err != nil {
		return err
	}
	return trial.Serve(func(o trial.Order) (*trial.Result, error) {
		switch o.What {
		case "heap":
			return &trial.Result{RSS: held()}, nil
		case "reports":
			n, err := reports(m)
			return &trial.Result{Asks: n}, err
		case "servers", "leases":
			return keep(o.What)
		}
		return nil, fmt.Errorf("no such order")
	})
}

// held is what heap and stacks hold after a collection, in bytes.
func held() int {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int(s.HeapAlloc + s.StackInuse)
}

// keep measures what many servers, or leases, take in a master of their own.
func keep(what string) (*trial.Result, error) {
	const many, leases = 10_000, 1_000_000
	specs := trial.Servers(many)
	if what == "servers" {
		before := held()
		m, err := master.New(master.Config{Pools: []master.PoolConfig{{Name: trial.Pool, Servers: specs}}, Seed: 1})
		taken := held() - before
		runtime.KeepAlive(m)
		runtime.KeepAlive(specs)
		return &trial.Result{Asks: many, RSS: taken}, err
	}
	m, err := master.New(master.Config{Pools: []master.PoolConfig{{Name: trial.Pool, Servers: specs, QueueSize: master.None}}, Seed: 1})
	if err != nil {
		return nil, err
	}
	edge, before := m.Edge("e"), held()
	for range leases {
		if _, err := edge.Pick(context.Background(), trial.Pool, &balance.Request{}); err != nil {
			return nil, err
		}
	}
	taken := held() - before
	runtime.KeepAlive(m)
	return &trial.Result{Asks: leases, RSS: taken}, nil
}

// reports returns how many reports of agents the master has kept, by its own word.
func reports(m *master.Master) (int, error) {
	w := httptest.NewRecorder()
	admin.New(admin.Config{}, m.Endpoints()).ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1/metrics", nil))
	for lines := bufio.NewScanner(w.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "} ")
		if strings.HasPrefix(name, "evenkeel_reports_total{") && strings.Contains(name, `"agent"`) && strings.Contains(name, `"kept"`) {
			n, err := strconv.ParseFloat(value, 64)
			return int(n), err
		}
	}
	return 0, fmt.Errorf("no count of agents' reports among the master's metrics")
}
