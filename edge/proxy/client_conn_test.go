package proxy

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// What a task gathers is what was read, in its order, however much of it has been taken
// out in between; and a head that is in use stays as it was.
func TestTaskGathers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var k request
		var want, used, usedWant []byte
		for i := range rapid.IntRange(1, 20).Draw(t, "reads") {
			inUse := used != nil
			p := bytes.Repeat([]byte{byte('a' + i)}, rapid.IntRange(1, 3000).Draw(t, "bytes"))
			k.appendInput(p, inUse)
			want = append(want, p...)
			if got := k.input[k.inputStart:k.inputEnd]; !bytes.Equal(got, want) {
				t.Fatalf("after read %d: %d bytes, want %d: got %.40q…, want %.40q…", i, len(got), len(want), got, want)
			}
			if !bytes.Equal(used, usedWant) {
				t.Fatalf("after read %d: what was in use has changed", i)
			}
			switch rapid.IntRange(0, 3).Draw(t, "then") {
			case 0:
				n := rapid.IntRange(0, len(want)).Draw(t, "taken")
				k.inputStart += n
				want, used, usedWant = want[n:], nil, nil
			case 1:
				used, usedWant = k.input[k.inputStart:k.inputEnd], bytes.Clone(want)
			}
		}
	})
}
