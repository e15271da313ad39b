package master

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/audit"
	"github.com/evenkeel-lb/evenkeel/internal/enrol"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// Enrolment is what a master needs to sign agents' certificates. It requires Config.Trust.
type Enrolment struct {
	Signer *trust.Signer
	Tokens *enrol.Book
	Life   time.Duration // of the certificates; zero: 24 h
	Audit  *audit.Log    // nil: nothing is recorded
}

const (
	defaultCertificateLife = 24 * time.Hour
	storeTimeout           = 5 * time.Second // for the tokens' store, for one agent
	maxEnrolling           = 16              // concurrent requests
)

// enrolment is the running state of an Enrolment.
type enrolment struct {
	Enrolment
	slots   chan struct{} // one slot for each request
	denials audit.Denials
	counts  [enrolWays][enrolResults]atomic.Uint64
}

// enrolWay is how an agent authenticates its request, as a metric's label.
type enrolWay uint8

const (
	byToken enrolWay = iota
	byCertificate
	enrolWays
)

var enrolWayNames = [enrolWays]string{byToken: "token", byCertificate: "certificate"}

type enrolResult uint8

const (
	enrolDone enrolResult = iota
	enrolRefused
	enrolFailed
	enrolResults
)

var enrolResultNames = [enrolResults]string{enrolDone: audit.Done, enrolRefused: audit.Refused, enrolFailed: audit.Failed}

func newEnrolment(e *Enrolment, k *trust.Keeper) *enrolment {
	if e == nil {
		return nil
	}
	k.Enrol()
	own := &enrolment{Enrolment: *e, slots: make(chan struct{}, maxEnrolling)}
	if own.Life == 0 {
		own.Life = defaultCertificateLife
	}
	return own
}

// enrolled ends a connection on which an agent got a certificate. It is no failure.
type enrolled struct{ frame []byte }

func (*enrolled) Error() string { return "the agent has its certificate" }

// serveEnrol serves a connection that only requests a certificate. proof is what is wrong with the agent's
// present one; a first request has none.
func (m *Master) serveEnrol(ctx context.Context, c *conn, proof error) error {
	if r, ok := errors.AsType[*trust.Refusal](proof); proof != nil && (!ok || r.Reason != trust.NoCertificate) {
		return proof
	}
	request, err := c.readEnrol(ctx)
	if err != nil {
		return err
	}
	select {
	case m.enrolment.slots <- struct{}{}:
		defer func() { <-m.enrolment.slots }()
	default:
		return &wire.Fail{Code: wire.Busy, Detail: fmt.Sprintf("%d agents are getting certificates here, the most that may at once", maxEnrolling)}
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	way, issued, err := m.signRequest(ctx, c, request)
	m.recordEnrolment(c, request, way, issued, err)
	if err != nil {
		return err
	}
	c.log.Info("certificate signed", "server", request.ID, "by", enrolWayNames[way], "serial", issued.Serial, "ends", issued.Ends)
	return &enrolled{(&wire.Enrolled{Chain: issued.Chain}).Append(nil)}
}

// readEnrol reads the one frame of such a connection.
func (c *conn) readEnrol(ctx context.Context) (*wire.Enrol, error) {
	_ = c.SetReadDeadline(time.Now().Add(c.limits.handshake))
	in := make([]byte, 0, wire.MaxHello)
	for {
		var m wire.Enrol
		size, fail := wire.GreetEnrol(in, &m)
		if fail != nil {
			return nil, fail
		}
		if size > 0 {
			return &m, nil // it keeps in alive
		}
		n, err := c.Read(in[len(in):cap(in)])
		in = in[:len(in)+n]
		switch {
		case n > 0:
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case isTimeout(err):
			return nil, &wire.Fail{Code: wire.BadFrame, Detail: fmt.Sprintf("no enrol within %v", c.limits.handshake)}
		case err != nil:
			return nil, fmt.Errorf("before an enrol: %w", err)
		}
	}
}

// signRequest judges a request and signs.
func (m *Master) signRequest(ctx context.Context, c *conn, r *wire.Enrol) (way enrolWay, issued *trust.Issued, err error) {
	if way = byCertificate; r.Token != "" {
		way = byToken
	}
	for _, name := range []struct{ what, problem string }{{"id", balance.BadName(r.ID)}, {"pool", balance.BadName(r.Pool)}, {"address", balance.BadAddress(r.Address)}} {
		if name.problem != "" {
			return way, nil, &wire.Fail{Code: wire.BadRegister, Detail: "the enrol's " + name.what + ": " + name.problem}
		}
	}
	key, err := trust.ReadRequest(r.Request)
	if err != nil {
		return way, nil, err
	}
	if way == byToken {
		issued, err = m.signByToken(ctx, c, r, key)
	} else {
		issued, err = m.signRenewal(c.identity, c.origin.IP, r, key)
	}
	return way, issued, err
}

// signRenewal signs another certificate like the agent's present one.
func (m *Master) signRenewal(who *trust.Peer, from netip.Addr, r *wire.Enrol, key *trust.Request) (*trust.Issued, error) {
	if who == nil {
		return nil, &trust.Refusal{Reason: trust.NoCertificate, Detail: "an agent without a certificate needs a token: evenkeel certs token makes one"}
	}
	if err := who.Want(trust.Agent, r.ID); err != nil {
		return nil, err
	}
	if err := who.JudgeOrigin(from); err != nil {
		return nil, err
	}
	if !who.ByIssuer() {
		return nil, trust.Refuse(trust.Unfit, "the certificate of %s was signed by the authority itself, so a master does not renew it: evenkeel certs renew does, where ca.key is", who.Identity)
	}
	for _, pool := range who.Pools {
		p := m.poolNamed(pool)
		if p == nil {
			continue // it may be opened while the certificate is valid
		}
		rules, file := p.accessFor(balance.ServerID(r.ID))
		if err := rules.checkAgent(pool, r.ID, who, file != nil); err != nil {
			return nil, err
		}
	}
	return m.enrolment.Signer.Sign(who.Subject, key, time.Now(), m.enrolment.Life)
}

// signByToken signs a first certificate. What can be judged without the token's record is judged first; a use
// is counted last.
func (m *Master) signByToken(ctx context.Context, c *conn, r *wire.Enrol, key *trust.Request) (*trust.Issued, error) {
	mark, err := key.Mark(r.ID)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var who trust.Subject
	err = m.enrolment.Tokens.Use(ctx, r.Token, mark, now, func(record *enrol.Record) error {
		if err := record.Judge(enrol.Hash(r.Token), r.Pool, c.origin.IP); err != nil {
			return err
		}
		who = trust.Subject{Identity: trust.Identity{Role: trust.Agent, Name: r.ID}, Bounds: trust.Bounds{Pools: []string{r.Pool}, Addresses: record.Addresses}}
		if err := m.enrolment.Signer.Judge(who, now); err != nil {
			return err
		}
		return m.judgeNewcomer(who, r, c.origin)
	})
	if errors.Is(err, enrol.ErrBusy) {
		return nil, &wire.Fail{Code: wire.Busy, Detail: err.Error()}
	}
	if err != nil {
		return nil, err
	}
	who.Addresses, who.From = boundsOf(r.Address), who.Addresses
	return m.enrolment.Signer.Sign(who, key, now, m.enrolment.Life)
}

// judgeNewcomer refuses an agent that could not register its server with the requested certificate, or that
// would take another's name. who has the token's bounds.
func (m *Master) judgeNewcomer(who trust.Subject, r *wire.Enrol, from inside.Origin) error {
	m.poolsMu.Lock()
	p, may := m.poolNamed(r.Pool), m.mayOpenLocked(r.Pool)
	m.poolsMu.Unlock()
	if !may {
		return &wire.Fail{Code: wire.Unknown, Detail: fmt.Sprintf("no pool %q here: name it in the master's file", clip(r.Pool))}
	}
	if p == nil { // its registration will open it
		return new(access).checkAddress(r.Pool, r.Address, &trust.Peer{Subject: who}, from, m.inside)
	}
	rules, file := p.accessFor(balance.ServerID(r.ID))
	peer := &trust.Peer{Subject: who}
	if err := rules.checkAgent(r.Pool, r.ID, peer, file != nil); err != nil {
		return err
	}
	if m.peers.agentOf(r.Pool, balance.ServerID(r.ID)) != nil {
		return &wire.Fail{Code: wire.Taken, Detail: fmt.Sprintf("server %s of pool %s has an agent that is connected: a token is for new ones", r.ID, r.Pool)}
	}
	if file != nil && !connectsFrom(file.Address, from) {
		return trust.Refuse(trust.WrongAddress, "the masters' file says that server %s is at %s, and this agent comes from %s: evenkeel certs issue makes a certificate for it", r.ID, file.Address, from)
	}
	return rules.checkAddress(r.Pool, r.Address, peer, from, m.inside)
}

// accessFor returns the pool's access rules, and what the file says about one server; nil: nothing.
func (p *pool) accessFor(id balance.ServerID) (*access, *balance.ServerSpec) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.access.Load(), p.declared.file[id]
}

// connectsFrom reports whether an agent connects from its server's address. From loopback this is true for all
// addresses of this machine.
func connectsFrom(address string, from inside.Origin) bool {
	_, hostPort := balance.SplitAddress(address)
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "localhost":
		return from.Near
	case err != nil:
		return false // a name can resolve to anything
	case from.Near:
		return ip.IsLoopback() || ip.IsUnspecified() || inside.IsOurs(ip)
	}
	return ip.Unmap().WithZone("") == from.IP
}

// boundsOf returns where the server of an agent with that address may be, for its certificate: at that address
// only. For a name there is no bound; the pool's addresses decide.
func boundsOf(address string) []netip.Prefix {
	_, hostPort := balance.SplitAddress(address)
	host, _, _ := net.SplitHostPort(hostPort)
	ip, err := netip.ParseAddr(host)
	switch ip = ip.Unmap().WithZone(""); {
	case host == "localhost", err == nil && (ip.IsLoopback() || ip.IsUnspecified()):
		return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	case err != nil:
		return nil
	}
	return []netip.Prefix{netip.PrefixFrom(ip, ip.BitLen())}
}

// recordEnrolment counts the outcome of a request and records it in the audit log.
func (m *Master) recordEnrolment(c *conn, r *wire.Enrol, way enrolWay, issued *trust.Issued, err error) {
	e := audit.Entry{Proof: audit.ByCertificate, From: c.remote, Action: "renew", Target: clip(r.Pool) + "/" + clip(r.ID), Outcome: audit.Done}
	if c.identity != nil {
		e.Actor = c.identity.Identity.String()
	}
	if way == byToken {
		e.Actor, e.Proof, e.Action = "token "+enrol.ID(enrol.Hash(r.Token)), audit.ByToken, "enrol"
	}
	result := enrolDone
	if err == nil {
		e.Detail = fmt.Sprintf("serial %s, until %s", issued.Serial, issued.Ends.Format(time.RFC3339))
	} else {
		result, e.Outcome, e.Detail = enrolFailed, audit.Failed, err.Error()
		var fail *wire.Fail
		if _, refused := errors.AsType[*trust.Refusal](err); refused || errors.As(err, &fail) {
			result, e.Outcome = enrolRefused, audit.Refused
		}
		e.Target = strings.ToValidUTF8(e.Target, "\uFFFD")
		more, now := m.enrolment.denials.Take(time.Now())
		if !now {
			m.enrolment.counts[way][result].Add(1)
			return
		}
		if more > 0 {
			e.Detail += fmt.Sprintf("; %d more were refused since the last such entry", more)
		}
	}
	m.enrolment.counts[way][result].Add(1)
	m.enrolment.Audit.Record(e)
}
