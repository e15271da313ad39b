//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// result is what became of one request.
type result struct {
	id         string
	method     string
	edge       string
	begin, end time.Time
	status     int // zero: no answer
	err        error
}

// send sends requests to the edges in turn, at a rate, until ctx ends, and returns how
// each went. One in three may not be repeated.
func send(ctx context.Context, seed uint64, rate float64, edges []*part) []result {
	var (
		mu      sync.Mutex
		all     []result
		sending sync.WaitGroup
		rng     = rand.New(rand.NewPCG(seed, 0x74726166))
		keep    = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
		next    = time.NewTimer(0)
	)
	defer keep.CloseIdleConnections()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			sending.Wait()
			return all
		case <-next.C:
		}
		next.Reset(time.Duration(rng.ExpFloat64() / rate * float64(time.Second)))
		edge, work := edges[n%len(edges)], rng.ExpFloat64()*.02
		r := result{id: fmt.Sprintf("%d-%d", seed, n), method: http.MethodGet, edge: edge.name}
		if rng.IntN(3) == 0 {
			r.method = http.MethodPost
		}
		sending.Go(func() {
			r.begin = time.Now()
			r.status, r.err = one(keep, edge, &r, work)
			r.end = time.Now()
			mu.Lock()
			defer mu.Unlock()
			all = append(all, r)
		})
	}
}

func one(keep *http.Client, edge *part, r *result, work float64) (status int, err error) {
	var body io.Reader
	if r.method == http.MethodPost {
		body = strings.NewReader("what is to be done")
	}
	req, err := http.NewRequest(r.method, "http://"+edge.listen+"/chaos", body)
	if err != nil {
		return 0, err
	}
	req.Header.Set(headerID, r.id)
	req.Header.Set(headerWork, fmt.Sprintf("%.4f", work))
	resp, err := keep.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s", resp.Status, said)
	}
	return resp.StatusCode, err
}
