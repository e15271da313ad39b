package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
)

// atStart is what a file said of the keys that are read at the start only, by their paths. Values are JSON, so that nothing that is
// done with the settings later changes them.
type atStart map[string]string

// reloadedKeys are the keys of each part that a reload takes up; all others want a restart. docs/config.md marks those with †.
var reloadedKeys = map[string][]string{
	"master": {"open_pools", "resolvers"},
	"edge": {"listeners", "connect_timeout", "response_timeout", "via", "max_hops", "drain_time", "tcp", "connections", "loops", "single_calls", "resolvers", "buffer_memory",
		"id", "masters"}, // a reload that changes these two is refused
}

// ofMasterAtStart returns what a master reads at its start only.
func (s *settings) ofMasterAtStart() atStart {
	m := masterPart{}
	if s.Master != nil {
		m = *s.Master
	}
	return keysAtStart("master", m)
}

// ofEdgeAtStart returns what an edge that is a process of its own reads at its start only.
func (s *settings) ofEdgeAtStart() atStart { return keysAtStart("edge", *s.Edge) }

// ofRunAtStart returns what run reads at its start only: of the edge's part the id.
func (s *settings) ofRunAtStart() atStart {
	all := s.ofMasterAtStart()
	all["edge.id"] = s.Edge.ID
	return all
}

func keysAtStart(name string, part any) atStart {
	all := make(atStart)
	v := reflect.ValueOf(part)
	for i := range v.NumField() {
		key := v.Type().Field(i).Tag.Get("yaml")
		if key == "" || slices.Contains(reloadedKeys[name], key) {
			continue
		}
		text, err := json.Marshal(v.Field(i).Interface())
		if err != nil {
			text = fmt.Appendf(nil, "%+v", v.Field(i).Interface())
		}
		all[name+"."+key] = string(text)
	}
	return all
}

// changed returns the keys of which the file says something else now, in order.
func (a atStart) changed(now atStart) (keys []string) {
	for _, key := range slices.Sorted(maps.Keys(a)) {
		if a[key] != now[key] {
			keys = append(keys, key)
		}
	}
	return keys
}

// warn says which changes a reload could not take up.
func (a atStart) warn(now atStart, log *slog.Logger) {
	if keys := a.changed(now); len(keys) > 0 {
		log.Warn(strings.Join(keys, ", ")+" "+have(len(keys))+" changed: needs a restart", "keys", keys)
	}
}

func have(n int) string {
	if n == 1 {
		return "has"
	}
	return "have"
}

// reloads is what became of the last reload of a process. Safe for concurrent use.
type reloads struct{ failure atomic.Pointer[string] }

// ended takes the error of a reload, nil if it was good.
func (r *reloads) ended(err error) {
	if err == nil {
		r.failure.Store(nil)
		return
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	r.failure.Store(&text)
}

// failed returns why the last reload failed; empty: it did not, or there was none.
func (r *reloads) failed() string {
	if text := r.failure.Load(); text != nil {
		return *text
	}
	return ""
}
