package client

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/wire"
)

// Whatever ends connections, and however soon, a connLoop never connects in a rush, and no two
// lines wait for the same times.
func TestEveryRetryIsPacedAndSpread(t *testing.T) {
	const tries = 20
	for name, test := range map[string]struct {
		err   error
		up    time.Duration
		least time.Duration // of all waits together
	}{
		"a loss":                          {io.EOF, 0, 2 * time.Second},
		"a loss right after the welcome":  {io.EOF, time.Millisecond, 2 * time.Second},
		"a loss after a while":            {io.EOF, minUptime, tries * firstRetry / 2},
		"going away":                      {&wire.Fail{Code: wire.GoingAway}, time.Millisecond, 2 * time.Second},
		"taken, right after the welcome":  {&wire.Fail{Code: wire.Taken}, time.Millisecond, 40 * time.Second},
		"taken, by a connection for each": {&wire.Fail{Code: wire.Taken}, minUptime, tries * takenRetry / 2},
		"unknown, by a connection each":   {&wire.Fail{Code: wire.Unknown}, minUptime, tries * takenRetry / 2},
		"connected already":               {&wire.Fail{Code: wire.Connected}, 0, tries * slowRetry / 2},
		"forbidden":                       {&wire.Fail{Code: wire.Forbidden}, 0, tries * slowRetry / 2},
		"wrapped":                         {errors.Join(&wire.Fail{Code: wire.BadVersion}), 0, tries * slowRetry / 2},
	} {
		t.Run(name, func(t *testing.T) {
			var r, other retry
			var all time.Duration
			same := 0
			for range tries {
				wait := r.next(test.err, test.up, edgeParams.maxRetry)
				if wait < firstRetry/2 {
					t.Fatalf("a wait of %v", wait)
				}
				if wait == other.next(test.err, test.up, edgeParams.maxRetry) {
					same++
				}
				all += wait
			}
			if all < test.least {
				t.Errorf("%d waits took %v, want at least %v", tries, all, test.least)
			}
			if same == tries {
				t.Error("two lines wait for the same times")
			}
		})
	}
}

func TestARetryAfterALongLifeIsQuick(t *testing.T) {
	var r retry
	for range 20 {
		r.next(io.EOF, 0, edgeParams.maxRetry)
	}
	if wait := r.next(io.EOF, minUptime, edgeParams.maxRetry); wait >= 2*firstRetry {
		t.Errorf("after a connection that lasted the wait is %v, want less than %v", wait, 2*firstRetry)
	}
}
