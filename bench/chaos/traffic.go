//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/load"
)

// way is how a request goes through the system.
type way struct {
	name   string
	weight int
	load.Arrival
	path   string
	pool   string
	secure bool
	once   bool // no part of the system may send it twice
}

// ways are all kinds of requests, with how often each is drawn.
var ways = []way{
	{"get, connection kept", 24, load.Arrival{}, "/", web, false, false},
	{"get, new connection", 12, load.Arrival{Kind: load.Fresh}, "/", web, false, false},
	{"post, connection kept", 12, load.Arrival{Method: http.MethodPost, Body: 100}, "/", web, false, true},
	{"post, new connection", 4, load.Arrival{Kind: load.Fresh, Method: http.MethodPost, Body: 100}, "/", web, false, true},
	{"put 60 kB that can be sent again", 6, load.Arrival{Method: http.MethodPut, Body: 60_000, Fill: 1000}, "/", web, false, false},
	{"post 150 kB, get 150 kB", 4, load.Arrival{Method: http.MethodPost, Body: 150_000, Fill: 150_000}, "/", web, false, true},
	{"http/2 get", 8, load.Arrival{Kind: load.HTTP2}, "/", web, false, false},
	{"http/2 post 20 kB", 4, load.Arrival{Kind: load.HTTP2, Method: http.MethodPost, Body: 20_000, Fill: 20_000}, "/", web, false, true},
	{"http/2 both ways, get", 4, load.Arrival{Kind: load.HTTP2}, "/h2", web, false, false},
	{"tls get, connection kept", 4, load.Arrival{}, "/", web, true, false},
	{"tls get, new connection", 2, load.Arrival{Kind: load.Fresh}, "/", web, true, false},
	{"tls http/2 post", 4, load.Arrival{Kind: load.HTTP2, Method: http.MethodPost, Body: 5000}, "/", web, true, true},
	{"websocket", 4, load.Arrival{Kind: load.WebSocket, Body: 4000}, "/ws", web, false, true},
	{"get, server told first", 8, load.Arrival{}, "/" + jobs, jobs, false, false},
	{"post, server told first", 4, load.Arrival{Method: http.MethodPost, Body: 100}, "/" + jobs, jobs, false, true},
	{"get, redirected", 4, load.Arrival{}, "/" + away, away, false, false},
	{"put, redirected", 2, load.Arrival{Method: http.MethodPut, Body: 5000}, "/" + away, away, false, false},
}

// result is what became of one request.
type result struct {
	load.Outcome
	way        *way
	edge       string
	begin, end time.Time
}

func (r *result) String() string {
	return fmt.Sprintf("%s %s through %s at %s, after %v: status %d from %q: %v", r.way.name, r.ID, r.edge, r.begin.UTC().Format("15:04:05.000"),
		r.end.Sub(r.begin).Round(time.Millisecond), r.Status, r.Server, r.Err)
}

// busy is how many requests are in work at a time, so many that each server is needed now
// and then and the others can do without one.
const busy = 2

// answerLimit is how long a client waits. No fault is as long.
const answerLimit = 20 * time.Second

// newSender returns who sends for all clients.
func (s *system) newSender() (*load.Sender, error) {
	text, err := os.ReadFile(s.ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return load.NewSender(load.Limits{Time: answerLimit, TLS: &tls.Config{RootCAs: roots}}), nil
}

// send sends requests to the edges in turn, at a rate, until ctx ends, and returns how each
// went once all are over.
func (s *system) send(ctx context.Context, seed uint64, rate float64) ([]result, error) {
	var (
		mu      sync.Mutex
		all     []result
		sending sync.WaitGroup
		rng     = rand.New(rand.NewPCG(seed, 0x74726166))
		targets = s.of("edge")
		next    = time.NewTimer(0)
		due     = time.Now()
	)
	sender, err := s.newSender()
	if err != nil {
		return nil, err
	}
	defer sender.Close()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			sending.Wait()
			return all, nil
		case <-next.C:
		}
		due = due.Add(time.Duration(rng.ExpFloat64() / rate * float64(time.Second)))
		next.Reset(time.Until(due))
		edge, w := targets[n%len(targets)], draw(rng)
		a := w.Arrival
		a.Work, a.URL = rng.ExpFloat64()*busy/rate, "http://"+edge.listen+w.path
		if w.secure {
			a.URL = "https://" + edge.secure + w.path
		}
		if a.Kind == load.WebSocket {
			a.Work *= 20 // it stays for a while
		}
		if n%10 == 0 {
			address, text := []string{edge.listen, edge.secure}[rng.IntN(2)], begun[rng.IntN(len(begun))]
			text = text[:rng.IntN(len(text)+1)]
			sending.Go(func() { resets(address, text) })
		}
		sending.Go(func() {
			r := result{way: w, edge: edge.name, begin: time.Now()}
			r.Outcome = sender.Do(context.WithoutCancel(ctx), a)
			r.end = time.Now()
			mu.Lock()
			defer mu.Unlock()
			all = append(all, r)
		})
	}
}

func draw(rng *rand.Rand) *way {
	total := 0
	for i := range ways {
		total += ways[i].weight
	}
	n := rng.IntN(total)
	for i := range ways {
		if n -= ways[i].weight; n < 0 {
			return &ways[i]
		}
	}
	panic("chaos: the weights do not add up")
}
