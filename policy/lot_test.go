package policy

import (
	"fmt"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// A key's draw for a server is that of this key and this server, not of what both make when written behind each other.
func TestKeysAndServersAreToldApart(t *testing.T) {
	if lot("ab", "c", 1) == lot("a", "bc", 1) {
		t.Error("key ab draws for server c what key a draws for server bc")
	}
}

// Keys stay at their servers from one version to the next, and in all processes: otherwise an update would empty all caches.
func TestKeysStayFromVersionToVersion(t *testing.T) {
	got := ""
	for k := range 24 {
		best := balance.ServerID("")
		for _, id := range []balance.ServerID{"a", "b", "c", "d"} {
			if best == "" || lot(fmt.Sprint("key ", k), id, 1) > lot(fmt.Sprint("key ", k), best, 1) {
				best = id
			}
		}
		got += string(best)
	}
	if want := "bacbcaccbbabacbccacdacba"; got != want {
		t.Errorf("keys are at the servers %s, want %s as in all versions", got, want)
	}
}
