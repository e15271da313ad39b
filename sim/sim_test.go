package sim

import (
	"testing"

	"github.com/evenkeel-lb/evenkeel/config"
)

// load reads one canonical scenario as evenkeel simulate does.
func scenario(t testing.TB, name string) Scenario {
	t.Helper()
	for _, f := range Canonical(name) {
		var s Scenario
		file := config.Parse(f.Name, f.YAML)
		file.Decode(&s)
		s.Validate(file.Bad)
		if err := file.Err(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	t.Fatalf("no scenario %s", name)
	return Scenario{}
}
