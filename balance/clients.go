package balance

import (
	"fmt"
	"maps"
	"time"
)

// clients counts the open leases of each client while requests wait, so that one with more is served
// after one with fewer. A pool in which no request waits counts nothing: its leases say whose they are,
// and are counted once a request waits.
type clients struct {
	byPrefix map[ClientPrefix]*client // with leases or waiting requests; nil: nothing is counted
	until    Instant                  // counting goes on until then, even if no request waits
}

// client is what one has. What an unknown one has is not known: its client is nil.
type client struct {
	open    int // leases
	waiting int // requests in the queue
}

// countOn is how long counting goes on when no request waits any more: a queue that is full now and then
// is not to count all leases each time.
const countOn = 10 * time.Second

// held returns how many leases the client has open.
func (c *client) held() int {
	if c == nil {
		return 0
	}
	return c.open
}

// weight returns what the client has and wants.
func (c *client) weight() int {
	if c == nil {
		return 0
	}
	return c.open + c.waiting
}

// of returns what is known of a client; nil: nothing, or it is unknown.
func (c *clients) of(prefix ClientPrefix) *client {
	if prefix == 0 {
		return nil
	}
	at := c.byPrefix[prefix]
	if at == nil {
		at = new(client)
		c.byPrefix[prefix] = at
	}
	return at
}

// wait counts a request that waits.
func (c *clients) wait(now Instant, l *ledger, prefix ClientPrefix) *client {
	if c.byPrefix == nil {
		c.byPrefix = make(map[ClientPrefix]*client)
		for i := range l.leases {
			if at := &l.leases[i]; at.id != 0 {
				c.opened(at.client)
			}
		}
	}
	c.until = now.Add(countOn)
	at := c.of(prefix)
	if at != nil {
		at.waiting++
	}
	return at
}

// waited says that a request waits no more.
func (c *clients) waited(prefix ClientPrefix) { c.change(prefix, 0, -1) }

// opened counts a lease.
func (c *clients) opened(prefix ClientPrefix) { c.change(prefix, 1, 0) }

// closed counts one fewer.
func (c *clients) closed(prefix ClientPrefix) { c.change(prefix, -1, 0) }

func (c *clients) change(prefix ClientPrefix, open, waiting int) {
	if c.byPrefix == nil {
		return
	}
	at := c.of(prefix)
	if at == nil {
		return
	}
	if at.open, at.waiting = at.open+open, at.waiting+waiting; *at == (client{}) {
		delete(c.byPrefix, prefix)
	}
}

// rest ends the counting if no request has waited for long.
func (c *clients) rest(now Instant, waiting int) {
	if c.byPrefix != nil && waiting == 0 && now > c.until {
		c.byPrefix = nil
	}
}

// checkClients reports what of the counts is not as leases and queue say.
func (p *Pool) checkClients() error {
	if p.clients.byPrefix == nil {
		return nil
	}
	want := clients{byPrefix: make(map[ClientPrefix]*client)}
	for i := range p.ledger.leases {
		if l := &p.ledger.leases[i]; l.id != 0 {
			want.opened(l.client)
		}
	}
	p.queue.each(func(w *waiter) bool {
		want.change(PrefixOf(w.req.Client), 0, 1)
		return true
	})
	if !maps.EqualFunc(p.clients.byPrefix, want.byPrefix, func(a, b *client) bool { return *a == *b }) {
		return fmt.Errorf("pool %s: %d clients are counted, and they have not what leases and queue say of %d", p.cfg.Name, len(p.clients.byPrefix), len(want.byPrefix))
	}
	return nil
}
