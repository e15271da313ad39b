package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// completed returns what a shell is offered for a command line, of which the last word is begun.
func completed(t *testing.T, words ...string) []string {
	t.Helper()
	code, stdout, stderr := say(t, append([]string{"__complete"}, words...)...)
	if code != exitFine {
		t.Fatalf("%q: exit code %d: %s", words, code, stderr)
	}
	var all []string
	for line := range strings.Lines(stdout) {
		if word, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); word != "" && !strings.HasPrefix(word, ":") {
			all = append(all, word)
		}
	}
	return all
}

func TestCompletion(t *testing.T) {
	master := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"pools": [{"name": "web", "servers": [{"id": "w1"}, {"id": "w2"}]}, {"name": "render", "servers": [{"id": "r1"}]}], "edges": [{"id": "e7"}]}`)
	}))
	defer master.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	at := []string{"--admin", master.URL}
	for _, c := range []struct {
		line []string
		want []string // all of them are offered
		not  []string // none of them is
	}{
		{append([]string{"drain"}, append(at, "")...), []string{"w1", "w2", "r1"}, nil},
		{append([]string{"drain"}, append(at, "--pool", "render", "")...), []string{"r1"}, []string{"w1"}},
		{append([]string{"undrain"}, append(at, "w1", "")...), nil, []string{"w1", "w2", "r1"}},
		{append([]string{"drain"}, append(at, "--pool", "")...), []string{"web", "render"}, nil},
		{append([]string{"explain"}, append(at, "--server", "")...), []string{"w1", "r1"}, nil},
		{append([]string{"explain"}, append(at, "--pool", "")...), []string{"web", "render"}, nil},
		{append([]string{"tap"}, append(at, "")...), []string{"web", "render"}, []string{"w1"}},
		{append([]string{"tap"}, append(at, "--edge", "")...), []string{"e7"}, nil},
		{append([]string{"tap"}, append(at, "--server", "")...), []string{"w1", "r1"}, nil},
		{[]string{"drain", "--admin", gone.URL, ""}, nil, []string{"w1"}},
		{append([]string{"set"}, append(at, "")...), []string{"w1", "r1"}, nil},
		{append([]string{"set"}, append(at, "w1", "")...), []string{"slots=", "max_in_flight=", "maintenance"}, []string{"w2"}},
		{append([]string{"unset"}, append(at, "w1", "")...), []string{"slots", "maintenance"}, []string{"w2", "slots="}},
		{[]string{"run", "--policy", ""}, []string{"least-load", "sessions", "round-robin"}, nil},
		{[]string{"master", "--pool", "web="}, []string{"web=least-load", "web=round-robin"}, nil},
		{[]string{"master", "--pool", "we"}, nil, []string{"least-load"}},
		{[]string{"sample-server", "--model", ""}, []string{"ps", "fcfs"}, nil},
		{[]string{"edge", "--link", ""}, []string{"route", "redirect"}, nil},
		{[]string{"certs", "issue", ""}, []string{"master", "edge", "agent", "operator", "reader"}, nil},
		{[]string{"certs", "issue", "edge", ""}, nil, []string{"master"}},
		{[]string{"simulate", ""}, []string{"B1-4", "B2"}, nil},
		{[]string{"simulate", "--policy", "least-load,"}, []string{"least-load,nginx-least-conn"}, []string{"least-load,least-load"}},
		{[]string{"check", ""}, []string{"yaml", "yml"}, nil}, // the endings of the files to offer
		{[]string{"help", "certs", ""}, []string{"issue", "token"}, nil},
	} {
		got := completed(t, c.line...)
		for _, want := range c.want {
			if !slices.Contains(got, want) {
				t.Errorf("%q: got %q, want %q among them", c.line, got, want)
			}
		}
		for _, not := range c.not {
			if slices.Contains(got, not) {
				t.Errorf("%q: got %q, want no %q", c.line, got, not)
			}
		}
	}
}
