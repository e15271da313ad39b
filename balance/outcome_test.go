package balance

import (
	"encoding/json"
	"testing"
	"time"
)

func TestResultsHaveNames(t *testing.T) {
	for r := range Results {
		back, err := ParseResult(r.String())
		if err != nil || back != r || r.String() == "" {
			t.Errorf("result %d: %q comes back as %v, %v", r, r, back, err)
		}
	}
	if _, err := ParseResult("fine"); err == nil {
		t.Error("result fine: no error")
	}
	if got := Results.String(); got != "result-9" {
		t.Errorf("a result that is none is %q", got)
	}
}

func TestOutcomeBody(t *testing.T) {
	for _, c := range []struct {
		json string
		want Outcome
		bad  bool
	}{
		{`{}`, Outcome{}, false},
		{`{"result":"full","duration_ms":1.5,"retry_after_ms":2000,"status":503}`, Outcome{Result: Full, Duration: 1500 * time.Microsecond, RetryAfter: 2 * time.Second, Status: 503}, false},
		{`{"result":"unreachable","error":"refused"}`, Outcome{Result: Unreachable, Error: "refused"}, false},
		{`{"result":"full","grpc_status":8}`, Outcome{Result: Full, GRPC: 8}, false},
		{`{"result":"fine"}`, Outcome{}, true},
		{`{"duration_ms":-1}`, Outcome{}, true},
		{`{"retry_after_ms":1e300}`, Outcome{}, true},
		{`{"status":65536}`, Outcome{}, true},
		{`{"grpc_status":-1}`, Outcome{}, true},
	} {
		var b OutcomeBody
		if err := json.Unmarshal([]byte(c.json), &b); err != nil {
			t.Fatal(err)
		}
		switch o, err := b.Outcome(); {
		case (err != nil) != c.bad:
			t.Errorf("%s: error %v, want one: %v", c.json, err, c.bad)
		case err == nil && o != c.want:
			t.Errorf("%s: %+v, want %+v", c.json, o, c.want)
		}
	}
}

func TestCause(t *testing.T) {
	for want, o := range map[string]Outcome{
		"connection refused": {Result: Unreachable, Error: "connection refused"},
		"gRPC status 14":     {Result: Fault, Status: 200, GRPC: 14},
		"HTTP status 503":    {Result: Fault, Status: 503},
		"broken":             {Result: Broken},
	} {
		if got := o.Cause(); got != want {
			t.Errorf("%+v: %q, want %q", o, got, want)
		}
	}
}
