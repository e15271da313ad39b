package sim

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

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

func TestX(t *testing.T) {
	for _, name := range strings.Split(os.Getenv("SC"), ",") {
		s := scenario(t, name)
		ideal := Run(s, Ideal, 1)
		fmt.Printf("%s ideal mean %.4f p99 %.4f util %.3f\n", s.Name, ideal.Mean, ideal.P99, ideal.Utilization)
		for _, p := range strings.Split(os.Getenv("POL"), ",") {
			from := time.Now()
			r := Run(s, p, 1)
			took := time.Since(from)
			fmt.Printf("  %-30s mean %.4f p99 %.4f util %.3f p99/ideal %.3f mean/ideal %.3f err %.4f trouble %.3f in-time %v goodput %.3f %.2fs\n", p, r.Mean, r.P99, r.Utilization, r.P99/ideal.P99, r.Mean/ideal.Mean, r.Errors, r.TroubleP99/r.CalmP99, r.InTime, r.Goodput, took.Seconds())
		}
	}
}
