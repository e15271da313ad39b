package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/proc"
	"github.com/evenkeel-lb/evenkeel/internal/selfsigned"
)

var differentialSeed = flag.Uint64("seed", 0, "of the requests of TestOriginLogAndClientAgree; 0: another each time in the long form, the same in the short one")

// logLine is what the access log says of a request.
type logLine struct {
	Message  string `json:"msg"`
	Method   string `json:"method"`
	Host     string `json:"host"`
	Path     string `json:"path"`
	Status   int    `json:"status"`
	Bytes    int    `json:"bytes"`
	Attempts int    `json:"attempts"`
	ID       string `json:"request"`
}

// Requests of all kinds go through an edge to an origin that notes them: good ones, odd ones, broken ones, with bodies full of requests,
// several at once and in pieces. What the origin saw, what the log says and what the client was told must agree; nothing is seen that no
// client sent; every answer is to its own request. The edge, its log, the origin and the clients share no code but Go's.
func TestOriginLogAndClientAgree(t *testing.T) {
	t.Run("plain", func(t *testing.T) { agree(t, whenLong(2_000, 10_000), "", "", nil) })
	t.Run("TLS", func(t *testing.T) {
		certFile, keyFile, err := selfsigned.Files(t.TempDir(), "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			t.Fatal(err)
		}
		agree(t, whenLong(1_000, 10_000), "https://", fmt.Sprintf(", server_tls: { ca: %q }", certFile), &tls.Config{Certificates: []tls.Certificate{cert}})
	})
}

// agree sends so many requests to an origin that speaks TLS as cfg says, or plainly if that is nil. scheme stands before
// its address, and trust behind its pool in routes.
func agree(t *testing.T, requests int, scheme, trust string, cfg *tls.Config) {
	seed := *differentialSeed
	if seed == 0 {
		seed = whenLong(1, rand.Uint64N(1<<40))
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("run again: go test ./e2e -run '^%s$' -args -seed %d", t.Name(), seed)
		}
	})
	o := startRecorder(t, cfg)
	var log synced
	edge, err := proc.Start(&log, binary, "run", "--admin", "127.0.0.1:0", "--log-format", "json", "--config", file(t, fmt.Sprintf(`
pools: { all: { servers: [{ id: s1, address: %[1]q, slots: 1000 }] } }
edge: { listeners: [{ listen: "127.0.0.1:0", routes: [{ pool: all%[2]s }] }, { listen: "127.0.0.1:0", h2c: true, routes: [{ pool: all%[2]s }] }] }
`, scheme+o.Addr().String(), trust)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(edge.Kill)
	plain, two, _ := strings.Cut(edge.Addr("listen"), ",")
	began := time.Now()
	dialogues, n := converse(seed, requests, plain, two)
	if err := edge.Stop(patience); err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d: %d requests in %d connections, %d seen by the origin, in %v", seed, n, len(dialogues), len(o.requests), time.Since(began).Round(10*time.Millisecond))
	j := judgement{t: t, log: log.lines(t), origin: o}
	j.judge(dialogues)
}

// converse has clients talk until they have sent so many requests.
func converse(seed uint64, requests int, plain, two string) (all []*dialogue, n int) {
	var mu sync.Mutex
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for {
				mu.Lock()
				if n >= requests {
					mu.Unlock()
					return
				}
				d := newDialogue(seed, uint64(len(all)))
				all = append(all, d)
				mu.Unlock()
				d.loose = d.IntN(3) == 0
				if d.IntN(3) == 0 {
					d.talk2(two)
				} else {
					d.talk1(one(d, plain, plain, two))
				}
				mu.Lock()
				n += len(d.requests)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	return all, n
}

// judgement holds the three accounts of what was sent against each other.
type judgement struct {
	t      *testing.T
	log    map[string][]logLine // by the request's id
	origin *recorder
	faults int
}

func (j *judgement) fault(format string, args ...any) {
	if j.faults++; j.faults <= 20 {
		j.t.Errorf(format, args...)
	}
}

func (j *judgement) judge(dialogues []*dialogue) {
	for _, f := range j.origin.faults {
		j.fault("the origin got what it should not: %s", f)
	}
	byNumber := make(map[string]*dialogue)
	for _, d := range dialogues {
		for i := range d.requests {
			byNumber[d.requests[i].number] = d
		}
	}
	atOrigin := make(map[string][]seen)
	for _, s := range j.origin.requests {
		atOrigin[s.id] = append(atOrigin[s.id], s)
		around, inside := strings.CutSuffix(s.number, isInside) // of no connection: it was broken on the way
		if d := byNumber[around]; inside && d != nil && !d.loose {
			j.fault("the origin saw what was in a body: %+v", s)
		}
	}
	for id, all := range atOrigin {
		j.agree(id, all)
	}
	for id, lines := range j.log {
		for _, l := range lines {
			if l.Attempts > 0 && len(atOrigin[id]) == 0 && l.Status != 499 && l.Status != 400 {
				j.fault("the log has %+v, of which the origin knows nothing", l)
			}
		}
	}
	for _, d := range dialogues {
		j.client(d, atOrigin, byNumber)
	}
}

// agree holds what the origin saw of an id against the log: both have it as often, and say the same.
func (j *judgement) agree(id string, all []seen) {
	lines := slices.DeleteFunc(slices.Clone(j.log[id]), func(l logLine) bool { return l.Attempts == 0 })
	for _, s := range all {
		i := slices.IndexFunc(lines, func(l logLine) bool {
			return l.Method == s.method && l.Host == s.host && l.Path == pathOf(s.target) && (l.Status == s.status || l.Status == 499)
		})
		if i < 0 {
			j.fault("the origin saw %+v, and the log has %+v", s, lines)
			continue
		}
		if l := lines[i]; l.Attempts != 1 {
			j.fault("%+v took %d attempts", s, l.Attempts)
		}
		lines = slices.Delete(lines, i, i+1)
	}
}

// pathOf is a target's path as logs have it.
func pathOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	if plain, err := url.PathUnescape(path); err == nil {
		path = plain
	}
	return string([]rune(path)) // JSON has no bytes that are no text
}

// client holds what a client was told against what the origin and the log have.
func (j *judgement) client(d *dialogue, atOrigin map[string][]seen, byNumber map[string]*dialogue) {
	if d.problem != "" && !(d.loose && strings.Contains(d.problem, "cut off")) {
		j.fault("connection %s: %s", d.name, d.problem)
	}
	for _, a := range d.answers {
		lines := j.log[a.id]
		if !slices.ContainsFunc(lines, func(l logLine) bool { return l.Status == a.status && (l.Bytes == len(a.body) || l.Method == "HEAD") }) {
			j.fault("connection %s was told %d with %d bytes for %s, and the log has %+v", d.name, a.status, len(a.body), a.id, lines)
		}
		if a.number == "" { // the edge's own
			continue
		}
		i := slices.IndexFunc(atOrigin[a.id], func(s seen) bool { return s.number == a.number })
		if i < 0 {
			j.fault("connection %s was told of %s %s, which the origin has not seen", d.name, a.number, a.id)
			continue
		}
		if s := atOrigin[a.id][i]; len(a.body) > 0 && !bytes.HasPrefix(a.body, []byte(s.echoOf())) {
			j.fault("connection %s: the answer to %s is %.200q, want %q", d.name, a.number, a.body, s.echoOf())
		}
		if other := byNumber[strings.TrimSuffix(a.number, isInside)]; other != d && (other != nil || !d.loose) {
			j.fault("connection %s was told the answer to %s", d.name, a.number)
		}
	}
	if !d.loose {
		j.exactly(d, atOrigin)
	}
}

// exactly holds a connection on which all made sense against what should have become of it.
func (j *judgement) exactly(d *dialogue, atOrigin map[string][]seen) {
	if len(d.answers) != len(d.requests) {
		j.fault("connection %s: %d answers to %d requests", d.name, len(d.answers), len(d.requests))
		return
	}
	for i := range d.requests {
		w := &d.requests[i]
		k := slices.IndexFunc(d.answers, func(a heardAnswer) bool { return a.number == w.number })
		if k < 0 {
			j.fault("connection %s: no answer to %+v", d.name, *w)
			continue
		}
		a := d.answers[k]
		want := w.seen
		if want.id = a.id; strings.HasPrefix(w.id, "id-") && a.id != w.id {
			j.fault("%s has the id %s, want %s", w.number, a.id, w.id)
		}
		want.status = a.status
		if got := atOrigin[a.id]; len(got) != 1 || got[0] != want {
			j.fault("the origin saw %+v, want once %+v", got, want)
		}
		if a.status != 204 && w.method != "HEAD" && len(a.body) == 0 {
			j.fault("%+v has an answer %d without its body", *w, a.status)
		}
	}
}

// synced is a log that is written to while others look.
type synced struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *synced) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// lines returns the access log.
func (s *synced) lines(t *testing.T) map[string][]logLine {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string][]logLine)
	for line := range bytes.Lines(s.text.Bytes()) {
		var l logLine
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if l.Message == "request" {
			all[l.ID] = append(all[l.ID], l)
		}
	}
	return all
}
