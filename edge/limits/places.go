package limits

import "sync/atomic"

// Places bounds how many client connections are open at once, so that descriptors are left for
// connections to servers and masters, and for those who look after the edge. It is safe for
// concurrent use. Without a limit all may come.
type Places struct {
	most  atomic.Int64 // zero: any number
	taken atomic.Int64
}

// SetMost sets the limit; zero: none. Who is there already stays.
func (p *Places) SetMost(n int) { p.most.Store(int64(n)) }

// Most returns the limit; zero: there is none.
func (p *Places) Most() int { return int(p.most.Load()) }

// Taken returns how many connections have a place.
func (p *Places) Taken() int { return int(p.taken.Load()) }

// Take takes a place, and reports whether there is one.
func (p *Places) Take() bool {
	if n, most := p.taken.Add(1), p.most.Load(); most == 0 || n <= most {
		return true
	}
	p.taken.Add(-1)
	return false
}

// Free gives a place back.
func (p *Places) Free() { p.taken.Add(-1) }

// DefaultPlaces returns the limit for a process that may open so many descriptors and has so
// many loops: each client may need another descriptor to a server, and some are kept for
// masters, listeners, admin and logs, and for what each loop waits by.
func DefaultPlaces(descriptors, loops int) int {
	const kept, ofLoop, least = 64, 16, 8
	return max(least, (descriptors-kept-ofLoop*loops)/2)
}
