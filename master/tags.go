package master

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// tags computes the tags of leases. A tag proves that a peer was sent the lease: an id can be guessed. It is
// half of the id's block under AES with a key that never leaves the process, so nothing is stored for a lease.
// The pool must be locked.
type tags struct {
	block   cipher.Block
	scratch [aes.BlockSize]byte
}

func newTags() (*tags, error) {
	key := make([]byte, 16)
	_, _ = rand.Read(key) // never fails
	block, err := aes.NewCipher(key)
	return &tags{block: block}, err
}

// of returns the tag of a lease that this master has granted. It is never zero.
func (t *tags) of(id balance.LeaseID) uint64 {
	b := t.scratch[:]
	binary.LittleEndian.PutUint64(b, uint64(id))
	clear(b[8:])
	t.block.Encrypt(b, b)
	return max(1, binary.LittleEndian.Uint64(b))
}
