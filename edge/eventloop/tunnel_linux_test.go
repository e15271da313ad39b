//go:build !evenkeel_portable

package eventloop

import (
	"testing"
	"time"
)

// A tunnel with much to move moves a part of it, and continues in the next iteration.
func TestATunnelsTurnEndsByTime(t *testing.T) {
	for most, want := range map[time.Duration]bool{-1: false, time.Hour: true} {
		l := idleLoop(t, Config{ReadSize: 1 << 10, MaxTurn: most}) // it takes many reads
		client, from := pairIn(t, l)
		server, _ := pairIn(t, l)
		piece := make([]byte, 1<<10)
		sent := int64(0)
		for { // as small messages, each of which is a read of its own
			n, err := from.Send(piece)
			if err != nil {
				break
			}
			sent += int64(n)
		}
		var j Tunnel
		j.Start(&client.Conn, &server.Conn, SendBuffer{}, SendBuffer{})
		j.Pump()
		moved := j.sides[ServerSide].received
		if all := moved == sent; all != want || moved == 0 {
			t.Errorf("with %v: moved %d bytes of %d in one turn", most, moved, sent)
		}
		if waits := len(l.deferred) > 0; waits == want {
			t.Errorf("with %v: it is to go on: %v", most, waits)
		}
	}
}
