package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// suite is the tests of one package, compiled.
type suite struct {
	ImportPath, Dir string

	pkg    string // as it was asked for
	binary string
	rapid  string   // the folder in which rapid keeps failures, unless it was there before
	tests  []*test  // from the quickest to the slowest
	broken []string // what tests printed that fail without a mutant
}

// test is one test function.
type test struct {
	suite   *suite
	name    string
	took    time.Duration
	reaches map[int]bool // numbers of mutants
}

// measure runs each test by itself without a mutant, to learn which mutants it reaches and how long it takes. Those that fail
// are left out: they cannot tell anything.
func (s *suite) measure(ctx context.Context, parallel int) error {
	out, err := s.command(ctx, 0, "-test.list=.").Output()
	if err != nil {
		return fmt.Errorf("%s: list of tests: %w", s.pkg, err)
	}
	names := slices.DeleteFunc(strings.Fields(string(out)), func(name string) bool { return !regexp.MustCompile("^(Test|Fuzz|Example)").MatchString(name) })
	found, broken := make([]*test, len(names)), make([]string, len(names))
	err = each(ctx, parallel, len(names), func(i int) error {
		t, failure, err := s.try(ctx, names[i])
		found[i], broken[i] = t, failure
		return err
	})
	s.tests = slices.DeleteFunc(found, func(t *test) bool { return t == nil })
	s.broken = slices.DeleteFunc(broken, func(failure string) bool { return failure == "" })
	slices.SortFunc(s.tests, func(a, b *test) int { return int(a.took - b.took) })
	return err
}

// try runs one test. Either it passes, or what it printed is the failure.
func (s *suite) try(ctx context.Context, name string) (passed *test, failure string, err error) {
	reached := filepath.Join(filepath.Dir(s.binary), filepath.Base(s.binary)+"."+name)
	c := s.command(ctx, 0, "-test.run=^"+name+"$", "-test.timeout=10m")
	c.Env = append(c.Env, envReached+"="+reached)
	began := time.Now()
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Sprintf("%s: %s fails without a mutant: %v\n%s", s.pkg, name, err, out), ctx.Err()
	}
	t := &test{suite: s, name: name, took: time.Since(began), reaches: make(map[int]bool)}
	text, err := os.ReadFile(reached)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, "", err
	}
	for _, field := range strings.Fields(string(text)) {
		k, err := strconv.Atoi(field)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", reached, err)
		}
		t.reaches[k] = true
	}
	return t, "", nil
}

// reaching returns the tests that reach a mutant, the quickest first, and no more of them than take as long as the budget together; 0: all.
func reaching(suites []*suite, number int, budget time.Duration) []*test {
	var all []*test
	for _, s := range suites {
		for _, t := range s.tests {
			if t.reaches[number] {
				all = append(all, t)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *test) int { return int(a.took - b.took) })
	var sum time.Duration
	for i, t := range all {
		if sum += t.took; budget > 0 && sum > budget && i > 0 {
			return all[:i]
		}
	}
	return all
}

// verdict is what became of a mutant.
type verdict int

const (
	killed    verdict = iota // a test failed
	timedOut                 // tests did not end; counts as killed
	survived                 // all tests passed
	unreached                // no test reaches it, so none was run
	verdicts
)

func (v verdict) String() string {
	return [...]string{"killed", "killed by the timeout", "survived", "survived, no test reaches it"}[v]
}

// judge runs the tests that reach a mutant until one fails: the quick ones first, in runs that take four times as long as the one before.
func judge(ctx context.Context, tests []*test, number int, patience time.Duration) (verdict, error) {
	if len(tests) == 0 {
		return unreached, nil
	}
	most := time.Second
	for len(tests) > 0 {
		n, sum := 1, tests[0].took
		for n < len(tests) && tests[n].suite == tests[0].suite && sum < most {
			sum += tests[n].took
			n++
		}
		if v, err := tests[0].suite.run(ctx, tests[:n], number, patience+5*sum); v != survived || err != nil {
			return v, err
		}
		tests, most = tests[n:], 4*most
	}
	return survived, nil
}

// run runs tests of one suite with a mutant.
func (s *suite) run(ctx context.Context, tests []*test, number int, timeout time.Duration) (verdict, error) {
	defer s.sweep()
	names := make([]string, len(tests))
	for i, t := range tests {
		names[i] = t.name
	}
	hard, cancel := context.WithTimeout(ctx, timeout+5*time.Second) // a mutant may keep the binary's own timeout from coming
	defer cancel()
	out, err := s.command(hard, number, "-test.run=^("+strings.Join(names, "|")+")$", "-test.failfast", "-test.timeout="+timeout.String()).CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err == nil:
		return survived, nil
	case hard.Err() != nil || bytes.Contains(out, []byte("panic: test timed out")):
		return timedOut, nil
	}
	return killed, nil
}

// mostMemory bounds the address space of a test, in KiB: a loop that never ends may fill a slice.
const mostMemory = 8 << 20

// command is a run of the binary with a mutant; 0: none.
func (s *suite) command(ctx context.Context, number int, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, s.binary, args...)
	if runtime.GOOS == "linux" {
		c = exec.CommandContext(ctx, "sh", append([]string{"-c", fmt.Sprintf(`ulimit -v %d && exec "$0" "$@"`, mostMemory), s.binary}, args...)...)
	}
	c.Dir = s.Dir
	c.Env = append(os.Environ(), envOn+"="+strconv.Itoa(number))
	c.WaitDelay = 5 * time.Second // for what a test has left behind and holds the output
	return c
}

// sweep removes what rapid keeps of a property that a mutant broke: it would be tried again with the next mutant, and without any.
func (s *suite) sweep() {
	if s.rapid != "" {
		_ = os.RemoveAll(s.rapid)
	}
}
