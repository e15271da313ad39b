package limits

import "github.com/evenkeel-lb/evenkeel/balance"

// Budget bounds the memory of request bodies that are read before a server is asked for. Set Limit
// before the first use. It is not safe for concurrent use.
type Budget struct {
	Limit int64 // bytes

	used    int64
	clients map[balance.ClientPrefix]int64 // bytes that each client holds; one that holds none is not in it
	rests   map[balance.ClientPrefix]int64 // bytes taken by TakeRest; a client that has taken none is not in it
}

// clientShare is the part of the limit that one client may hold once half of all is taken: a client that
// sends many bodies slowly must not keep those of others waiting.
const clientShare = 4

// restShare is the part of the limit that is kept for bodies that have begun and find no more memory.
// One client may have half of it.
const restShare = 8

// Take takes n bytes for a client, and reports whether they are to be had. It takes all or nothing.
func (b *Budget) Take(c balance.ClientPrefix, n int64) bool {
	if b.used+n > b.Limit-b.Limit/restShare || b.used+n > b.Limit/2 && b.clients[c]+n > b.Limit/clientShare {
		return false
	}
	b.take(c, n)
	return true
}

// TakeRest takes all n bytes that a body may still need for which Take has none, also if its client has
// its share already, and reports whether they are to be had. Bodies that hold memory and need more are
// so read to their ends a few at a time, and never wait for each other. EndRest must follow.
func (b *Budget) TakeRest(c balance.ClientPrefix, n int64) bool {
	rest := b.rests[c]
	if b.used+n > b.Limit || rest > 0 && rest+n > b.Limit/restShare/2 {
		return false
	}
	if b.rests == nil {
		b.rests = make(map[balance.ClientPrefix]int64)
	}
	b.rests[c] = rest + n
	b.take(c, n)
	return true
}

// EverRest reports whether TakeRest can have n bytes at some time.
func (b *Budget) EverRest(n int64) bool { return n <= b.Limit/restShare }

// EndRest says that a body has been read for which n bytes were taken by TakeRest. The client holds
// them until it gives them back.
func (b *Budget) EndRest(c balance.ClientPrefix, n int64) {
	if b.rests[c] -= n; b.rests[c] <= 0 {
		delete(b.rests, c)
	}
}

func (b *Budget) take(c balance.ClientPrefix, n int64) {
	if b.clients == nil {
		b.clients = make(map[balance.ClientPrefix]int64)
	}
	b.clients[c] += n
	b.used += n
}

// Give gives n bytes back that the client has taken.
func (b *Budget) Give(c balance.ClientPrefix, n int64) {
	b.used -= n
	if b.clients[c] -= n; b.clients[c] <= 0 {
		delete(b.clients, c)
	}
}

// Used returns how many bytes are taken.
func (b *Budget) Used() int64 { return b.used }

// Scarce reports whether more than three quarters are taken, so that nothing should be kept that is
// only useful if something fails.
func (b *Budget) Scarce() bool { return b.used > b.Limit/4*3 }
