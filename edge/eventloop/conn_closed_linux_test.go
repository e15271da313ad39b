//go:build !evenkeel_portable

package eventloop

import (
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// closer is a conn whose owner closes another one in the same iteration and opens one more, which gets the
// number of its descriptor and its slot.
type closer struct {
	hearer
	victim *hearer
	heir   *hearer
}

func (c *closer) OnReady() {
	if c.victim == nil || c.heir != nil {
		c.hearer.OnReady()
		return
	}
	slot := c.victim.slot
	c.victim.Close()
	own, peer, err := fd.Pair()
	if err != nil {
		c.t.Fatal(err)
	}
	c.heir = c.another(own, peer)
	c.t.Cleanup(peer.Close)
	if c.heir.slot != slot {
		c.t.Errorf("the new end has slot %d, want %d, which is free", c.heir.slot, slot)
	}
	c.hearer.OnReady()
}

// Events, prefetched bytes and deferred writes of a conn that is closed in the same iteration reach neither it
// nor the conn that is opened next, whose descriptor has the same number.
func TestWhatIsLeftOfAClosedEndReachesNoOther(t *testing.T) {
	c := &closer{hearer: hearer{sayer: newSayer(t), room: 100}}
	c.Conn.Owner, c.IsServer = c, true // servers come first
	own, peer, err := fd.Pair()
	if err != nil {
		t.Fatal(err)
	}
	victim := c.another(own, peer)
	t.Cleanup(peer.Close)
	for brief := range 2 { // the second time it is prefetched
		victim.speak("before")
		c.turn()
		victim.wantGot("before")
		victim.lastReadShort = brief == 1
	}
	victim.says("said before the end")
	if victim.pendingAt == 0 {
		t.Fatal("it does not wait for the end of the turn")
	}
	victim.speak("for the victim")
	c.speak("for the other")
	c.Loop.batching = false
	events := make([]fd.Event, 8)
	n := c.Loop.poller.Wait(events, -1)
	if n != 2 {
		t.Fatalf("%d events, want those of two ends", n)
	}
	c.victim = victim
	c.Loop.batching = true
	c.Loop.handleEvents(events[:n])
	c.Loop.runDeferred()
	c.Loop.flushWrites()
	c.wantGot("for the other")
	victim.wantGot("")
	if c.heir == nil {
		t.Fatal("nothing was closed")
	}
	c.heir.wantGot("")
	if c.heir.prefetched != nil || c.heir.inKernel() != "" || c.heir.Readable || c.heir.Writable {
		t.Error("something has come to the new end")
	}
	if got, _ := victim.heard(); got != "said before the end" {
		t.Errorf("the peer of the closed end got %q", got)
	}
	if got, ended := c.heir.heard(); got != "" || ended {
		t.Errorf("the peer of the new end got %q, ended %v", got, ended)
	}
}
