package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/master"
)

// tapping is a tap that runs.
type tapping struct {
	t     *testing.T
	lines *bufio.Scanner
	end   func() (code int, notes string)
}

func startTap(t *testing.T, args ...string) *tapping {
	t.Helper()
	in, out := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	var notes strings.Builder
	ended := make(chan int, 1)
	go func() {
		ended <- execute(ctx, append([]string{"tap"}, args...), out, &notes)
		_ = out.Close()
	}()
	end := func() (int, string) {
		cancel()
		go func() { _, _ = io.Copy(io.Discard, in) }()
		code := <-ended
		ended <- code
		return code, notes.String()
	}
	t.Cleanup(func() { end() })
	return &tapping{t, bufio.NewScanner(in), end}
}

// until reads on to a line that matches.
func (w *tapping) until(pattern string) string {
	w.t.Helper()
	late := time.AfterFunc(patience, func() { w.end() })
	defer late.Stop()
	var seen []string
	for w.lines.Scan() {
		if regexp.MustCompile(pattern).MatchString(w.lines.Text()) {
			return w.lines.Text()
		}
		seen = append(seen, w.lines.Text())
	}
	_, notes := w.end()
	w.t.Fatalf("no line matches %s:\n%s\n%s", pattern, strings.Join(seen, "\n"), notes)
	return ""
}

// ask has an edge ask for a server of pool web again and again until stop: the first requests come before the tap.
func ask(m *master.Master, o balance.Outcome) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		e := m.Edge("e1")
		for {
			if g, err := e.Pick(context.Background(), "web", &balance.Request{Class: "image"}); err == nil {
				e.Done("web", g.Lease, o)
			}
			_, _ = e.Pick(context.Background(), "empty", &balance.Request{})
			select {
			case <-quit:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return func() { close(quit); <-done }
}

func TestTapPrintsWhatHappens(t *testing.T) {
	m, admin, _ := operated(t)
	defer ask(m, balance.Outcome{Result: balance.Broken, Duration: time.Millisecond, Status: 200, GRPC: 3, Error: "connection \x1b[2J reset"})()
	all := startTap(t, "--admin", admin)
	all.until(`^\d\d:\d\d:\d\d\.\d{3} picked +web  s\d  edge e1  [0-9a-f]+  score [-0-9.e]+, s\d [-0-9.e]+ of 3  class image$`)
	all.until(`^\S+ broken +1ms  web  s\d  edge e1  [0-9a-f]+  200  gRPC 3  connection [^\x1b]* reset  class image$`)
	all.until(`^\S+ no-server +0s  empty  -  edge e1  pool empty: `)
	if code, notes := all.end(); code != 0 || notes != "" {
		t.Errorf("got exit code %d and %q after Ctrl-C, want 0", code, notes)
	}
	errors := startTap(t, "--admin", admin, "web", "--errors", "--json", "--edge", "e1", "--slower-than", ".5ms")
	for range 3 {
		var told struct{ Kind, Result, Error string }
		if line := errors.until(""); json.Unmarshal([]byte(line), &told) != nil || told.Kind != "outcome" || told.Result != "broken" || told.Error == "" {
			t.Errorf("got %s, want an outcome", line)
		}
	}
}

func TestTapSaysThatItShowsSome(t *testing.T) {
	p := tapPrinter{out: bufio.NewWriter(io.Discard), width: func() int { return 0 }, paint: func(_, text string) string { return text }}
	var notes strings.Builder
	p.notes = &notes
	for _, data := range []string{`{"one_in":1,"requests":[]}`, `{"one_in":4,"not_led":[{"pool":"a","leader":"m2:7400"},{"pool":"b"}]}`, `{"one_in":4}`, `{"one_in":1}`} {
		if err := p.print("tap", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	want := "nothing is seen of pool a here: the master at m2:7400 leads it: ask that one with --admin\nnothing is seen of pool b here: no master that is known leads it\n" +
		"there are many requests: one lease in 4 is shown from here on\nall requests are shown again\n"
	if notes.String() != want {
		t.Errorf("got\n%swant\n%s", notes.String(), want)
	}
	if err := p.print("tap", []byte("<html>")); err == nil {
		t.Error("a page was taken for an event")
	}
	p.width = func() int { return 60 }
	if line := p.line(&tappedAnswer{Kind: "refusal", Reason: "shed", Detail: strings.Repeat("long ", 40)}); len([]rune(line)) != 60 {
		t.Errorf("got %d columns, want 60: %s", len([]rune(line)), line)
	}
}

func TestTapRefuses(t *testing.T) {
	_, admin, _ := operated(t)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"tap", "nope", "--admin", admin}, exitFailure, `no pool "nope" here`},
		{[]string{"tap", "--admin", "127.0.0.1:1"}, exitFailure, "no master answers at http://127.0.0.1:1"},
		{[]string{"tap", "a", "b"}, exitUsage, "tap takes one pool"},
		{[]string{"tap", "--slower-than", "-1s", "--admin", admin}, exitUsage, "is negative"},
	} {
		if code, _, stderr := say(t, c.args...); code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("%v: got exit code %d, %q, want %d and %q", c.args, code, stderr, c.code, c.says)
		}
	}
}
