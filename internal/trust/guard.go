package trust

import (
	"sync"
	"time"
)

// guards are the connections whose peers are checked again when the files change and when their certificates
// come to their end.
type guards struct {
	mu  sync.Mutex
	all map[*guard]struct{}
}

// guard is of one connection.
type guard struct {
	peer  *Peer
	end   func(error) // called once
	timer *time.Timer
}

// longestWait bounds how long a guard sleeps: the clock may be set meanwhile.
const longestWait = time.Hour

// Guard has end called, with a *Refusal and from another goroutine, when a connected peer may not stay:
// its certificate has come to its end, is denied by now, or comes from an authority that is not
// trusted any more. stop ends the watch.
func (k *Keeper) Guard(peer *Peer, end func(error)) (stop func()) {
	g := &guard{peer: peer}
	var once sync.Once
	g.end = func(err error) { once.Do(func() { end(err) }) }
	k.guards.mu.Lock()
	defer k.guards.mu.Unlock()
	if k.guards.all == nil {
		k.guards.all = make(map[*guard]struct{})
	}
	k.guards.all[g] = struct{}{}
	g.timer = time.AfterFunc(min(longestWait, time.Until(peer.Ends)), func() { k.wake(g) })
	return func() {
		k.guards.mu.Lock()
		defer k.guards.mu.Unlock()
		delete(k.guards.all, g)
		g.timer.Stop()
	}
}

// wake judges a peer whose time may be over.
func (k *Keeper) wake(g *guard) {
	k.judge(g)
	k.guards.mu.Lock()
	defer k.guards.mu.Unlock()
	if _, still := k.guards.all[g]; still {
		g.timer.Reset(min(longestWait, max(time.Second, time.Until(g.peer.Ends))))
	}
}

func (k *Keeper) judge(g *guard) {
	if _, err := k.current.Load().check(g.peer.chain, g.peer.usage); err != nil {
		g.end(err)
	}
}

// judgeAll is called when the files have changed.
func (k *Keeper) judgeAll() {
	k.guards.mu.Lock()
	all := make([]*guard, 0, len(k.guards.all))
	for g := range k.guards.all {
		all = append(all, g)
	}
	k.guards.mu.Unlock()
	for _, g := range all {
		k.judge(g)
	}
}
