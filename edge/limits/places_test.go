package limits

import (
	"sync"
	"testing"
)

func TestNoMoreThanThePlacesAreTaken(t *testing.T) {
	var p Places
	if !p.Take() {
		t.Error("no place without a limit")
	}
	p.Free()
	p.SetMost(7)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10_000 {
				if p.Take() {
					if n := p.Taken(); n > 7+8 { // those who are about to be told that there is none count for a moment
						t.Errorf("%d taken", n)
					}
					p.Free()
				}
			}
		})
	}
	all.Wait()
	for i := range 9 {
		if got := p.Take(); got != (i < 7) {
			t.Errorf("place %d: got %v", i, got)
		}
	}
	p.Free()
	if !p.Take() || p.Take() || p.Taken() != 7 {
		t.Errorf("a place that was given back is not there, or twice: %d taken", p.Taken())
	}
}

func TestDefaultPlacesLeaveDescriptors(t *testing.T) {
	for _, c := range []struct{ descriptors, loops, want int }{{1024, 2, 464}, {200, 2, 52}, {20, 2, 8}, {1 << 20, 64, 523_744}} {
		if got := DefaultPlaces(c.descriptors, c.loops); got != c.want {
			t.Errorf("%d descriptors, %d loops: %d, want %d", c.descriptors, c.loops, got, c.want)
		}
	}
}
