package load

import (
	"context"
	"math"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestATraceIsDrawnByItsSeed(t *testing.T) {
	const length, rate, mean = 100 * time.Second, 50.0, 0.02
	trace := LogNormal(1, length, rate, mean, 0.5)
	if !slices.Equal(trace, LogNormal(1, length, rate, mean, 0.5)) || slices.Equal(trace, LogNormal(2, length, rate, mean, 0.5)) {
		t.Error("two traces of one seed differ, or two seeds have the same")
	}
	if !slices.IsSortedFunc(trace, func(a, b Arrival) int { return int(a.At - b.At) }) || trace[0].At <= 0 || trace[len(trace)-1].At >= length {
		t.Errorf("the arrivals are not in order, or not within the length: the first at %v, the last at %v", trace[0].At, trace[len(trace)-1].At)
	}
	sum := 0.0
	for _, a := range trace {
		sum += a.Work
	}
	if n := float64(len(trace)); math.Abs(n/(rate*length.Seconds())-1) > .1 || math.Abs(sum/n/mean-1) > .1 {
		t.Errorf("%v arrivals of mean work %v, want about %v of %v", n, sum/n, rate*length.Seconds(), mean)
	}
	for _, a := range LogNormal(1, length, rate, mean, 0) {
		if math.Abs(a.Work/mean-1) > 1e-9 {
			t.Fatalf("work %v without a spread, want %v", a.Work, mean)
		}
	}
}

// The server answers nothing before all requests have come: who waits for an answer before the next request never gets one.
func TestRequestsAreSentWhateverTheAnswers(t *testing.T) {
	trace := []Arrival{{Work: .25}, {At: 1}, {At: 5 * time.Millisecond}, {At: 5 * time.Millisecond}, {At: 9 * time.Millisecond}}
	var all sync.WaitGroup
	all.Add(len(trace))
	var mu sync.Mutex
	paths := make(map[string]int)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		paths[r.URL.Path]++
		mu.Unlock()
		all.Done()
		all.Wait()
		good(w, r)
	})
	trace[3].URL = url + "/own"
	s := NewSender(Limits{Time: 2 * time.Minute})
	defer s.Close()
	var got []Result // done is called by one goroutine at a time
	Send(t.Context(), s, []string{url + "/a", url + "/b"}, trace, func(r Result) { got = append(got, r) })
	if len(got) != len(trace) {
		t.Fatalf("%d results of %d requests", len(got), len(trace))
	}
	slices.SortFunc(got, func(a, b Result) int { return a.Index - b.Index })
	for i, r := range got {
		if r.Index != i || r.Arrival != trace[i] || r.Status != http.StatusOK || r.Err != nil {
			t.Errorf("result %d: %+v", i, r)
		}
		if r.Took <= 0 || r.Took < r.Late {
			t.Errorf("result %d: it took %v, and was sent %v late", i, r.Took, r.Late)
		}
	}
	if paths["/a"] != 3 || paths["/b"] != 1 || paths["/own"] != 1 {
		t.Errorf("requests by path: %v, want those without a URL of their own in turn", paths)
	}
}

func TestSendingEndsWithItsContext(t *testing.T) {
	s := NewSender(Limits{Time: 2 * time.Minute})
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	Send(ctx, s, []string{serve(t, good)}, []Arrival{{}, {At: 24 * time.Hour}}, func(r Result) {
		n++
		cancel()
	})
	if n != 1 {
		t.Errorf("%d requests were sent, want the one before the end", n)
	}
}

func TestQuantiles(t *testing.T) {
	ten := []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for _, c := range []struct {
		of   []time.Duration
		q    float64
		want time.Duration
	}{{nil, .5, 0}, {ten[:1], 0, 1}, {ten[:1], 1, 1}, {ten, 0, 1}, {ten, .5, 5}, {ten, .51, 6}, {ten, .99, 10}, {ten, 1, 10}} {
		if got := Quantile(c.of, c.q); got != c.want {
			t.Errorf("quantile %v of %v: got %d, want %d", c.q, c.of, got, c.want)
		}
	}
}
