package balance

import "strings"

// This file keeps where a server's name leads. The caller that looks names up tells it by Locate.

// Where servers are, as Grant.At has it. Otherwise it is one address or two of one server, as ip:port, of
// different families, with a comma between; empty: the server's address says it.
const (
	AtEdge    = "?" // the edge looks the name up itself
	atNowhere = "!" // before the reason why the server can be connected to nowhere
)

// NowhereFor returns what stands for a server that can be connected to nowhere.
func NowhereFor(why string) string {
	if len(why) > mostWhy {
		why = strings.ToValidUTF8(why[:mostWhy], "") + "…"
	}
	return atNowhere + why
}

const mostWhy = 400 // bytes

// Nowhere returns why a server can be connected to nowhere; false: it can be.
func Nowhere(at string) (why string, nowhere bool) { return behind(at, atNowhere) }

// behind returns what stands behind a prefix; "" without it.
func behind(text, prefix string) (rest string, ok bool) {
	if rest, ok = strings.CutPrefix(text, prefix); !ok {
		return "", false
	}
	return rest, true
}

const unixScheme = "unix:"

// IsUnix reports whether an address is a unix socket.
func IsUnix(address string) bool { return strings.HasPrefix(address, unixScheme) }

// UnixPath returns the path of an address that is a unix socket.
func UnixPath(address string) (path string, ok bool) { return behind(address, unixScheme) }

// Location is where a server's name leads.
type Location struct {
	At      string   // as Grant.At has it
	Problem string   // why the name could not be looked up last; empty: it could
	Since   Instant  // of Problem
	All     []string // addresses that the name leads to, also of other servers; nil: not known
	Several bool     // the name leads to more addresses than those of this one server
}

// Locate takes where a server's name leads. The zero Location is that of an address that needs no
// look-up. One that leads nowhere is unhealthy. It reports whether that changes anything.
func (p *Pool) Locate(now Instant, id ServerID, l Location) (changed bool) {
	s := p.byID[id]
	if s == nil {
		return false
	}
	was := s.located()
	if l.At == was.At && l.Problem == was.Problem && l.Several == was.Several && len(l.All) == len(was.All) && (s.location == nil) == (l.At == "") {
		if s.location != nil {
			s.location.All = l.All
		}
		return false
	}
	moved := l.At != was.At && was.At != ""
	if s.location = nil; l.At != "" {
		s.location = &l
	}
	p.version++
	p.tell(s)
	wrong, _ := Nowhere(l.At)
	if _, err := p.SetHealth(now, id, ByName, wrong); err != nil {
		return false // it has just been found
	}
	if moved {
		p.moved(now, s)
	}
	return true
}

// Located returns where a server's name leads, as Locate was told last.
func (p *Pool) Located(id ServerID) (l Location, ok bool) {
	if s := p.byID[id]; s != nil && s.location != nil {
		return *s.location, true
	}
	return Location{}, false
}

func (s *Server) located() Location {
	if s.location == nil {
		return Location{}
	}
	return *s.location
}

// moved forgets who could not reach the server where it was: no edge has tried it where it is now.
func (p *Pool) moved(now Instant, s *Server) {
	p.forgetReach(s)
	s.reaches = reaches{}
	if s.health.cause == byReach && now < s.health.ejectedUntil && s.obstacle == "" {
		p.account(now, s)
		s.health.ejectedUntil = now
		p.warm(s, now)
		p.rank(now, s)
	}
}

// answer is what an edge is told of a server: its id, address, location and public address, side by side,
// for they are read together.
type answer struct {
	text string
	ends [3]uint16 // of all but the last
}

func (a *answer) id() ServerID    { return ServerID(a.text[:a.ends[0]]) }
func (a *answer) address() string { return a.text[a.ends[0]:a.ends[1]] }
func (a *answer) at() string      { return a.text[a.ends[1]:a.ends[2]] }
func (a *answer) public() string  { return a.text[a.ends[2]:] }

// tell renews what edges are told of the server, after its spec or its location has changed.
func (p *Pool) tell(s *Server) {
	spec, at := &s.spec, s.located().At
	told := answer{text: string(spec.ID) + spec.Address + at + spec.Public}
	for i, n := range [...]int{len(spec.ID), len(spec.Address), len(at)} {
		told.ends[i] = uint16(n)
		if i > 0 {
			told.ends[i] += told.ends[i-1]
		}
	}
	if told != s.answer {
		p.serials++
		s.answer, s.serial = told, p.serials
	}
}
