package master

import "github.com/evenkeel-lb/evenkeel/wire"

// serverNumbers is which servers an edge knows by number, so that a grant need not name them: otherwise both
// sides would read and hash strings that were last used a thousand asks ago. A server's number is its index
// here, plus one. A server whose index another takes is named again when it is next granted.
type serverNumbers struct {
	known []uint64 // by number less one: pool and serial; zero: none. The length is a power of two
	used  int
}

const minNumbers = 64

// number returns a server's number, zero: it has none, and whether the edge knows its name. serial is
// balance.Grant's.
func (n *serverNumbers) number(pool, serial uint32) (number uint32, known bool) {
	if serial == 0 {
		return 0, false
	}
	if n.known == nil {
		n.known = make([]uint64, minNumbers)
	}
	key, hash := uint64(pool)<<32|uint64(serial), serial+pool*0x9e3779b1
	at := &n.known[hash&uint32(len(n.known)-1)]
	if *at == key {
		return hash&uint32(len(n.known)-1) + 1, true
	}
	if *at != 0 && n.used > len(n.known)/4 && len(n.known) < wire.MaxNumber {
		n.double()
		at = &n.known[hash&uint32(len(n.known)-1)]
	}
	if *at == 0 {
		n.used++
	}
	*at = key
	return hash&uint32(len(n.known)-1) + 1, false
}

// double doubles the table. Servers whose number would change are forgotten.
func (n *serverNumbers) double() {
	old := n.known
	n.known, n.used = make([]uint64, 2*len(old)), 0
	for i, key := range old {
		if hash := uint32(key) + uint32(key>>32)*0x9e3779b1; key != 0 && int(hash&uint32(len(n.known)-1)) == i {
			n.known[i] = key
			n.used++
		}
	}
}
