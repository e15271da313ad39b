package balance

import (
	"testing"
	"unsafe"
)

// A server's record fills whole cache lines, which the allocator's classes keep.
func TestServersStandInCacheLinesOfTheirOwn(t *testing.T) {
	if size := unsafe.Sizeof(Server{}); size != 3*64 {
		t.Errorf("a Server takes %d bytes, want 192: what is needed seldom belongs into details", size)
	}
}
