package example

import "testing"

func TestAGateLetsInNoMoreThanItsLimit(t *testing.T) {
	g := &Gate{Open: true, Limit: 1}
	if !g.Quiet() || !g.Enter() || g.Enter() || g.Quiet() {
		t.Error("a gate for one let in none or two")
	}
	if new(Gate).Enter() {
		t.Error("a gate that is shut let one in")
	}
}

func TestMost(t *testing.T) {
	if Most(1, 2) != 2 || Most(2, 1) != 2 || Most(1, 1) != 1 {
		t.Error("not the larger one")
	}
}

func TestALimitBelowZeroIsRefused(t *testing.T) {
	if err := (&Gate{Limit: -2}).Check(); err == nil {
		t.Error("no error")
	}
	if err := new(Gate).Check(); err != nil {
		t.Error(err)
	}
}
