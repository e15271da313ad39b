package h2conn

import (
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// A stream that was answered early is waited for as long as its client sends, but not for ever, and
// the client may go on sending.
func TestUnreadStreamsEnd(t *testing.T) {
	var u discardedStreams
	now := balance.Instant(time.Hour)
	begun := now
	u.add(now, 1, StreamWindow)
	for now.Sub(begun) < MaxLinger-LingerQuiet {
		now = now.Add(LingerQuiet - time.Millisecond)
		if s, over := u.takeExpired(now); over {
			t.Fatalf("%v after the answer stream %d is over, though its client sends", now.Sub(begun), s.id)
		}
		more, ok := u.find(1).consume(now, StreamWindow)
		if !ok || more != StreamWindow {
			t.Fatalf("a window was used up: %d more, ok %v", more, ok)
		}
	}
	if at := u.nextTimeout(); at != begun.Add(MaxLinger) {
		t.Errorf("it is over after %v, want %v", at.Sub(begun), MaxLinger)
	}
	if s, over := u.takeExpired(begun.Add(MaxLinger)); !over || s.id != 1 {
		t.Errorf("after %v it is still waited for", MaxLinger)
	}
	u.add(now, 3, 10)
	if s, over := u.takeExpired(now.Add(LingerQuiet)); !over || s.window != 10 {
		t.Errorf("a silent client is waited for: %+v", s)
	}
	if u.nextTimeout() != 0 || len(u.list) != 0 {
		t.Errorf("streams are left: %+v", u.list)
	}
}

func TestUnreadStreamsAreBounded(t *testing.T) {
	var u discardedStreams
	for id := range uint32(maxDiscardedStreams) {
		if _, full := u.add(1, id, 1); full {
			t.Fatalf("%d are too many", id)
		}
	}
	if s, full := u.add(1, maxDiscardedStreams, 1); !full || s.id != 0 || len(u.list) != maxDiscardedStreams {
		t.Errorf("one more displaces %+v, full %v, of %d", s, full, len(u.list))
	}
	u.remove(7)
	if u.find(7) != nil || u.find(8) == nil {
		t.Error("the wrong one was removed")
	}
	if _, ok := u.find(8).consume(2, 2); ok {
		t.Error("more bytes than the window lets through were taken")
	}
}
