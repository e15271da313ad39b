// Package lograte decides which of many equal log lines are written: of each kind and place the first in a second. The others are counted;
// the count is written with the next line, or with the last of them when the second is over. So the last state is always in the log.
//
// It is pure: the time is handed in, and what it keeps is bounded, so that a peer which
// provokes lines cannot fill the memory by inventing places.
package lograte

import "time"

// Every is how often a line of one kind and place is written.
const Every = time.Second

// mostPlaces is how many places of one kind are told apart within Every. Lines of
// further places share one.
const mostPlaces = 64

// Limiter decides on lines whose content is a T. The zero value is ready. It is not safe
// for use by several goroutines.
type Limiter[T any] struct {
	kinds map[uintptr]*kind[T]
	held  int // entries that hold a line
}

// kind is all lines from one statement of the program, so there are only so many.
type kind[T any] struct {
	places map[uint64]*entry[T]
	rest   entry[T] // of the places beyond mostPlaces
}

// entry is one kind and place.
type entry[T any] struct {
	since time.Time // when a line was last written; zero: never
	more  int       // lines since then that were not
	last  T         // the last of those
}

// Line is a line to be written.
type Line[T any] struct {
	Content T
	More    int // lines like it that are not written, since the one before
}

// Take decides on a line. If keep is nil it is to be written now, and more is how many
// like it were not written since the one before. If not, the caller puts the line into
// keep, where it stays until a later line is written or Due returns it.
func (l *Limiter[T]) Take(now time.Time, code uintptr, place uint64) (more int, keep *T) {
	e := l.entry(now, code, place)
	if since := now.Sub(e.since); !e.since.IsZero() && since >= 0 && since < Every {
		if e.more == 0 {
			l.held++
		}
		e.more++
		return 0, &e.last
	}
	more = e.more
	l.release(e, now)
	return more, nil
}

// Held returns how many kinds and places have a line that Due will return.
func (l *Limiter[T]) Held() int { return l.held }

// Due returns the last line of each kind and place whose second is over, if it was not
// written.
func (l *Limiter[T]) Due(now time.Time) []Line[T] {
	return l.collect(now, func(e *entry[T]) bool { return now.Sub(e.since) >= Every })
}

// Flush returns what Due would return in time.
func (l *Limiter[T]) Flush(now time.Time) []Line[T] {
	return l.collect(now, func(*entry[T]) bool { return true })
}

func (l *Limiter[T]) collect(now time.Time, due func(*entry[T]) bool) (all []Line[T]) {
	take := func(e *entry[T]) {
		if e.more > 0 && due(e) {
			all = append(all, Line[T]{e.last, e.more - 1})
			l.release(e, now)
		}
	}
	for _, k := range l.kinds {
		for _, e := range k.places {
			take(e)
		}
		take(&k.rest)
	}
	return all
}

// release begins another second of an entry whose line is written.
func (l *Limiter[T]) release(e *entry[T], now time.Time) {
	if e.more > 0 {
		l.held--
	}
	*e = entry[T]{since: now}
}

// entry returns what is known of a kind and place.
func (l *Limiter[T]) entry(now time.Time, code uintptr, place uint64) *entry[T] {
	k := l.kinds[code]
	if k == nil {
		k = &kind[T]{places: make(map[uint64]*entry[T])}
		if l.kinds == nil {
			l.kinds = make(map[uintptr]*kind[T])
		}
		l.kinds[code] = k
	}
	if e := k.places[place]; e != nil {
		return e
	}
	if len(k.places) >= mostPlaces {
		for p, e := range k.places {
			if e.more == 0 && now.Sub(e.since) >= Every {
				delete(k.places, p)
			}
		}
	}
	if len(k.places) >= mostPlaces {
		return &k.rest
	}
	e := new(entry[T])
	k.places[place] = e
	return e
}
