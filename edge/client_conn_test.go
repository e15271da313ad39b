package edge

import (
	"bytes"
	"log/slog"
	"testing"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/balance"
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

// A count that is held stays when those without a link are forgotten.
func TestHeldLinksOutliveOthers(t *testing.T) {
	p := newPool("web", 0, newMetrics(func() bool { return true }), slog.New(slog.DiscardHandler))
	held := p.countLink("held")
	for i := range 3 * maxIdleServers {
		p.releaseLink(p.countLink(balance.ServerID(rune(0x4e00 + i))))
	}
	if n := len(p.inFlight); n > maxIdleServers+2 {
		t.Errorf("%d servers are remembered, want at most %d", n, maxIdleServers+2)
	}
	if n := p.linksLocked("held"); n != 1 {
		t.Errorf("%d links, want 1", n)
	}
	if p.releaseLink(held); p.linksLocked("held") != 0 {
		t.Errorf("%d links after the last is over", p.linksLocked("held"))
	}
}
