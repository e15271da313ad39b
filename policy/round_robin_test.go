package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// turns asks a pool n times and returns who was taken.
func turns(t *testing.T, p *balance.Pool, n int) string {
	t.Helper()
	var ids strings.Builder
	for range n {
		g, err := p.Pick(balance.Instant(1e9), &balance.Request{Edge: "e"})
		if err != nil {
			t.Fatal(err)
		}
		ids.WriteString(string(g.Server))
	}
	return ids.String()
}

func put(t *testing.T, p *balance.Pool, id string, slots float64) {
	t.Helper()
	if err := p.Put(balance.Instant(1e9), balance.ServerSpec{ID: balance.ServerID(id), Address: "127.0.0.1:80", Slots: slots}, false); err != nil {
		t.Fatal(err)
	}
}

// Each has its turn as often as its weight says, and spread between the others'.
func TestTurnsAreSmooth(t *testing.T) {
	for _, c := range []struct {
		weights []float64
		want    string
	}{{[]float64{1, 1, 1}, "abcabc"}, {[]float64{5, 1, 1}, "aabacaaaabacaa"}, {[]float64{0, 2}, "babbab"}} {
		p := balance.New(balance.Config{Name: "web"}, new(RoundRobin), 1)
		for i, w := range c.weights {
			put(t, p, string(rune('a'+i)), w)
		}
		if got := turns(t, p, len(c.want)); got != c.want {
			t.Errorf("weights %v: %s, want %s", c.weights, got, c.want)
		}
	}
}

// What servers had gained that have left is forgotten once they are many more than those that are there.
func TestServersThatLeftStopCounting(t *testing.T) {
	rr := new(RoundRobin)
	p := balance.New(balance.Config{Name: "web"}, rr, 1)
	put(t, p, "stays", 0)
	most := 0
	for i := range 1000 {
		id := fmt.Sprint("goes ", i)
		put(t, p, id, 0)
		for range 2 {
			if _, err := p.Pick(balance.Instant(1e9), &balance.Request{Edge: "e", Link: balance.LinkRoute}); err != nil {
				t.Fatal(err)
			}
		}
		p.Left(balance.Instant(1e9), "e")
		p.Goodbye(balance.Instant(1e9), balance.ServerID(id))
		most = max(most, len(rr.credit))
	}
	if most > 100 || most < 10 {
		t.Errorf("credit of up to %d servers is kept where two are there at a time, want some and at most 100", most)
	}
}
