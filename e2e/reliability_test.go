package e2e

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/load"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// What dies here is killed under load, as real processes. go test runs a short form of
// each; make reliability the long ones, whose figures docs/reliability.md tells.

var (
	long    = flag.Bool("long", false, "run the long forms of the reliability tests")
	results = flag.String("out", "", "file for what they measured")
	scale   = flag.Float64("scale", 1, "part of the requests a second to send, in the long forms, on a machine that cannot keep up")
)

// whenLong returns the second of two sizes in the long form.
func whenLong[T any](short, size T) T {
	if *long {
		return size
	}
	return short
}

// rate returns requests a second for the form that runs.
func rate(short, full float64) float64 {
	if *long {
		return full * *scale
	}
	return short
}

// measured is what the tests of this run have found out.
var measured struct {
	sync.Mutex
	figures []figures.Figure
}

// figure enters a figure. In the long form one that misses its goal fails the test; a
// machine that is busy with other tests says little about time.
func figure(t testing.TB, name string, value float64, unit, goal string) {
	t.Helper()
	f := figures.Figure{Name: name, Value: value, Unit: unit, Goal: goal}
	t.Logf("%-58s %10.3f %-4s %s", name, value, unit, goal)
	if *long && !f.Met() {
		t.Errorf("%s: got %v %s, want %s", name, value, unit, goal)
	}
	measured.Lock()
	defer measured.Unlock()
	measured.figures = append(measured.figures, f)
}

// writeFigures writes them if the command line says where.
func writeFigures() error {
	if *results == "" {
		return nil
	}
	return figures.Write(*results, measured.figures)
}

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }

// traffic is requests at a rate that does not depend on the answers, until stop.
type traffic struct {
	t     testing.TB
	trace []load.Arrival
	began time.Time
	end   context.CancelFunc
	over  sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	all     []load.Result
}

// startTraffic sends rate requests a second of every kind that may be tried again, in turn
// to the edges, each of so much work.
func startTraffic(t testing.TB, rate float64, work time.Duration, edges ...*proc.Process) *traffic {
	return startTrace(t, rootsOf(edges), mixed(load.LogNormal(1, 10*time.Minute, rate, work.Seconds(), 0)))
}

// startShortAnswers is startTraffic with answers that a server sends in one piece. A server
// that dies has then sent all of an answer or nothing; what has begun cannot be tried again.
func startShortAnswers(t testing.TB, rate float64, work time.Duration, edges ...*proc.Process) *traffic {
	trace := mixed(load.LogNormal(1, 10*time.Minute, rate, work.Seconds(), 0))
	for i := range trace {
		trace[i].Fill = 0
	}
	return startTrace(t, rootsOf(edges), trace)
}

func rootsOf(edges []*proc.Process) (urls []string) {
	for _, e := range edges {
		urls = append(urls, "http://"+e.Addr("listen")+"/")
	}
	return urls
}

// mixed makes every fifth request of a trace one on a connection of its own, and every fifth
// an upload that is answered at length. It is as long as an edge can send again.
func mixed(trace []load.Arrival) []load.Arrival {
	for i := range trace {
		switch a := &trace[i]; i % 5 {
		case 1:
			a.Kind = load.Fresh
		case 3:
			a.Method, a.Body, a.Fill = http.MethodPut, 60_000, 60_000
		}
	}
	return trace
}

const mostConns = 2000

func startTrace(t testing.TB, urls []string, trace []load.Arrival) *traffic {
	ctx, end := context.WithCancel(context.Background())
	// No more than so many at a time, as a machine that cannot keep up runs out of descriptors.
	sender := load.NewSender(load.Limits{Conns: mostConns})
	r := &traffic{t: t, trace: trace, began: time.Now(), end: end}
	r.over.Go(func() {
		defer sender.Close()
		load.Send(ctx, sender, urls, trace, func(res load.Result) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if !r.stopped {
				r.all = append(r.all, res)
			}
		})
	})
	t.Cleanup(r.stop)
	return r
}

// stop ends the traffic. What is not answered by then does not count. It wants every answer
// to have been its own request's, whatever a test thinks of errors.
func (r *traffic) stop() {
	r.t.Helper()
	r.mu.Lock()
	told := r.stopped
	r.mu.Unlock()
	if !told {
		noMixUps(r.t, r.everything())
	}
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.end()
	r.over.Wait()
}

// settle waits until requests sent from now on have been answered, for as long as given.
func (r *traffic) settle(d time.Duration) {
	r.t.Helper()
	until := time.Since(r.began) + d
	<-time.After(d)
	eventually(r.t, func() (bool, string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		n := len(r.all)
		return n > 0 && r.all[n-1].At > until, fmt.Sprintf("%d requests answered", n)
	})
}

// flush waits until all requests that were to be sent by now have been answered.
func (r *traffic) flush() {
	r.t.Helper()
	until := time.Since(r.began)
	due := sort.Search(len(r.trace), func(i int) bool { return r.trace[i].At > until })
	eventually(r.t, func() (bool, string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		answered := 0
		for i := range r.all {
			if r.all[i].Index < due {
				answered++
			}
		}
		return answered == due, fmt.Sprintf("%d of %d requests answered", answered, due)
	})
}

// within returns the results of requests sent in a span of time.
func (r *traffic) within(from, to time.Time) (some []load.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, res := range r.all {
		if at := r.began.Add(res.At); !at.Before(from) && at.Before(to) {
			some = append(some, res)
		}
	}
	return some
}

func (r *traffic) everything() []load.Result { return r.within(r.began, time.Now().Add(time.Hour)) }

// failures returns how many were not answered 200, and one of them.
func failures(all []load.Result) (n int, example load.Result) {
	for _, r := range all {
		if r.Status != http.StatusOK {
			n, example = n+1, r
		}
	}
	return n, example
}

// mixUps is how many requests were answered by what belongs to another.
func mixUps(all []load.Result) (n int) {
	for i := range all {
		if all[i].Mixed() != nil {
			n++
		}
	}
	return n
}

// noMixUps wants no request answered by what belongs to another.
func noMixUps(t testing.TB, all []load.Result) {
	t.Helper()
	n := 0
	for i := range all {
		if mixed := all[i].Mixed(); mixed != nil {
			if n++; n <= 5 {
				t.Errorf("%v request sent at %v after %v: %v", all[i].Kind, all[i].At, all[i].Took, mixed)
			}
		}
	}
	if n > 0 {
		t.Errorf("%d of %d answers were another request's, want none", n, len(all))
	}
}

// noFailures wants every request answered 200, by an answer of its own.
func noFailures(t testing.TB, all []load.Result) {
	t.Helper()
	if n, one := failures(all); n > 0 {
		t.Errorf("%d of %d requests failed, want none; one, %v %s, got status %d from server %q, sent at %v, after %v: %v", n, len(all), one.Kind, one.Method, one.Status, one.Server, one.At, one.Took, one.Err)
	}
}

// p99 returns the 99th percentile of the response times, less what the sender was late.
func p99(all []load.Result) time.Duration {
	var took []time.Duration
	for _, r := range all {
		took = append(took, r.Took-r.Late)
	}
	slices.Sort(took)
	return load.Quantile(took, .99)
}

// metric returns the value of a series on an admin address; ok is false if it is not there.
func metric(t testing.TB, admin, series string) (value string, ok bool) {
	t.Helper()
	for line := range strings.Lines(string(get(t, "http://"+admin+"/metrics").body)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), series+" "); ok {
			return value, true
		}
	}
	return "", false
}

// fixedMaster is a master that can be killed and started again where it was. It, and all that
// connect to it, have certificates.
type fixedMaster struct {
	t           testing.TB
	wire, admin string
	file        string
	proof       []string // flags
	master
}

func startFixedMaster(t testing.TB, yaml string) *fixedMaster {
	m := &fixedMaster{t: t, wire: freeport.Address(t), admin: freeport.Address(t), file: file(t, yaml)}
	m.certs = t.TempDir()
	run(t, "certs", "init", "--dir", m.certs)
	_, m.proof = issue(t, m.certs, "master", "master")
	m.again()
	return m
}

// again starts it, and returns when it serves.
func (m *fixedMaster) again() {
	m.t.Helper()
	m.Process = start(m.t, append([]string{"master", "--config", m.file, "--listen", m.wire, "--admin", m.admin}, m.proof...)...)
}

// proofs returns the flags that give an edge a certificate of its own.
func (m *fixedMaster) proofs(t testing.TB, edge string) []string {
	_, flags := issue(t, m.certs, "edge", edge)
	return flags
}

// edgeAt runs an edge with routes to the pools, /POOL to each and the rest to the first.
func edgeAt(t testing.TB, m *fixedMaster, id string, pools ...string) *proc.Process {
	args := []string{"edge", "--id", id, "--master", m.wire, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--access-log", "off", "--pool", pools[0]}
	for _, p := range pools[1:] {
		args = append(args, "--route", "/"+p+"="+p)
	}
	return start(t, append(args, m.proofs(t, id)...)...)
}

// hold opens n requests through an edge that end only with the test.
func hold(t testing.TB, edge *proc.Process, pool string, n int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	holder := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4096}}
	for range n {
		clients.Go(func() {
			req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+edge.Addr("listen")+"/"+pool, nil)
			req.Header.Set("Sample-Work", "3600")
			if resp, err := holder.Do(req); err == nil {
				if resp.StatusCode != http.StatusOK {
					t.Errorf("a long request got %s", resp.Status)
				}
				resp.Body.Close()
			}
		})
	}
	t.Cleanup(func() { cancel(); clients.Wait(); holder.CloseIdleConnections() })
}

// awaitOpen waits until a pool has so many open leases and returns how long that took.
func awaitOpen(t testing.TB, m master, poolName string, want int) time.Duration {
	t.Helper()
	began := time.Now()
	eventually(t, func() (bool, string) {
		got := pool(t, m, poolName).Open
		return got == want, fmt.Sprintf("pool %s has %d open leases, want %d", poolName, got, want)
	})
	return time.Since(began)
}

// servers starts n sample servers and returns them with their entries for a file.
func servers(t testing.TB, n, slots int) (all []*proc.Process, entries string) {
	var list []string
	for i := range n {
		id := fmt.Sprintf("s%d", i+1)
		s := startServer(t, id, "--slots", fmt.Sprint(slots))
		all = append(all, s)
		list = append(list, fmt.Sprintf("{id: %s, address: %q, slots: %d}", id, s.Addr("listen"), slots))
	}
	return all, "[" + strings.Join(list, ", ") + "]"
}

// residentKB is the memory of a process that is in use.
func residentKB(t testing.TB, p *proc.Process) int {
	t.Helper()
	out, err := exec.Command("ps", "-o", "rss=", "-p", fmt.Sprint(p.PID())).Output()
	if err != nil {
		t.Fatal(err)
	}
	var kb int
	if _, err := fmt.Sscan(string(out), &kb); err != nil {
		t.Fatal(err)
	}
	return kb
}

func mustWrite(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
