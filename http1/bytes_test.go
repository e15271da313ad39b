package http1

import (
	"bytes"
	"testing"
)

// Whatever two bytes stand beside each other, wherever among eight, text finds what a
// look at each byte finds.
func TestTextFindsControls(t *testing.T) {
	control := func(c byte) bool { return c != '\t' && (c < 0x20 || c == 0x7f) }
	for first := range 256 {
		for second := range 256 {
			for at := range 9 {
				b := bytes.Repeat([]byte("~"), 20)
				b[at], b[at+1] = byte(first), byte(second)
				want := len(b)
				if control(byte(first)) {
					want = at
				} else if control(byte(second)) {
					want = at + 1
				}
				if got := text(b, 0); got != want {
					t.Fatalf("%q: got %d, want %d", b, got, want)
				}
			}
		}
	}
}
