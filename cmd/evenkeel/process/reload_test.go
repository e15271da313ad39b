package process

import (
	"errors"
	"testing"
)

func TestTheLastReloadCounts(t *testing.T) {
	var r ReloadResult
	r.set(errors.New("x.yaml:1:1: bad\n  excerpt"))
	if got := r.Failure(); got != "x.yaml:1:1: bad" {
		t.Errorf("got %q, want the first line", got)
	}
	if r.set(nil); r.Failure() != "" {
		t.Errorf("got %q after a good one", r.Failure())
	}
}
