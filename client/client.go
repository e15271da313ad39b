package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// Config is what an edge's Client is told once.
type Config struct {
	Masters  []string // host:port or unix:/path, tried in order; at least one
	ID       balance.EdgeID
	Pools    []string      // whose snapshots are wanted
	TLS      *tls.Config   // nil: plain connections
	Trust    *trust.Keeper // nil: who is at the other end is for TLS to judge
	Log      *slog.Logger  // nil: silent
	Software string        // name and version, for the master's logs; may be empty
	Inside   *inside.Set   // of this process's own listeners the master is told, so that no server is there; nil: none

	instance uint64 // of the process; zero: New draws one
}

// Client is an edge's connection to a master. Its methods may be called at any time,
// from any goroutine.
type Client struct {
	line    *line
	talk    *edgeTalk
	watched table[*pool] // of talk, so that Snapshot needs no lock
	told    string       // the id of the master that it was made for, by another's word; empty: it is of Config.Masters
	turned  func()       // called, without the lock, when who leads may have changed; nil: nothing is called
}

// New returns a Client that is idle until Run.
func New(cfg Config) (*Client, error) {
	if err := checkMasters(cfg.Masters); err != nil {
		return nil, err
	}
	if problem := balance.BadEdgeID(cfg.ID); problem != "" {
		return nil, fmt.Errorf("edge id: %s", problem)
	}
	c := &Client{talk: newEdgeTalk(cfg.ID, cfg.Pools, cfg.Software)}
	c.noteWatched()
	c.line = newLine(cfg.Masters, security{cfg.TLS, cfg.Trust}, logger(cfg.Log), c.talk, c.wake)
	c.line.direct, c.line.inside = true, cfg.Inside
	c.talk.hello.Instance = cfg.instance
	if cfg.instance == 0 {
		c.talk.hello.Instance = newInstance()
	}
	return c, nil
}

// wake wakes those whose asks are settled.
func (c *Client) wake(context.Context) {
	for i, w := range c.talk.waking {
		c.talk.waking[i] = nil
		w.told()
	}
	if c.talk.telling && c.turned != nil {
		c.turned()
	}
}

// newInstance tells this process apart from others of the same id.
func newInstance() uint64 { return max(1, rand.Uint64()) }

func checkMasters(masters []string) error {
	if len(masters) == 0 {
		return errors.New("masters: none given, want at least one as host:port or unix:/path")
	}
	for _, m := range masters {
		if path, ok := strings.CutPrefix(m, "unix:"); ok && path != "" {
			continue
		}
		if _, _, err := net.SplitHostPort(m); err != nil {
			return fmt.Errorf("master %q: want host:port or unix:/path", m)
		}
	}
	return nil
}

func logger(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

// Run keeps a connection until ctx ends, then says Goodbye, waits a moment for it to be
// read, and returns nil. It may run once.
func (c *Client) Run(ctx context.Context) error { return c.line.run(ctx) }

// Connected reports whether a master has welcomed us and is there.
func (c *Client) Connected() bool { return c.line.isUp.Load() }

// Problem returns why the master would not have us, if a person must mend it; else nil.
func (c *Client) Problem() error { return c.line.trouble() }

func (l *line) trouble() error {
	if fail := l.problem.Load(); fail != nil {
		return fail
	}
	return nil
}

// Snapshot returns what is known of a pool that is watched; nil if nothing has
// come yet. It is made when it is asked for and something has changed since, which takes
// as long as copying the list of servers; while there is no connection nothing changes.
func (c *Client) Snapshot(pool string) *balance.Snapshot {
	p := c.watched.of(pool)
	if p == nil {
		return nil
	}
	if p.known.stale.Load() {
		c.line.mu.Lock()
		defer c.line.mu.Unlock()
		return p.snapshot(c.talk.drains.drains)
	}
	return p.known.latest.Load()
}

// Queued returns how often the master told that an ask had to wait in its queue.
func (c *Client) Queued() uint64 {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	return c.talk.queued
}

var waiters = sync.Pool{New: func() any { return &waiter{done: make(chan struct{}, 1)} }}

// Pick asks for a server and waits for the answer. Its error is a *balance.Refusal, or
// wraps ErrNoMaster, or is the context's cause. Only while Run has not yet been through
// the list of masters for the first time does it wait for a connection. It keeps nothing of req. A grant's lease
// is open until Done, or until it expires.
//
// A pick may be the one that writes or reads for others, and then ends up to a quarter
// of a second, with a master that does not read up to four seconds, after its context.
func (c *Client) Pick(ctx context.Context, pool string, req *balance.Request) (balance.Grant, error) {
	if ctx.Err() != nil {
		return balance.Grant{}, context.Cause(ctx)
	}
	l := c.line
	if !l.isUp.Load() && l.begun.Load() {
		l.awaitFirst(ctx)
	}
	w := waiters.Get().(*waiter)
	seq, conn, err := c.ask(pool, req, w)
	if err != nil {
		waiters.Put(w)
		return balance.Grant{}, err
	}
	if conn == nil || !l.readOnce(ctx, conn, w.done) {
		if err := c.await(ctx, seq, w); err != nil {
			waiters.Put(w)
			return balance.Grant{}, err
		}
	}
	grant, err := w.grant, w.err
	w.grant, w.err = balance.Grant{}, nil
	waiters.Put(w)
	return grant, err
}

// awaitFirst waits until the first connection is made, or cannot be.
func (l *line) awaitFirst(ctx context.Context) {
	select {
	case <-l.tried:
	case <-ctx.Done():
	}
}

// ask sends an ask, and returns what to read the answer from if it is the asker's turn
// to read; nil: it is another's, or the answer is there.
func (c *Client) ask(pool string, req *balance.Request, w *waiter) (seq uint64, conn net.Conn, err error) {
	l := c.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq, err = c.talk.ask(c.instant(req), pool, req, w); err != nil {
		return 0, nil, err
	}
	if l.resuming > 0 {
		l.resuming--
	}
	l.write()
	if c.talk.find(seq) != nil {
		conn = l.takeTurn()
	}
	return seq, conn, nil
}

// instant is when an ask is made, if it needs to know. mu is held.
func (c *Client) instant(req *balance.Request) balance.Instant {
	if c.talk.timed(req) {
		return clock.Now()
	}
	return 0
}

// await waits for the answer. Its error is the context's cause.
func (c *Client) await(ctx context.Context, seq uint64, w *waiter) error {
	canceled := ctx.Done()
	if canceled == nil {
		<-w.done
		return nil
	}
	select {
	case <-w.done:
	case <-canceled:
		if c.cancel(seq) {
			return context.Cause(ctx)
		}
		<-w.done
	}
	return nil
}

func (c *Client) cancel(seq uint64) bool {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	if !c.talk.cancel(seq) {
		return false
	}
	c.line.soon()
	return true
}

// Done ends a lease. It does not wait: the word rides the next ask, or goes after a
// millisecond; where asks have followed each other within that for a while and suddenly
// stop, after 16. Without a connection it is kept for the next one, up to some ten
// thousand of them; beyond that the master ends the lease when its grace period is over.
func (c *Client) Done(pool string, lease balance.LeaseID, o balance.Outcome) {
	l := c.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.end(pool, lease, o) {
		l.soon()
	}
}

// end notes that a lease is over; false: there is no more room for it. mu is held.
func (c *Client) end(pool string, lease balance.LeaseID, o balance.Outcome) bool {
	err := c.talk.done(pool, lease, o)
	if err != nil {
		c.line.drop(c.line.conn, err)
	}
	return err == nil
}

// Owes tells the master whether the server of a lease owes anything now. It does not while the edge waits
// for the client, to send more or to take what has come: its silence then says nothing of the server. A
// lease that is told again after a loss of the connection is told with it.
func (c *Client) Owes(lease balance.LeaseID, owes bool) {
	l := c.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.talk.owes(clock.Now(), lease, owes) {
		l.soon()
	}
}

// Report keeps a server's load metrics, the latest for each server, for the next ask;
// if none comes, they go after 100 ms. It keeps nothing of r.
func (c *Client) Report(pool string, r balance.Report) {
	l := c.line
	l.mu.Lock()
	defer l.mu.Unlock()
	c.talk.report(clock.Now(), pool, &r)
	if !l.reportsArmed {
		l.reportsArmed = true
		l.reports.Reset(reportsWait)
	}
}
