package probe

import (
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	for field, c := range map[string]Check{
		"health.http":     {HTTP: "healthz"},
		"health.status":   {HTTP: "/", Status: 99},
		"health.interval": {HTTP: "/", Interval: time.Millisecond},
		"health.timeout":  {HTTP: "/", Timeout: 2 * time.Hour},
		"health.rise":     {HTTP: "/", Rise: -1},
		"health.fall":     {HTTP: "/", Fall: 101},
		"health":          {Interval: time.Second},
		"health.grpc":     {GRPC: true, HTTP: "/"},
		"health.service":  {HTTP: "/", Service: "render"},
	} {
		var got []string
		c.Validate(func(field, _ string) { got = append(got, field) })
		if len(got) != 1 || got[0] != field {
			t.Errorf("%+v: got problems with %v, want %s", c, got, field)
		}
	}
}

func TestVerdict(t *testing.T) {
	c := Check{TCP: true, Rise: 3}.WithDefaults()
	var v Verdict
	for i, step := range []struct{ passed, changed, healthy bool }{
		{true, false, true}, {false, false, true}, {true, false, true},
		{false, false, true}, {false, true, false}, {false, false, false},
		{true, false, false}, {true, false, false}, {false, false, false},
		{true, false, false}, {true, false, false}, {true, true, true}, {true, false, true},
	} {
		if changed := v.Add(step.passed, &c); changed != step.changed || v.Healthy() != step.healthy {
			t.Errorf("step %d: got changed %t, healthy %t, want %t, %t", i, changed, v.Healthy(), step.changed, step.healthy)
		}
	}
}
