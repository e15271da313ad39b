package main

import (
	"strings"
	"testing"
)

func TestSet(t *testing.T) {
	m, admin, _ := operated(t)
	at := func(args ...string) []string {
		args = append(args, "--admin", admin)
		if args[0] == "set" || args[0] == "unset" {
			args = append(args, "--by", "ann")
		}
		return args
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{at("set", "s1", "slots=4", "maintenance", "--reason", "fan"), 0, "server s1 of pool web: slots 4, set by ann at 20"},
		{at("set", "s1", "max_in_flight=2", "--pool", "web"), 0, "max_in_flight 2, set by ann"},
		{at("status"), exitTrouble, "  s1: slots 4, set by ann at "},
		{at("status"), exitTrouble, `("fan"); `},
		{at("status"), exitTrouble, "  s1      maintenance "},
		{at("explain", "--pool", "web"), 0, "\ns1: slots 4, set by ann at "},
		{at("explain", "--pool", "web"), 0, "an operator has set them"},
		{at("unset", "s1", "slots"), 0, "max_in_flight 2"},
		{at("unset", "s1", "slots"), 1, "slots is not set"},
		{at("unset", "s1"), 0, "server s1 of pool web: nothing is set"},
		{at("set", "s9", "slots=4"), 1, `no pool has a server "s9"`},
		{at("set", "s1"), 2, "set takes a server, and slots=N, max_in_flight=N or maintenance"},
		{at("set", "s1", "weight=4"), 2, `"weight=4": want slots=N, max_in_flight=N or maintenance`},
		{at("set", "s1", "drain"), 2, "evenkeel drain drains"},
		{at("set", "s1", "slots"), 2, "such as slots=4"},
		{at("set", "s1", "slots=many"), 2, `slots: "many" is no number`},
		{at("set", "s1", "slots=NaN"), 2, "slots: NaN, want 0.001 to 1000000"},
		{at("set", "s1", "max_in_flight=0"), 2, "max_in_flight: 0, want a whole number from 1"},
		{at("set", "s1", "maintenance=off"), 2, "evenkeel unset SERVER maintenance ends it"},
		{at("unset", "s1", "drain"), 2, `"drain": want slots, max_in_flight or maintenance`},
		{at("unset"), 2, "unset takes a server"},
	} {
		code, stdout, stderr := say(t, c.args...)
		if code != c.code || !strings.Contains(stdout+stderr, c.says) {
			t.Errorf("evenkeel %v: got exit code %d, want %d and %q:\n%s%s", c.args, code, c.code, c.says, stdout, stderr)
		}
	}
	if s := m.Edge("e1").Snapshot("web").Servers[0]; s.Cap != 0 {
		t.Errorf("after unset s1 has a cap of %d", s.Cap)
	}
}
