package exchange

import (
	"log/slog"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// A count that is held stays when those without a link are forgotten.
func TestHeldLinksOutliveOthers(t *testing.T) {
	p := newPool("web", 0, &Settings{ID: "e1", Log: slog.New(slog.DiscardHandler)}, newMetrics())
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
