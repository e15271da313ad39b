package settings

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// StartupKeys is what a file said of the keys that are read at the start only, by their paths. Values are JSON, so that nothing that is
// done with the settings later changes them.
type StartupKeys map[string]string

// ReloadedKeys are the keys of each part that a reload takes up; all others want a restart. docs/config.md marks those with †.
var ReloadedKeys = map[string][]string{
	"master": {"open_pools", "resolvers"},
	"edge": {"listeners", "connect_timeout", "response_timeout", "via", "max_hops", "drain_time", "tcp", "connections", "loops", "single_calls", "resolvers", "buffer_memory", "respond_async", "trace",
		"id", "masters"}, // a reload that changes these two is refused
}

// MasterStartupKeys returns what a master reads at its start only.
func (s *Settings) MasterStartupKeys() StartupKeys {
	m := Master{}
	if s.Master != nil {
		m = *s.Master
	}
	return startupKeys("master", m)
}

// EdgeStartupKeys returns what an edge that is a process of its own reads at its start only.
func (s *Settings) EdgeStartupKeys() StartupKeys { return startupKeys("edge", *s.Edge) }

// RunStartupKeys returns what run reads at its start only: of the edge's part the id.
func (s *Settings) RunStartupKeys() StartupKeys {
	all := s.MasterStartupKeys()
	all["edge.id"], all["edge.access_log"] = s.Edge.ID, s.Edge.AccessLog
	return all
}

func startupKeys(name string, part any) StartupKeys {
	all := make(StartupKeys)
	v := reflect.ValueOf(part)
	for i := range v.NumField() {
		key := v.Type().Field(i).Tag.Get("yaml")
		if key == "" || slices.Contains(ReloadedKeys[name], key) {
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

// Changed returns the keys of which the file says something else now, in order.
func (a StartupKeys) Changed(now StartupKeys) (keys []string) {
	for _, key := range slices.Sorted(maps.Keys(a)) {
		if a[key] != now[key] {
			keys = append(keys, key)
		}
	}
	return keys
}
