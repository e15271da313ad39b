//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
)

// pool is what the master tells of its pool, as far as it is of interest here.
type pool struct {
	Up      int `json:"servers_up"`
	Servers []struct {
		ID       string  `json:"id"`
		InFlight int     `json:"in_flight"`
		External float64 `json:"external_load"`
		Slots    float64 `json:"slots"`
		Known    bool    `json:"slots_known"`
		Service  float64 `json:"service_s"`
		Success  float64 `json:"success_ratio"`
		Metrics  map[string]struct {
			Value float64 `json:"value"`
			AgeMS float64 `json:"age_ms"`
		} `json:"metrics"`
	} `json:"servers"`
}

func (s *stage) pool(ctx context.Context, p *pool) error {
	text, err := s.ask(ctx)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, p)
}

func (s *stage) ask(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.admin+"/v1/pools/"+poolName, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// learnt says how far what the master believes is from what is so. Ratios are of
// belief to truth, where 1 is right; of service times and capacities only their
// proportions matter, so those are over their own median.
type learnt struct {
	Known     int        // servers whose slots are known
	Slots     [3]float64 // 10, 50 and 90 % quantile of ratios
	Service   [3]float64
	Capacity  [3]float64 // slots over service time
	External  float64    // mean load that the ledger does not know of, of the servers with direct traffic or of all
	Elsewhere float64    // the same of the others
	Success   float64    // least success ratio
	OldestMS  float64    // age of the oldest report
}

func (l learnt) String() string {
	three := func(q [3]float64) string { return fmt.Sprintf("%.2f/%.2f/%.2f", q[0], q[1], q[2]) }
	return fmt.Sprintf("slots known of %d, 10/50/90%% of belief over truth: slots %s, service %s, capacity %s; external load %.2f, elsewhere %.2f; success ≥ %.2f; reports ≤ %.0f ms old",
		l.Known, three(l.Slots), three(l.Service), three(l.Capacity), l.External, l.Elsewhere, l.Success, l.OldestMS)
}

// look compares the master's belief with the truth, and keeps its words in a file of
// that name.
func (s *stage) look(ctx context.Context, file string) (l learnt, err error) {
	text, err := s.ask(ctx)
	if err != nil {
		return l, err
	}
	if err := os.WriteFile(filepath.Join(s.cfg.out, file), text, 0o644); err != nil {
		return l, err
	}
	var p pool
	if err := json.Unmarshal(text, &p); err != nil {
		return l, err
	}
	return s.plan.judge(&p), nil
}

func (p *plan) judge(told *pool) (l learnt) {
	var slots, service, capacities []float64
	external, servers := [2]float64{}, [2]float64{}
	l.Success = 1
	for _, s := range told.Servers {
		var i int
		if _, err := fmt.Sscanf(s.ID, "s%d", &i); err != nil || i >= len(p.fleet) {
			continue
		}
		if s.Known {
			l.Known++
		}
		k := p.fleet[i]
		slots = append(slots, s.Slots/float64(k.Slots))
		service = append(service, s.Service*k.Speed)
		capacities = append(capacities, s.Slots/s.Service/capacity(k))
		where := 0
		if n := p.scenario.Direct.Servers; n > 0 && i >= n {
			where = 1
		}
		external[where] += s.External
		servers[where]++
		l.Success = min(l.Success, s.Success)
		for _, m := range s.Metrics {
			l.OldestMS = max(l.OldestMS, m.AgeMS)
		}
	}
	l.Slots = spread(slots, false)
	l.Service, l.Capacity = spread(service, true), spread(capacities, true)
	l.External, l.Elsewhere = external[0]/max(1, servers[0]), external[1]/max(1, servers[1])
	return l
}

func spread(v []float64, relative bool) (q [3]float64) {
	if len(v) == 0 {
		return q
	}
	slices.Sort(v)
	for i, share := range []float64{.1, .5, .9} {
		q[i] = v[int(share*float64(len(v)-1)+.5)]
	}
	if relative {
		q[0], q[1], q[2] = q[0]/q[1], 1, q[2]/q[1]
	}
	return q
}
