package master

import "github.com/evenkeel-lb/evenkeel/wire"

// numbers is which servers an edge has been told of by number, so that a grant need not
// name them again: neither side then reads or hashes strings that were last used a
// thousand asks ago. A server's number is its place here. Where another takes its place
// it is named anew when it is next granted.
type numbers struct {
	known []uint64 // by number less one: pool and serial; zero: none. The length is a power of two
	used  int
}

const fewestNumbers = 64

// number returns what to call a server by, zero for not at all, and whether the edge has
// to be told its name. serial is balance.Grant's.
func (n *numbers) number(pool, serial uint32) (number uint32, known bool) {
	if serial == 0 {
		return 0, false
	}
	if n.known == nil {
		n.known = make([]uint64, fewestNumbers)
	}
	key, hash := uint64(pool)<<32|uint64(serial), serial+pool*0x9e3779b1
	at := &n.known[hash&uint32(len(n.known)-1)]
	if *at == key {
		return hash&uint32(len(n.known)-1) + 1, true
	}
	if *at != 0 && n.used > len(n.known)/4 && len(n.known) < wire.MaxNumber {
		n.grow()
		at = &n.known[hash&uint32(len(n.known)-1)]
	}
	if *at == 0 {
		n.used++
	}
	*at = key
	return hash&uint32(len(n.known)-1) + 1, false
}

// grow doubles the room. Those whose number it changes are forgotten.
func (n *numbers) grow() {
	old := n.known
	n.known, n.used = make([]uint64, 2*len(old)), 0
	for i, key := range old {
		if hash := uint32(key) + uint32(key>>32)*0x9e3779b1; key != 0 && int(hash&uint32(len(n.known)-1)) == i {
			n.known[i] = key
			n.used++
		}
	}
}
