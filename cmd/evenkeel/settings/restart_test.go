package settings

import (
	"strings"
	"testing"
)

func TestChangedKeysAreNamed(t *testing.T) {
	was := (&Settings{Edge: &Edge{}}).RunStartupKeys()
	now := (&Settings{Edge: &Edge{ID: "e2", Admin: "x"}, Master: &Master{Listen: "a:1", OpenPools: true, Election: &Election{}}}).RunStartupKeys()
	if got := strings.Join(was.Changed(now), " "); got != "edge.id master.election master.listen" {
		t.Errorf("got %s", got)
	}
	if got := now.Changed(now); got != nil {
		t.Errorf("got %v of what is the same", got)
	}
}
