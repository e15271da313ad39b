package demo

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/load"
	"github.com/evenkeel-lb/evenkeel/internal/orca"
)

// Sight is what can be seen of a system at one time.
type Sight struct {
	Policy   string
	At       time.Duration // since the start of the traffic
	Length   time.Duration // of the traffic
	Servers  []Presence    // in order
	AtMaster int           // requests that wait in the master's queue; 0 where there is no master
	Answered int           // requests, so far
	Requests int           // in all
	P99      time.Duration // of the answers so far that count; 0 if there are none
}

// Presence is the requests at one server.
type Presence struct {
	ID      string
	Speed   float64
	Working int
	Waiting int
}

const lookEvery = 200 * time.Millisecond

// watch looks at the servers and the master until ctx ends.
func (s *system) watch(ctx context.Context, policy string, t *tally, live func(Sight)) {
	client := &http.Client{Timeout: lookEvery, Transport: &http.Transport{MaxIdleConnsPerHost: 2}}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	start := time.Now()
	fleet := s.plan.scenario.Fleet()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		sight := Sight{Policy: policy, Length: s.plan.length, Servers: make([]Presence, len(s.servers)), Requests: len(s.plan.requests)}
		var looking sync.WaitGroup
		for i, address := range s.servers {
			looking.Go(func() {
				sight.Servers[i] = presence(ctx, client, address)
				sight.Servers[i].ID, sight.Servers[i].Speed = serverID(i), fleet[i].Speed
			})
		}
		if s.admin != "" {
			looking.Go(func() { sight.AtMaster = queueLength(ctx, client, s.admin) })
		}
		looking.Wait()
		if ctx.Err() != nil {
			return
		}
		sight.At = time.Since(start)
		sight.Answered, sight.P99 = t.soFar()
		live(sight)
	}
}

// presence asks a server of one slot how many requests it has.
func presence(ctx context.Context, client *http.Client, address string) (p Presence) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", nil)
	if err != nil {
		return p
	}
	resp, err := client.Do(req)
	if err != nil {
		return p
	}
	resp.Body.Close()
	metrics, _ := orca.Parse(resp.Header.Values)
	for _, m := range metrics {
		if m.Name == balance.InFlight {
			p.Working = min(1, int(m.Value))
			p.Waiting = int(m.Value) - p.Working
		}
	}
	return p
}

func queueLength(ctx context.Context, client *http.Client, admin string) int {
	_, body := get(ctx, client, "http://"+admin+"/v1/pools/demo")
	var pool struct {
		QueueLength int `json:"queue_length"`
	}
	_ = json.Unmarshal([]byte(body), &pool) // no answer: nothing is shown
	return pool.QueueLength
}

func (t *tally) soFar() (answered int, p99 time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	took := slices.Clone(t.took)
	slices.Sort(took)
	return t.answered, load.Quantile(took, .99)
}
