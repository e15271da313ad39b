package wire

import (
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// What people read of a message can neither steer a terminal nor begin a line of its own.
func TestTextsForPeopleArePlain(t *testing.T) {
	const sent, want = "a\x1b[31mb\nc\u202ed\u009be\xff", "a\ufffd[31mb c\ufffdd\ufffde\ufffd"
	for what, c := range map[string]struct {
		m    interface{ Append([]byte) []byte }
		into interface{ Decode([]byte) error }
		got  func(into any) []string
	}{
		"welcome":  {&Welcome{Version: 2, Master: sent}, new(Welcome), func(m any) []string { return []string{m.(*Welcome).Master} }},
		"fail":     {&Fail{Code: Busy, Detail: sent}, new(Fail), func(m any) []string { return []string{m.(*Fail).Detail} }},
		"done":     {&Done{Outcome: balance.Outcome{Result: balance.Fault, Error: sent}}, new(Done), func(m any) []string { return []string{m.(*Done).Outcome.Error} }},
		"verdict":  {&Verdict{Detail: sent}, new(Verdict), func(m any) []string { return []string{m.(*Verdict).Detail} }},
		"lead":     {&Lead{Leader: sent, Master: sent}, new(Lead), func(m any) []string { return []string{m.(*Lead).Leader, m.(*Lead).Master} }},
		"register": {&Register{Down: sent}, new(Register), func(m any) []string { return []string{m.(*Register).Down} }},
		"unplaced": {&Unplaced{Detail: sent}, new(Unplaced), func(m any) []string { return []string{m.(*Unplaced).Detail} }},
		"refused": {&Refused{Refusal: balance.Refusal{Detail: sent, Leader: sent, LeaderID: sent}}, new(Refused), func(m any) []string {
			r := m.(*Refused).Refusal
			return []string{r.Detail, r.Leader, r.LeaderID}
		}},
	} {
		_, payload, _, err := Next(c.m.Append(nil))
		if err == nil {
			err = c.into.Decode(payload)
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		for _, got := range c.got(c.into) {
			if got != want {
				t.Errorf("%s: got %q, want %q", what, got, want)
			}
		}
	}
}
