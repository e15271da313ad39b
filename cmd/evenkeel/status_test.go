package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func TestStatus(t *testing.T) {
	m, admin, lease := operated(t)
	m.Edge("e1").Done("web", lease, balance.Outcome{Result: balance.OK, Duration: 20e6})
	var out, stderr strings.Builder
	code := execute(context.Background(), []string{"status", "--admin", admin}, &out, &stderr)
	if code != exitTrouble || stderr.Len() > 0 {
		t.Errorf("exit code %d with %q, want %d, as pool empty has no servers, and no error", code, stderr.String(), exitTrouble)
	}
	for _, want := range []string{"master master ", "pool web  least-load  led by this master  0 in flight, 0 in the queue", "\n  s3      up", "pool empty has no servers"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("there are colors where there is no terminal: %q", out.String())
	}
	out.Reset()
	code = execute(context.Background(), []string{"status", "--admin", admin, "--json"}, &out, &stderr)
	var told statusAnswer
	if err := json.Unmarshal([]byte(out.String()), &told); err != nil || code != exitTrouble || len(told.Pools) != 4 || len(told.Problems) != 1 {
		t.Errorf("--json: exit code %d, %v, %+v", code, err, told)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"status", "--admin", "127.0.0.1:1"}, exitFailure, "no master answers at http://127.0.0.1:1"},
		{[]string{"status", "--watch", "--json"}, exitUsage, "cannot go together"},
		{[]string{"status", "web"}, exitUsage, "takes no arguments"},
	} {
		stderr.Reset()
		if code := execute(context.Background(), c.args, &out, &stderr); code != c.code || !strings.Contains(stderr.String(), c.says) {
			t.Errorf("%v: exit code %d, %q, want %d and %q", c.args, code, stderr.String(), c.code, c.says)
		}
	}
}
