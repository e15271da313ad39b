package limits

import "github.com/evenkeel-lb/evenkeel/balance"

// MostStalls is how many requests of one client may ask for a server although their body, whose length
// is unknown, has stalled. A conversation that begins with the server needs that; a client that opens
// many such requests and sends nothing would hold a server with each.
const MostStalls = 2

// Stalls counts such requests. The zero value is ready. It is not safe for concurrent use.
type Stalls struct {
	clients map[balance.ClientPrefix]int // a client without one is not in it
}

// Enter counts one more of a client; false: it has MostStalls of them.
func (s *Stalls) Enter(c balance.ClientPrefix) bool {
	if s.clients[c] >= MostStalls {
		return false
	}
	if s.clients == nil {
		s.clients = make(map[balance.ClientPrefix]int)
	}
	s.clients[c]++
	return true
}

// Leave counts one fewer: its body has come, its server has answered, or it has ended.
func (s *Stalls) Leave(c balance.ClientPrefix) {
	if s.clients[c]--; s.clients[c] <= 0 {
		delete(s.clients, c)
	}
}
