package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/config"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/hint"
	"github.com/evenkeel-lb/evenkeel/internal/probe"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/internal/version"
)

// What check --live finds out beside the file: whether this machine reaches what the file names, with the keys that it
// names, for how long certificates are good, and whether the masters have the pools that routes lead to.

const (
	livePatience = 10 * time.Second // for each server, master and pool
	liveAtOnce   = 128              // servers that are asked at the same time
	mostFindings = 50               // that are printed
)

// finding is what a check of the running system has found.
type finding struct {
	path   string // of the key, as of a problem of the file
	what   string // and why
	cure   string // empty: there is nothing to do
	harmed bool   // requests fail for it, or soon will
}

// liveCheck collects findings. Its methods are safe for concurrent use.
type liveCheck struct {
	s     *settings.Settings
	now   time.Time
	tried map[string]bool // files with certificates that were read

	mu      sync.Mutex
	all     []finding
	reached []string // what was found in order, for people
}

// checkLive makes all checks of a file that has no problem by itself.
func checkLive(ctx context.Context, s *settings.Settings, now time.Time) (all []finding, fine []string) {
	l := &liveCheck{s: s, now: now, tried: make(map[string]bool)}
	for _, f := range s.CertificateFiles() {
		l.checkDates(f)
	}
	l.checkElection(ctx)
	joined := l.checkMasters(ctx)
	l.checkServers(ctx, joined)
	slices.SortStableFunc(l.all, func(a, b finding) int {
		return cmp.Or(cmp.Compare(s.Line(a.path), s.Line(b.path)), cmp.Compare(a.path, b.path), cmp.Compare(a.what, b.what))
	})
	return l.all, l.reached
}

func (l *liveCheck) add(f finding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, f)
}

func (l *liveCheck) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reached = append(l.reached, "  "+fmt.Sprintf(format, args...))
}

// harm adds a finding for which requests fail. cure may be empty if the error knows one.
func (l *liveCheck) harm(path string, cure, what string, args ...any) {
	l.add(finding{path: path, what: fmt.Sprintf(what, args...), cure: cure, harmed: true})
}

// checkDates judges the certificates of a file by their dates.
func (l *liveCheck) checkDates(f settings.CertificateFile) {
	if l.tried[f.Name] {
		return
	}
	l.tried[f.Name] = true
	certs, err := settings.ReadCertificates(f.Name)
	if err != nil {
		l.harm(f.Key, "make the file anew, or name another", "%v", err)
		return
	}
	ours := "renew it"
	if f.Ours {
		ours = "evenkeel certs renew makes another; running processes take it up by themselves"
	}
	l.judgeDates(f.Key, f.Name, ours, certs)
}

// judgeDates adds a finding for the first of some certificates that is not good now, or not for long.
func (l *liveCheck) judgeDates(path, whose, cure string, certs []*x509.Certificate) {
	for _, cert := range certs {
		left := cert.NotAfter.Sub(l.now)
		name := cmp.Or(cert.Subject.CommonName, strings.Join(cert.DNSNames, ", "), "without a name")
		switch stage := trust.Stage(left, cert.NotAfter.Sub(cert.NotBefore)); {
		case left <= 0:
			l.harm(path, cure, "%s: the certificate of %s ended at %s, %s ago", whose, name, cert.NotAfter.UTC().Format(time.RFC3339), trust.Life(-left))
			return
		case l.now.Before(cert.NotBefore):
			l.harm(path, "look at this machine's clock, then at how the certificate was made", "%s: the certificate of %s begins at %s, in %s", whose, name, cert.NotBefore.UTC().Format(time.RFC3339), trust.Life(cert.NotBefore.Sub(l.now)))
			return
		case stage > 0:
			l.add(finding{path, fmt.Sprintf("%s: the certificate of %s ends at %s, in %s", whose, name, cert.NotAfter.UTC().Format(time.RFC3339), trust.Life(left)), cure, stage > 1})
			return
		}
	}
}

// checkElection connects to each etcd that the masters are elected by.
func (l *liveCheck) checkElection(ctx context.Context) {
	m := l.s.Master
	if m == nil || m.Election == nil || m.Election.Etcd == nil {
		return
	}
	for i, at := range m.Election.Etcd.Endpoints {
		_, hostPort := balance.SplitAddress(strings.TrimSuffix(strings.TrimPrefix(at, "http://"), "/"))
		if err := tryPeer(ctx, hostPort, nil); err != nil {
			l.harm(config.Item("master.election.etcd.endpoints", i), cureOf(err, "start etcd there, or mend the address"), "etcd at %s: %s", at, whyNot(err))
		}
	}
}

// joinedServer is a server that a master has told of.
type joinedServer struct {
	pool string
	balance.SnapshotServer
}

// checkMasters tries each master that the file names, and asks those that can be reached for the pools of the routes. It returns
// the servers of these pools.
func (l *liveCheck) checkMasters(ctx context.Context) (joined []joinedServer) {
	if e := l.s.Edge; e != nil && (len(e.Masters) > 0 || l.s.Master == nil && len(l.s.Pools) == 0) {
		keeper, good := l.keeper(trust.Edge, "edge", e.TLS)
		if good {
			if reached := l.tryMasters(ctx, "edge", e.Masters, keeper); len(reached) > 0 {
				joined = l.askPools(ctx, reached, keeper)
			}
		}
	}
	if a := l.s.Agent; a != nil {
		if keeper, good := l.keeper(trust.Agent, "agent", a.TLS); good {
			l.tryMasters(ctx, "agent", a.Masters, keeper)
		}
	}
	return joined
}

// keeper opens the certificate of a part; nil without one.
func (l *liveCheck) keeper(role trust.Role, part string, files settings.TLS) (k *trust.Keeper, good bool) {
	flags := trustFlags{files: files}
	k, err := flags.open(role, slog.New(slog.DiscardHandler))
	if err != nil {
		l.harm(part+".tls", hint.Of(err), "%v", err)
	}
	return k, err == nil
}

// tryMasters connects to masters and proves both sides to each other, as a part of the file does. It returns the addresses of those that
// were good.
func (l *liveCheck) tryMasters(ctx context.Context, part string, named []string, keeper *trust.Keeper) (reached []string) {
	masters := named
	if len(masters) == 0 {
		masters = []string{settings.DefaultWire}
	}
	for i, at := range masters {
		path := part
		if len(named) > 0 {
			path = config.Item(part+".masters", i)
		}
		if err := tryPeer(ctx, at, keeper); err != nil {
			l.harm(path, cureOf(err, "start the master there, or mend the address; evenkeel status on its machine shows where it listens"), "master %s: %s", at, whyNot(err))
			continue
		}
		reached = append(reached, at)
	}
	return reached
}

// tryPeer makes a connection, with a keeper to a master that proves itself, and ends it.
func tryPeer(ctx context.Context, at string, keeper *trust.Keeper) error {
	ctx, cancel := context.WithTimeoutCause(ctx, livePatience, errNoAnswer)
	defer cancel()
	var dialer resolve.Dialer
	conn, err := dialer.DialContext(ctx, "", at)
	if err != nil {
		return timed(ctx, err)
	}
	defer func() { _ = conn.Close() }() // nothing was said
	if keeper == nil {
		return nil
	}
	_, _, err = keeper.Secure(ctx, conn)
	return err
}

// checkSuffix marks the connection of a check: a master takes it for one more process of the edge, and the edge's own goes on.
const checkSuffix = trust.Heir + "check"

// askPools asks masters for the pools to which routes lead, as the edge would, and returns their servers.
func (l *liveCheck) askPools(ctx context.Context, masters []string, keeper *trust.Keeper) (joined []joinedServer) {
	e := l.s.Edge
	id := e.ID
	if keeper != nil {
		id = keeper.Identity().Name
	}
	if id == "" {
		id = settings.HostAndPort("")
	}
	at := strings.Join(masters, ", ")
	m, err := client.NewMasters(client.Config{Masters: masters, ID: balance.EdgeID(strings.ReplaceAll(id, ":", "-") + checkSuffix), Trust: keeper, Pools: e.PoolNames(), Software: "evenkeel check " + version.String()})
	if err != nil {
		l.harm("edge.masters", "", "%v", err)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, livePatience)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = m.Run(ctx) // it ends without an error
	}()
	defer func() { cancel(); <-ended }()
	missing := l.awaitPools(ctx, m)
	for _, pool := range e.PoolNames() {
		path := l.routePath(pool)
		switch snapshot := m.Snapshot(pool); {
		case missing[pool] != "":
			l.harm(path, "name a pool that it has, or add the pool to the masters' file and evenkeel reload", "no master has pool %q: %s", pool, missing[pool])
		case snapshot == nil && m.Problem() != nil:
			l.harm("edge.masters", "", "%v", m.Problem())
			return joined
		case snapshot == nil && !m.Connected():
			l.harm("edge.masters", "look whether it is an address where a master listens for edges (its listen, by default port 7400), and whether it wants certificates: edge.tls", "%s: connected, but no answer of a master within %v", at, livePatience)
			return joined
		case snapshot == nil:
			l.harm(path, "evenkeel status at the master shows how the pool is", "the master at %s has said nothing of pool %q within %v", at, pool, livePatience)
		case len(snapshot.Servers) == 0:
			l.add(finding{path: path, what: fmt.Sprintf("pool %s has no server now, so its requests are refused", pool), cure: "start an agent beside a server, or list servers in the masters' file"})
		default:
			l.say("pool %s: the master has %d %s", pool, len(snapshot.Servers), terminal.Plural(len(snapshot.Servers), "server"))
			for i := range snapshot.Servers {
				joined = append(joined, joinedServer{pool, snapshot.Servers[i]})
			}
		}
	}
	return joined
}

// awaitPools waits until the masters have told of all pools, or ctx ends, and returns what they say of those that none has.
func (l *liveCheck) awaitPools(ctx context.Context, m *client.Masters) (missing map[string]string) {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		missing = m.MissingPools()
		told := !slices.ContainsFunc(l.s.Edge.PoolNames(), func(pool string) bool { return missing[pool] == "" && m.Snapshot(pool) == nil })
		if told || m.Problem() != nil {
			return missing
		}
		select {
		case <-ctx.Done():
			return missing
		case <-again.C:
		}
	}
}

// routePath returns where the first route to a pool names it.
func (l *liveCheck) routePath(pool string) string {
	for i, listener := range l.s.Edge.Listeners {
		for j, r := range listener.Routes {
			if r.Pool == pool {
				return config.Item(config.Item("edge.listeners", i)+".routes", j) + ".pool"
			}
		}
	}
	return "edge"
}

// reach is a server that is to be reached.
type reach struct {
	path, id, pool, address, at string
	check                       probe.Check
	tls                         *tls.Config // nil: plain
}

// checkServers tries each server that the file or a master names, once, as edges and checks of the file do.
func (l *liveCheck) checkServers(ctx context.Context, joined []joinedServer) {
	var all []reach
	seen := make(map[string]bool)
	add := func(r reach) {
		if key := r.pool + " " + r.address; !seen[key] {
			seen[key] = true
			r.tls = l.s.ServerTLS(r.pool, r.address)
			all = append(all, r)
		}
	}
	for _, pool := range l.s.PoolNames() {
		check := l.s.PoolConfig(pool).Health
		for i, server := range l.s.Pools[pool].Servers {
			add(reach{path: config.Item(config.Field("pools", pool)+".servers", i) + ".address", id: string(server.Spec().ID), pool: pool, address: server.Address, check: check})
		}
	}
	for _, s := range joined {
		add(reach{path: l.routePath(s.pool), id: string(s.ID), pool: s.pool, address: s.Address, at: s.At})
	}
	if a := l.s.Agent; a != nil {
		c := l.s.AgentConfig()
		add(reach{path: "agent.address", id: string(c.Server), pool: a.JoinedPools()[0], address: cmp.Or(c.Health.Address, a.Address), check: c.Health.Check})
	}
	places := make(chan struct{}, liveAtOnce)
	var trying sync.WaitGroup
	var good int
	var mu sync.Mutex
	for _, r := range all {
		places <- struct{}{}
		trying.Go(func() {
			defer func() { <-places }()
			if l.try(ctx, &r) {
				mu.Lock()
				defer mu.Unlock()
				good++
			}
		})
	}
	trying.Wait()
	if len(all) > 0 {
		l.say("%d of %d %s can be reached from this machine", good, len(all), terminal.Plural(len(all), "server"))
	}
}

// try reaches one server: a connection, TLS and its certificates, then the pool's check.
func (l *liveCheck) try(ctx context.Context, r *reach) (good bool) {
	bad := func(err error, cure string) bool {
		l.harm(r.path, cureOf(err, cure), "server %s of pool %s at %s: %s", r.id, r.pool, r.address, whyNot(err))
		return false
	}
	own, cancel := context.WithTimeoutCause(ctx, livePatience, errNoAnswer)
	defer cancel()
	_, hostPort := balance.SplitAddress(r.address)
	at, err := r.at, error(nil)
	if at == "" || at == balance.AtEdge {
		if at, err = l.whereIs(own, r, hostPort); err != nil {
			return bad(err, "")
		}
	}
	var dialer resolve.Dialer
	conn, err := dialer.DialContext(own, "", at)
	if err != nil {
		return bad(timed(own, err), "start the server, or mend its address; ss -ltn on its machine shows what listens there")
	}
	defer func() { _ = conn.Close() }() // nothing was asked
	if r.tls != nil {
		if err := l.tryTLS(own, conn, hostPort, r); err != nil {
			return bad(timed(own, err), "openssl s_client -connect "+hostPort+" -showcerts shows what the server sends")
		}
	}
	if r.check.Answers() {
		how := r.check.WithDefaults()
		how.Timeout = max(how.Timeout, livePatience)
		if err := probe.New().Probe(ctx, r.address, r.at, &how); err != nil {
			return bad(err, "the server is up, and does not pass the check that its part health asks for: look at the path, at server_protocol and server_tls, and at the server's log")
		}
	}
	return true
}

// whereIs returns where a server's host:port leads, as the master or the edge would find it.
func (l *liveCheck) whereIs(ctx context.Context, r *reach, hostPort string) (string, error) {
	name, port, named := resolve.Host(hostPort)
	if !named {
		return hostPort, nil
	}
	pool := l.s.Pools[r.pool]
	resolvers := l.s.ResolversOf(&pool)
	if l.s.Edge != nil && len(l.s.Pools) == 0 {
		resolvers = l.s.Edge.Resolvers
	}
	answer := resolve.Lookup(ctx, resolve.NewQuery(name, resolvers))
	if answer.Err != nil {
		return "", &resolve.Unresolved{Why: answer.Err.Error()}
	}
	var known resolve.Name
	known.Take(clock.Now(), answer)
	place, ok := known.One()
	if !ok {
		return "", &resolve.Unresolved{Why: name + " has no address"}
	}
	return place.At(port), nil
}

// tryTLS makes a connection private and judges the dates of what the server shows.
func (l *liveCheck) tryTLS(ctx context.Context, conn net.Conn, hostPort string, r *reach) error {
	cfg := r.tls.Clone()
	if host, _, err := net.SplitHostPort(hostPort); err == nil && cfg.ServerName == "" {
		cfg.ServerName = host
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		return err
	}
	l.judgeDates(r.path, "server "+r.id+" of pool "+r.pool, "renew it at the server", secure.ConnectionState().PeerCertificates)
	return nil
}

// errNoAnswer is why a connection was given up.
var errNoAnswer = fmt.Errorf("no answer within %v", livePatience)

// timed returns why ctx has ended, if it has, else err.
func timed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	return err
}

// whyNot says in words why a peer could not be reached.
func whyNot(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there (connection refused)"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "this machine has no way there (" + err.Error() + ")"
	}
	return err.Error()
}

// cureOf says what to do about an error of the network or of TLS; other is for those of which it knows nothing special.
func cureOf(err error, other string) string {
	if _, is := errors.AsType[*resolve.Unresolved](err); is {
		return "mend the name, or say who resolves it: resolvers; dig shows what a resolver answers"
	}
	if _, is := errors.AsType[x509.UnknownAuthorityError](err); is {
		return "server_tls.ca has to name the authority that has signed the server's certificate"
	}
	if host, is := errors.AsType[x509.HostnameError](err); is {
		return "server_tls.server_name has to be a name that the certificate is for: " + cmp.Or(strings.Join(host.Certificate.DNSNames, ", "), "it has none")
	}
	if invalid, is := errors.AsType[x509.CertificateInvalidError](err); is && invalid.Reason == x509.Expired {
		return "renew the server's certificate; if it is not so old, look at this machine's clock"
	}
	if _, is := errors.AsType[tls.RecordHeaderError](err); is {
		return "the server speaks no TLS: take server_tls or https:// away, or have it speak TLS"
	}
	if _, is := errors.AsType[*trust.Refusal](err); is {
		return "evenkeel certs show FILE shows whose a certificate is and which authority has signed it, at both ends"
	}
	switch {
	case errors.Is(err, errNoAnswer):
		return "a firewall on the way drops packets, or the machine is off: nc -vz HOST PORT from here, and the firewall's log"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "ip route get HOST shows which way this machine takes"
	}
	return other
}
