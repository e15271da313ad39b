package demo

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/load"
)

// What the demo shows must be true of its requests beforehand: the ideal is what the
// simulator makes of them, and least connections at each proxy is far from it.
func TestPlanLeavesRoomForTheMaster(t *testing.T) {
	cfg := Config{Length: 9 * time.Second, Seed: 1}
	p := newPlan(cfg, 1)
	if len(p.requests) < 500 || p.requests[len(p.requests)-1].At > 12*time.Second {
		t.Errorf("%d requests until %v, want about 576 in 9 s", len(p.requests), p.requests[len(p.requests)-1].At)
	}
	if r := simulated(cfg); r.Lowest < 2 || r.Highest < r.Lowest {
		t.Errorf("least connections at each proxy has %.2f to %.2f times the p99 of least-load, want 2 at least", r.Lowest, r.Highest)
	}
	doubled := newPlan(cfg, 2)
	if len(doubled.requests) != len(p.requests) || math.Abs(doubled.ideal.P99/p.ideal.P99-2) > .01 {
		t.Errorf("with times doubled: %d requests, ideal p99 %.3f s; want %d and twice %.3f s", len(doubled.requests), doubled.ideal.P99, len(p.requests), p.ideal.P99)
	}
}

func TestLateSenderIsNoticed(t *testing.T) {
	p := newPlan(Config{Length: 9 * time.Second, Seed: 1}, 1)
	for _, test := range []struct {
		late int // of the requests that count
		want bool
	}{{0, false}, {5, false}, {6, true}} {
		tally := newTally(&p)
		for i := range p.requests {
			r := load.Result{Index: i, Outcome: load.Outcome{Status: 200}, Took: time.Millisecond}
			if p.counts(i) && i < p.scenario.WarmupRequests()+test.late {
				r.Late = time.Second
			}
			tally.add(r)
		}
		if tally.late() != test.want {
			t.Errorf("%d of %d requests late: %v, want %v", test.late, len(tally.took), tally.late(), test.want)
		}
	}
}

func TestLeastConnTakesTheFewestOpen(t *testing.T) {
	entered := make(chan string)
	leave := make(chan struct{})
	var addresses []string
	for _, name := range []string{"a", "b"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/hold" {
				entered <- name
				<-leave
			}
			io.WriteString(w, name)
		}))
		defer s.Close()
		addresses = append(addresses, strings.TrimPrefix(s.URL, "http://"))
	}
	proxy := httptest.NewServer(NewLeastConn(addresses))
	defer proxy.Close()
	get := func(path string) string {
		resp, err := http.Get(proxy.URL + path)
		if err != nil {
			t.Error(err)
			return ""
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	if first, second := get("/"), get("/"); first == second {
		t.Errorf("two requests one after the other went to %s and %s, want turns", first, second)
	}
	var held sync.WaitGroup
	held.Go(func() { get("/hold") })
	busy := <-entered
	for range 3 {
		if got := get("/"); got == busy {
			t.Errorf("a request went to %s, which has one open, though the other has none", got)
		}
	}
	close(leave)
	held.Wait()
}

func TestPictureIsXML(t *testing.T) {
	sights := []Sight{
		{Policy: PerEdge, At: time.Second, Servers: []Presence{{ID: "s1", Speed: 1, Working: 1, Waiting: 3}}},
		{Policy: PerEdge, At: 2 * time.Second, Servers: []Presence{{ID: "s1", Speed: 1, Working: 1, Waiting: 99}}},
		{Policy: LeastLoad, At: time.Second, Servers: []Presence{{ID: "s1", Speed: 1}}},
	}
	picture := string(Picture(sights, Result{Policies: []Outcome{{Policy: PerEdge, P99: 30}, {Policy: LeastLoad, P99: 12}, {Policy: Ideal, P99: 10}}}))
	for d := xml.NewDecoder(strings.NewReader(picture)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, picture)
		}
	}
	for _, want := range []string{`values="42;308"`, "3.00", "1.20"} {
		if !strings.Contains(picture, want) {
			t.Errorf("the picture lacks %s:\n%s", want, picture)
		}
	}
}

// Only the last showing of a policy is drawn.
func TestLastTurn(t *testing.T) {
	sights := []Sight{{Policy: PerEdge, At: 1}, {Policy: PerEdge, At: 2}, {Policy: LeastLoad, At: 1}, {Policy: PerEdge, At: 1}, {Policy: PerEdge, At: 3}}
	if got := lastTurn(sights, PerEdge); len(got) != 2 || got[1].At != 3 {
		t.Errorf("got %v, want the last two", got)
	}
}

// The table, what is shown meanwhile and the ideal count the same requests: all of them.
func TestAllRequestsAreCounted(t *testing.T) {
	p := newPlan(Config{Length: time.Second, Seed: 1}, 1)
	tally := newTally(&p)
	for i := range p.requests {
		status := 200
		if i == 0 || i == len(p.requests)-1 {
			status = 502
		}
		tally.add(load.Result{Index: i, Outcome: load.Outcome{Status: status}, Took: time.Millisecond})
	}
	answered, _ := tally.soFar()
	o := tally.outcome(LeastLoad)
	if want := len(p.requests); answered != want || o.Requests != want || o.Errors != 2 {
		t.Errorf("%d requests: %d are shown as answered, the table has %d with %d errors, want 2", want, answered, o.Requests, o.Errors)
	}
}
