//go:build linux

package main

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/echo"
	"github.com/evenkeel-lb/evenkeel/internal/load"
)

// parts is a system that does not run.
func parts() *system {
	s := &system{net: &network{walls: true}}
	for role, n := range map[string]int{"master": 3, "edge": 2, "etcd": 1} {
		for i := range n {
			s.parts = append(s.parts, &part{role: role, name: fmt.Sprintf("%s-%d", role, i+1)})
		}
	}
	for _, p := range pools {
		for i := range p.servers {
			id := fmt.Sprintf("%s%d", p.name, i+1)
			s.parts = append(s.parts, &part{role: "server", name: id, pool: p.name}, &part{role: "agent", name: "agent of " + id})
		}
	}
	return s
}

func TestEqualSeedsGiveEqualSchedules(t *testing.T) {
	s, kindsSeen := parts(), make(map[string]bool)
	for lane := range lanes {
		a, b := schedule(7, s, lane, time.Hour), schedule(7, s, lane, time.Hour)
		if !reflect.DeepEqual(a, b) {
			t.Errorf("lane %d: two schedules of one seed differ", lane)
		}
		if other := schedule(8, s, lane, time.Hour); reflect.DeepEqual(a, other) {
			t.Errorf("lane %d: two seeds give one schedule", lane)
		}
		for _, f := range a {
			kindsSeen[f.kind] = true
		}
	}
	for _, k := range kinds {
		if k.name != moved && !kindsSeen[k.name] { // nothing here has a name
			t.Errorf("nothing is hit by %q in an hour", k.name)
		}
	}
}

func wayTo(pool string, once bool) *way {
	for i := range ways {
		if ways[i].pool == pool && ways[i].once == once {
			return &ways[i]
		}
	}
	panic("no way to " + pool)
}

// Which errors have a cause, and which have none.
func TestCauses(t *testing.T) {
	now := time.Now()
	at := func(role, name, pool, kind string, began, length time.Duration) *fault {
		return &fault{kind: kind, target: &part{role: role, name: name, pool: pool}, begun: now.Add(began), mended: now.Add(began + length)}
	}
	for name, c := range map[string]struct {
		fault *fault
		way   *way
		want  bool
	}{
		"its edge was killed":                  {at("edge", "edge-1", "", killed, -time.Second, time.Second), wayTo(web, false), true},
		"the other edge was":                   {at("edge", "edge-2", "", killed, -time.Second, time.Second), wayTo(web, false), false},
		"its edge was, long ago":               {at("edge", "edge-1", "", killed, -time.Minute, time.Second), wayTo(web, false), false},
		"its edge is, later":                   {at("edge", "edge-1", "", killed, time.Minute, time.Second), wayTo(web, false), false},
		"its edge was reloaded":                {at("edge", "edge-1", "", reloaded, -time.Second, time.Second), wayTo(web, true), false},
		"its edge's log had no reader":         {at("edge", "edge-1", "", mute, -time.Second, time.Second), wayTo(web, true), false},
		"its edge's log went":                  {at("edge", "edge-1", "", logless, -time.Second, time.Second), wayTo(web, true), false},
		"its edge had no masters":              {at("edge", "edge-1", "", noMasters, -time.Second, time.Second), wayTo(web, true), false},
		"no masters to tell a server":          {at("edge", "edge-1", "", noMasters, -time.Second, time.Second), wayTo(jobs, false), true},
		"a firewall, and it can be repeated":   {at("edge", "edge-1", "", noServer, -time.Second, time.Second), wayTo(web, false), false},
		"a firewall, and it cannot":            {at("edge", "edge-1", "", noServer, -time.Second, time.Second), wayTo(web, true), true},
		"a server of its pool, and repeated":   {at("server", "web1", web, killed, -time.Second, time.Second), wayTo(web, false), false},
		"a server of its pool, and not":        {at("server", "web1", web, killed, -time.Second, time.Second), wayTo(web, true), true},
		"a server of another pool":             {at("server", "jobs1", jobs, killed, -time.Second, time.Second), wayTo(web, true), false},
		"a server it was redirected to":        {at("server", "away1", away, killed, -time.Second, time.Second), wayTo(away, false), true},
		"an agent":                             {at("agent", "agent of web1", web, killed, -time.Second, time.Second), wayTo(web, true), false},
		"a master":                             {at("master", "m1", "", killed, -time.Second, time.Second), wayTo(web, true), false},
		"a master that tells servers":          {at("master", "m1", "", killed, -time.Second, time.Second), wayTo(jobs, false), true},
		"etcd, and masters that tell servers":  {at("etcd", "etcd", "", slow, -time.Second, time.Second), wayTo(jobs, true), true},
		"a fault that has not happened at all": {&fault{kind: killed, target: &part{role: "edge", name: "edge-1"}}, wayTo(web, true), false},
	} {
		v := newVerdict()
		r := result{way: c.way, edge: "edge-1", begin: now, end: now.Add(time.Second), Outcome: load.Outcome{ID: "r", Status: 502, Err: errors.New("no")}}
		v.result(&r, 0, [][]*fault{{c.fault}})
		if got := v.broken[ruleNoErrors] == 0; got != c.want {
			t.Errorf("%s: excused %v, want %v", name, got, c.want)
		}
	}
}

func TestResultsAreJudged(t *testing.T) {
	for name, c := range map[string]struct {
		outcome load.Outcome
		once    bool
		reached int
		want    string
	}{
		"good":                     {load.Outcome{Status: 200}, true, 1, ""},
		"tried at three servers":   {load.Outcome{Status: 200}, false, 3, ""},
		"answered and not done":    {load.Outcome{Status: 200}, false, 0, ruleDone},
		"twice":                    {load.Outcome{Status: 200}, true, 2, ruleOnce},
		"too often":                {load.Outcome{Status: 200}, false, mostTries + 1, ruleOnce},
		"an error":                 {load.Outcome{Status: 502, Err: errors.New("no")}, false, 1, ruleNoErrors},
		"an answer of another one": {load.Outcome{Err: &echo.Mixed{ID: "r"}}, false, 1, ruleOwn},
	} {
		v := newVerdict()
		v.result(&result{Outcome: c.outcome, way: wayTo(web, c.once), edge: "edge-1"}, c.reached, nil)
		if c.want == "" && len(v.broken) > 0 || c.want != "" && v.broken[c.want] != 1 {
			t.Errorf("%s: broke %v, want %q", name, v.broken, c.want)
		}
	}
}
