package settings

import (
	"reflect"
	"testing"
)

// fill gives every field that a file can set a value other than zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		if word, ok := v.Addr().Interface().(interface{ UnmarshalText([]byte) error }); ok && word.UnmarshalText([]byte("10.0.0.0/8")) == nil {
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key=value"), value) // the share is by labels
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(1)
	default:
		if v.CanUint() {
			v.SetUint(1)
		} else {
			v.SetInt(1)
		}
	}
}

// empties returns the paths of what is still zero.
func empties(v reflect.Value, path string) []string {
	if v.IsZero() {
		return []string{path}
	}
	var all []string
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				all = append(all, empties(v.Field(i), path+"."+f.Name)...)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			all = append(all, empties(v.Index(i), path+"[]")...)
		}
	}
	return all
}

// A field that a room's config gains needs a key in the file, or a place in this list
// of those that are no people's business.
func TestEveryFieldOfARoomHasAKey(t *testing.T) {
	notInFiles := map[string]bool{
		"master.Seed": true, "master.Log": true, "master.LogDropped": true, "master.ReloadFailed": true, "master.Admin": true, "master.Trust": true, "master.Enrolment": true, "master.Inside": true,
		"edge.Log": true, "edge.AccessLog": true, "edge.LogClient": true, // the logger follows from access_log
		"edge.LogDropped": true, "edge.ReloadFailed": true, "edge.Shared": true, "edge.Inside": true, "edge.Listeners[].Routes[].Where": true,
		"agent.Hook": true, "agent.Ends": true, "agent.Log": true, "agent.LogDropped": true, "server.MaxInFlight": true, "server.Backup": true, // the master's file alone says so
	}
	var s Settings
	fill(reflect.ValueOf(&s).Elem())
	s.Files = s.Edge.readFiles(func(string, string) {}) // there are no such files
	s.readHealthFiles(func(string, string) {})          // likewise
	for name, config := range map[string]any{"master": s.MasterConfig(), "edge": s.EdgeConfig(), "agent": s.AgentConfig(), "server": s.Agent.Spec()} {
		for _, path := range empties(reflect.ValueOf(config), name) {
			if !notInFiles[path] {
				t.Errorf("%s: no key of the file sets it: add it to settings.go, convert.go and docs/config.md", path)
			}
		}
	}
}
