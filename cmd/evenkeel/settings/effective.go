package settings

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/evenkeel-lb/evenkeel/internal/redact"
)

// Effective is a value that a role works with.
type Effective struct {
	Key   string `json:"key"`   // of the file, a flag or a variable of the environment
	Value string `json:"value"` // what came from the environment by its name, URLs without user, password and query
	From  string `json:"from"`  // file:line, flag, environment or default
}

// HasFile reports whether the settings are those of a file.
func (s *Settings) HasFile() bool { return s.file != "" }

// SetFlags says what the role's flags are.
func (s *Settings) SetFlags(flags []Effective) { s.flags = flags }

// KeepFlags takes over the flags of the settings before a reload.
func (s *Settings) KeepFlags(before *Settings) { s.flags = before.flags }

// environment are the variables that roles heed.
var environment = []string{"EVENKEEL_RUNTIME_DIR", "XDG_RUNTIME_DIR", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "LISTEN_FDS", "NOTIFY_SOCKET", "WATCHDOG_USEC", "GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GODEBUG"}

// partsOf are the parts of the file that a role reads; empty: all.
var partsOf = map[string][]string{"run": {"master", "pools", "edge"}, "master": {"master", "pools"}, "edge": {"edge"}, "agent": {"agent"}}

// flaggedPart is the part that a role's flags overrule, and their keys.
var (
	flaggedPart = map[string]string{"run": "master", "master": "master", "edge": "edge", "agent": "agent"}
	flaggedKeys = map[string]string{"admin": "--admin", "id": "--id", "listen": "--listen", "masters": "--master", "insecure": "--insecure", "open_pools": "--open-pools",
		"admin_access.hosts": "--admin-host", "admin_access.cert": "--admin-cert", "admin_access.key": "--admin-key", "admin_access.ca": "--admin-ca", "admin_access.denied": "--admin-denied",
		"admin_access.tokens": "--admin-tokens", "admin_access.audit": "--audit-log", "admin_access.pprof": "--pprof",
		"tls.cert": "--tls-cert", "tls.key": "--tls-key", "tls.ca": "--tls-ca", "tls.denied": "--tls-denied"}
)

// Effective returns what a role works with: the flags, the environment, the file, and the defaults of what the file leaves out. An empty
// role stands for all.
func (s *Settings) Effective(role string) (all []Effective) {
	all = slices.Clone(s.flags)
	overruled := make(map[string]string)
	for key, flag := range flaggedKeys {
		if slices.ContainsFunc(s.flags, func(f Effective) bool { return f.Key == flag && f.From == "flag" }) {
			overruled[flaggedPart[role]+"."+key] = flag
		}
	}
	for _, name := range environment {
		if value, set := os.LookupEnv(name); set {
			all = append(all, Effective{"$" + name, redact.Text(value), "environment"})
		}
	}
	return append(all, s.fileAndDefaults(role, overruled)...)
}

// fileAndDefaults returns the values of the file, and behind those of each part its defaults.
func (s *Settings) fileAndDefaults(role string, overruled map[string]string) (all []Effective) {
	said, sections := make(map[string]bool), []string{}
	for i := range s.values {
		v := &s.values[i]
		if !reads(role, v.Path) {
			continue
		}
		from := fmt.Sprintf("%s:%d", s.file, v.Line)
		if v.Environment {
			from += ", environment"
		}
		for key, flag := range overruled {
			if v.Path == key || strings.HasPrefix(v.Path, key+"[") {
				from += ", overruled by " + flag
			}
		}
		all = append(all, Effective{v.Path, redact.Text(v.Text), from})
		for path := v.Path; path != ""; path = above(path) {
			said[path] = true
			if section := above(path); section != "" && !slices.Contains(sections, section) {
				sections = append(sections, section)
			}
		}
	}
	for _, section := range sections {
		pattern := patternOf(section) + "."
		for _, d := range defaultTexts {
			key, in := strings.CutPrefix(d.key, pattern)
			if path := section + "." + key; in && !said[path] && overruled[path] == "" && applies(section, key, said) {
				all = append(all, Effective{path, d.value, "default"})
				said[path] = true
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Effective) int { return cmp.Compare(partOf(a.Key), partOf(b.Key)) })
	return all
}

// alwaysThere are the maps whose keys have defaults also where the file has none of them.
var alwaysThere = []string{"queue", "limits", "tcp"}

// applies reports whether the default of a key, which may be that of a map below the section, is in use. What the file has of the map is a
// section of its own.
func applies(section, key string, said map[string]bool) bool {
	first, _, inMap := strings.Cut(key, ".")
	return !strings.Contains(key, "[") && !strings.Contains(key, "NAME") && (!inMap || slices.Contains(alwaysThere, first) && !said[section+"."+first])
}

func partOf(path string) string {
	part, _, _ := strings.Cut(path, ".")
	return part
}

func reads(role, path string) bool {
	return partsOf[role] == nil || slices.Contains(partsOf[role], partOf(path))
}

// above returns the path of what a path stands in.
func above(path string) string {
	if i := strings.LastIndexAny(path, ".["); i > 0 {
		return path[:i]
	}
	return ""
}

var (
	itemStep   = regexp.MustCompile(`\[\d+\]`)
	nameStep   = regexp.MustCompile(`^pools(\.[^.\[]+|\["[^"]*"\])`)
	tenantStep = regexp.MustCompile(`(\.tenants)(\.[^.\[]+|\["[^"]*"\])`)
)

// patternOf returns the path as defaultTexts has it.
func patternOf(path string) string {
	path = nameStep.ReplaceAllString(path, "pools.NAME")
	return tenantStep.ReplaceAllString(itemStep.ReplaceAllString(path, "[]"), "$1.NAME")
}

// Changes returns what is other in next: values that are new, gone, or changed.
func (s *Settings) Changes(next *Settings) []string {
	changes := []string{}
	before := make(map[string]string, len(s.values))
	for i := range s.values {
		before[s.values[i].Path] = redact.Text(s.values[i].Text)
	}
	for i := range next.values {
		v := &next.values[i]
		text := redact.Text(v.Text)
		was, had := before[v.Path]
		delete(before, v.Path)
		switch {
		case !had:
			changes = append(changes, fmt.Sprintf("%s: %s (new)", v.Path, text))
		case was != text:
			changes = append(changes, fmt.Sprintf("%s: %s (was %s)", v.Path, text, was))
		}
	}
	for _, v := range s.values {
		if was, gone := before[v.Path]; gone {
			changes = append(changes, fmt.Sprintf("%s: gone (was %s)", v.Path, was))
		}
	}
	return changes
}
