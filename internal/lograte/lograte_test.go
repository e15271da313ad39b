package lograte

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestOneLineASecond(t *testing.T) {
	var l Limiter[string]
	at := func(d time.Duration) time.Time { return begin.Add(d) }
	take := func(d time.Duration, place uint64, content string, wantMore int, want bool) {
		t.Helper()
		more, keep := l.Take(at(d), 1, place)
		if keep != nil {
			*keep = content
		}
		if written := keep == nil; written != want || more != wantMore {
			t.Errorf("at %v: got %d more and written %v, want %d and %v", d, more, written, wantMore, want)
		}
	}
	take(0, 7, "a", 0, true)
	take(time.Millisecond, 7, "b", 0, false)
	take(2*time.Millisecond, 8, "another place", 0, true)
	take(999*time.Millisecond, 7, "c", 0, false)
	take(time.Second, 7, "d", 2, true)
	take(1500*time.Millisecond, 7, "e", 0, false)
	if due := l.Due(at(1999 * time.Millisecond)); due != nil {
		t.Errorf("got %v before the second was over, want nothing", due)
	}
	take(1700*time.Millisecond, 7, "f", 0, false)
	if due := l.Due(at(2 * time.Second)); !slices.Equal(due, []Line[string]{{"f", 1}}) {
		t.Errorf("got %v, want the last line and one more", due)
	}
	take(2001*time.Millisecond, 7, "g", 0, false) // a second counts from what Due returned
	if all := l.Flush(at(2002 * time.Millisecond)); !slices.Equal(all, []Line[string]{{"g", 0}}) || l.Held() != 0 {
		t.Errorf("got %v and %d held, want the last line and none", all, l.Held())
	}
}

// A peer that invents places fills neither the log nor the memory, and every line is
// either written or counted.
func TestInventedPlacesAreBounded(t *testing.T) {
	var l Limiter[int]
	random := rand.New(rand.NewPCG(1, 2))
	lines, written, counted := 0, 0, 0
	now, second, inSecond := begin, begin, 0
	account := func(all []Line[int]) {
		for _, line := range all {
			written, counted, inSecond = written+1, counted+line.More, inSecond+1
		}
	}
	for range 50_000 {
		now = now.Add(time.Duration(random.IntN(400)) * time.Microsecond)
		lines++
		if more, keep := l.Take(now, uintptr(random.IntN(2)), random.Uint64()); keep == nil {
			written, counted, inSecond = written+1, counted+more, inSecond+1
		}
		if now.Sub(second) >= Every {
			account(l.Due(now))
			if most := 2 * 2 * (mostPlaces + 1); inSecond > most { // a window of ours may touch two of the limiter's
				t.Fatalf("%d lines written in a second, want at most %d", inSecond, most)
			}
			second, inSecond = now, 0
		}
		for code, k := range l.kinds {
			if len(k.places) > mostPlaces {
				t.Fatalf("kind %d has %d places, want at most %d", code, len(k.places), mostPlaces)
			}
		}
	}
	account(l.Flush(now))
	if written+counted != lines {
		t.Errorf("%d lines written and %d counted of %d", written, counted, lines)
	}
	if l.Held() != 0 {
		t.Errorf("%d lines are held after Flush", l.Held())
	}
}

// A clock that is set back holds no line up.
func TestClockSetBack(t *testing.T) {
	var l Limiter[string]
	l.Take(begin, 1, 1)
	if _, keep := l.Take(begin.Add(-time.Hour), 1, 1); keep != nil {
		t.Error("a line is held up by a clock that was set back")
	}
}
