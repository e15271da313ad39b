package exchange

import (
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/flight"
)

// silentAsker answers no ask.
type silentAsker struct{}

func (silentAsker) Ask(*Exchange) (bool, error) { return false, nil }

// A deadline that has passed leaves the master a moment: else the edge would take it for silent and choose by itself. One that is too far for
// an Instant is as none. What a refused client is told is the time that its own request had.
func TestDeadlinesOfAsks(t *testing.T) {
	const timeout = 10 * time.Second
	at := func(text string) time.Time {
		got, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, c := range []struct {
		name string
		d    routing.Deadline
		want time.Duration // after the ask
		told string
	}{
		{"none", routing.Deadline{}, timeout, "10s"},
		{"soon", routing.Deadline{In: 3 * time.Second}, 3 * time.Second, "3s"},
		{"later than the timeout", routing.Deadline{In: time.Hour}, timeout, "10s"},
		{"now", routing.Deadline{In: 1}, leastAskTime, "1ms"},
		{"passed", routing.Deadline{At: at("2000-01-01T00:00:00Z")}, leastAskTime, "1ms"},
		{"passed long ago", routing.Deadline{At: at("0001-01-02T00:00:00Z")}, leastAskTime, "1ms"},
		{"in centuries", routing.Deadline{At: at("2500-01-01T00:00:00Z")}, timeout, "10s"},
		{"never", routing.Deadline{At: at("9999-12-31T23:59:59Z")}, timeout, "10s"},
	} {
		now := balance.Instant(1000 * time.Hour)
		x := Exchange{surroundings: surroundings{Route: &routing.BoundRoute{Route: routing.Route{Timeout: timeout}}, Asker: silentAsker{}, Clock: &now}}
		x.startedAt = now
		x.setDeadline(c.d)
		if _, err := x.startPick(nil); err != nil {
			t.Fatal(err)
		}
		if got := x.Request.Deadline.Sub(now); got != c.want {
			t.Errorf("%s: the master has %v, want %v", c.name, got, c.want)
		}
		x.refusal = &balance.Refusal{Reason: balance.Shed, Needs: time.Minute}
		if got, want := x.NoteAnswer(flight.Answer{Reason: balance.Shed.String()}, ""), "refused at once: every server is at its limit, requests take up to 1m0s here, and this one has "+c.told; got != want {
			t.Errorf("%s: the client is told %q, want %q", c.name, got, want)
		}
	}
}
