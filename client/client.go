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

// Config configures an edge's Client. New copies it.
type Config struct {
	Masters  []string // host:port or unix:/path, tried in order; at least one
	ID       balance.EdgeID
	Pools    []string      // whose snapshots are wanted
	TLS      *tls.Config   // nil: plain connections
	Trust    *trust.Keeper // nil: TLS alone decides whether the other end is a master
	Log      *slog.Logger  // nil: silent
	Software string        // name and version, for the master's logs; may be empty
	Inside   *inside.Set   // this process's own listeners, which the hello names so that no server is registered there; nil: none

	instance uint64 // identifies this process; zero: New draws one at random
}

// Client is an edge's connection to a master. Its methods are safe for concurrent use.
type Client struct {
	loop           *connLoop
	proto          *edgeProtocol
	watched        table[*pool] // of proto, so that Snapshot takes no lock
	expectedID     string       // the id of the master that another master named for this address; empty: the address is one of Config.Masters
	onLeaderChange func()       // called without the lock when a pool's leader may have changed; nil: nothing is called
}

// New returns a Client that is idle until Run.
func New(cfg Config) (*Client, error) {
	if err := checkMasters(cfg.Masters); err != nil {
		return nil, err
	}
	if problem := balance.BadEdgeID(cfg.ID); problem != "" {
		return nil, fmt.Errorf("edge id: %s", problem)
	}
	c := &Client{proto: newEdgeProtocol(cfg.ID, cfg.Pools, cfg.Software)}
	c.publishWatchedLocked()
	c.loop = newConnLoop(cfg.Masters, security{cfg.TLS, cfg.Trust}, logger(cfg.Log), c.proto, c.notifyWaiters)
	c.loop.mayBlockThread, c.loop.inside = true, cfg.Inside
	c.proto.lastOwn = balance.LeaseID(rand.Uint64()) & balance.MaxOwnLease
	c.proto.hello.Instance = cfg.instance
	if cfg.instance == 0 {
		c.proto.hello.Instance = newInstance()
	}
	return c, nil
}

// notifyWaiters hands the settled asks their answers.
func (c *Client) notifyWaiters(context.Context) {
	for i, w := range c.proto.toNotify {
		c.proto.toNotify[i] = nil
		w.notify()
	}
	if c.proto.leaderNews && c.onLeaderChange != nil {
		c.onLeaderChange()
	}
}

// newInstance returns a random number that distinguishes this process from others with the same id.
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

// Run keeps a connection until ctx ends. Then it sends a Goodbye, waits up to a second for the master to hang
// up, and returns nil. Call it once.
func (c *Client) Run(ctx context.Context) error { return c.loop.run(ctx) }

// Connected reports whether a master has sent its Welcome and the connection is open.
func (c *Client) Connected() bool { return c.loop.isUp.Load() }

// Problem returns the master's refusal, if a person has to fix it; else nil.
func (c *Client) Problem() error { return c.loop.problemError() }

func (l *connLoop) problemError() error {
	if fail := l.problem.Load(); fail != nil {
		return fail
	}
	return nil
}

// Snapshot returns what is known of a watched pool, or nil before the first snapshot has come. It is built on
// demand if something has changed since the last call, which copies the list of servers. While there is no
// connection nothing changes.
func (c *Client) Snapshot(pool string) *balance.Snapshot {
	p := c.watched.get(pool)
	if p == nil {
		return nil
	}
	if p.state.stale.Load() {
		c.loop.mu.Lock()
		defer c.loop.mu.Unlock()
		return p.snapshot(c.proto.overrides.overrides)
	}
	return p.state.latest.Load()
}

// Queued returns how many Queued frames have come: asks that had to wait in the master's queue.
func (c *Client) Queued() uint64 {
	c.loop.mu.Lock()
	defer c.loop.mu.Unlock()
	return c.proto.queued
}

var waiters = sync.Pool{New: func() any { return &waiter{done: make(chan struct{}, 1)} }}

// Pick asks for a server and waits for the answer. Its error is a *balance.Refusal, or wraps ErrNoMaster, or
// is the context's cause. It waits for a connection only while Run has not yet tried every master once. It
// keeps nothing of req. The lease of a grant is open until Done, or until it expires.
//
// A caller may write or read on behalf of others. It then returns up to 250 ms after its context has ended, or
// up to four seconds with a master that does not read.
func (c *Client) Pick(ctx context.Context, pool string, req *balance.Request) (balance.Grant, error) {
	if ctx.Err() != nil {
		return balance.Grant{}, context.Cause(ctx)
	}
	l := c.loop
	if !l.isUp.Load() && l.started.Load() {
		l.awaitFirstRound(ctx)
	}
	w := waiters.Get().(*waiter)
	seq, conn, err := c.sendAsk(pool, req, w)
	if err != nil {
		waiters.Put(w)
		return balance.Grant{}, err
	}
	if conn == nil || !l.pickerRead(ctx, conn, w.done) {
		if err := c.awaitAnswer(ctx, seq, w); err != nil {
			waiters.Put(w)
			return balance.Grant{}, err
		}
	}
	grant, err := w.grant, w.err
	w.grant, w.err = balance.Grant{}, nil
	waiters.Put(w)
	return grant, err
}

// awaitFirstRound waits until a master has sent its Welcome or every master has been tried once.
func (l *connLoop) awaitFirstRound(ctx context.Context) {
	select {
	case <-l.firstRound:
	case <-ctx.Done():
	}
}

// sendAsk sends an ask. It returns the connection if it is the caller's turn to read the answer; nil: another
// reader has the turn, or the answer is there.
func (c *Client) sendAsk(pool string, req *balance.Request, w *waiter) (seq uint64, conn net.Conn, err error) {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq, err = c.proto.appendAsk(c.askTimeLocked(req), pool, req, w); err != nil {
		return 0, nil, err
	}
	if l.resuming > 0 {
		l.resuming--
	}
	l.writeLocked()
	if c.proto.findAsk(seq) != nil {
		conn = l.takeTurnLocked()
	}
	return seq, conn, nil
}

// askTimeLocked returns the time of an ask if the ask needs it, else zero.
func (c *Client) askTimeLocked(req *balance.Request) balance.Instant {
	if c.proto.needsTime(req) {
		return clock.Now()
	}
	return 0
}

// awaitAnswer waits for the answer. Its error is the context's cause.
func (c *Client) awaitAnswer(ctx context.Context, seq uint64, w *waiter) error {
	canceled := ctx.Done()
	if canceled == nil {
		<-w.done
		return nil
	}
	select {
	case <-w.done:
	case <-canceled:
		if c.cancelAsk(seq) {
			return context.Cause(ctx)
		}
		<-w.done
	}
	return nil
}

func (c *Client) cancelAsk(seq uint64) bool {
	c.loop.mu.Lock()
	defer c.loop.mu.Unlock()
	if !c.proto.cancelAsk(seq) {
		return false
	}
	c.loop.armFlushLocked()
	return true
}

// Done ends a lease. It does not block: the message goes with the next ask, or after 1 ms. If asks have
// followed each other within that for a while and then stop, it goes after 16 ms. Without a connection it is
// kept for the next one, up to maxDones of them; the master ends the leases of all further ones when the grace
// period is over.
func (c *Client) Done(pool string, lease balance.LeaseID, o balance.Outcome) {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.endLeaseLocked(pool, lease, o) {
		l.armFlushLocked()
	}
}

// endLeaseLocked records that a lease is over. It reports whether there was room for the message.
func (c *Client) endLeaseLocked(pool string, lease balance.LeaseID, o balance.Outcome) bool {
	err := c.proto.appendDone(pool, lease, o)
	if err != nil {
		c.loop.closeConnLocked(c.loop.conn, err)
	}
	return err == nil
}

// Owes tells the master whether the server of a lease owes a response now. It does not while the edge waits
// for the client to send or to read: the server's silence then says nothing about it. The state is sent again
// with the lease after a reconnect.
func (c *Client) Owes(lease balance.LeaseID, owes bool) {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.proto.setOwes(clock.Now(), lease, owes) {
		l.armFlushLocked()
	}
}

// Report keeps a server's load metrics, the latest of each server, for the next ask. If no ask comes they are
// sent after 100 ms. It keeps nothing of r.
func (c *Client) Report(pool string, r balance.Report) {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	c.proto.storeReport(clock.Now(), pool, &r)
	if !l.reportsArmed {
		l.reportsArmed = true
		l.reportTimer.Reset(reportDelay)
	}
}
