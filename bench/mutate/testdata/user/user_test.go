package user

import (
	"testing"

	"github.com/evenkeel-lb/evenkeel/bench/mutate/testdata/example"
)

func TestWhoLeavesMakesRoom(t *testing.T) {
	g := &example.Gate{Open: true, Limit: 1}
	g.Enter()
	if g.Leave(); !g.Enter() {
		t.Error("no room")
	}
}

func TestThatFails(t *testing.T) { t.Error("without any mutant") }
