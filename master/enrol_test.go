package master

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/internal/audit"
	"github.com/evenkeel-lb/evenkeel/internal/enrol"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// enrolling is a master that signs agents' certificates, for pools web and pay, and what its tests need.
type enrolling struct {
	*rig
	h       *house
	denied  string // the master's list
	audit   string // a file
	book    *enrol.Book
	signer  *trust.Signer
	keeper  *trust.Keeper
	journal journal
}

func newEnrolling(t *testing.T, tweak func(*Config)) *enrolling {
	t.Helper()
	e := &enrolling{h: newHouse(t)}
	e.denied, e.audit = filepath.Join(e.h.dir, "denied"), filepath.Join(e.h.dir, "audit")
	if err := os.WriteFile(e.denied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stem := filepath.Join(e.h.dir, "issuer-m1")
	if err := e.h.ours.IssueIssuer(trust.Issuer{Name: "m1", Bounds: trust.Bounds{Pools: []string{"web", "open"}}}, time.Now(), trust.IssuerLife, stem+".crt", stem+".key", false); err != nil {
		t.Fatal(err)
	}
	f := e.h.issue(e.h.ours, trust.Master, "m1", time.Now(), trust.DefaultLife)
	f.Denied = e.denied
	e.keeper = e.h.keeper(f)
	var err error
	if e.signer, err = trust.OpenSigner(stem+".crt", stem+".key", e.keeper, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	folder, err := enrol.OpenFolder(filepath.Join(e.h.dir, "tokens"))
	if err != nil {
		t.Fatal(err)
	}
	e.book = enrol.NewBook(folder)
	record, err := audit.Open(e.audit, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	cfg := web()
	cfg.Pools = append(cfg.Pools, PoolConfig{Name: "pay"})
	cfg.Trust, cfg.Log, cfg.Inside = e.keeper, e.journal.log(), new(inside.Set)
	cfg.Enrolment = &Enrolment{Signer: e.signer, Tokens: e.book, Audit: record, Life: time.Hour}
	if tweak != nil {
		tweak(&cfg)
	}
	e.rig = start(t, cfg)
	return e
}

// token enters one for pool web.
func (e *enrolling) token(uses int, life time.Duration, addresses ...string) *enrol.Token {
	e.t.Helper()
	token := &enrol.Token{Authority: e.signer.Authority(), Secret: enrol.NewSecret(), Pool: "web", Uses: uses, Ends: time.Now().Add(life)}
	r := enrol.Record{Pool: "web", Ends: token.Ends, Uses: uses}
	for _, a := range addresses {
		r.Addresses = append(r.Addresses, netip.MustParsePrefix(a))
	}
	if err := e.book.Add(context.Background(), enrol.Hash(token.Secret), r); err != nil {
		e.t.Fatal(err)
	}
	return token
}

// applicant is an agent's side of an enrolment.
type applicant struct {
	from    string // its address
	secret  string
	pool    string
	id      string
	address string
	file    string // where its key is
}

func (e *enrolling) applicant(token *enrol.Token) applicant {
	e.h.issued++
	return applicant{from: "127.0.0.1", secret: token.Secret, pool: "web", id: "r1", address: "127.0.0.1:8000", file: filepath.Join(e.h.dir, fmt.Sprint("key-", e.h.issued))}
}

// dialFrom connects from an address of loopback.
func (e *enrolling) dialFrom(from string) net.Conn {
	e.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.DialContext(e.t.Context(), "tcp", e.addr)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// enrol asks for a certificate and returns where it and its key are, or how that was refused.
func (e *enrolling) enrol(n applicant) (trust.Files, error) {
	e.t.Helper()
	key, err := trust.OpenKey(n.file)
	if err != nil {
		e.t.Fatal(err)
	}
	request, err := key.Request()
	if err != nil {
		e.t.Fatal(err)
	}
	secure, _, err := trust.SecureByFingerprint(e.t.Context(), e.dialFrom(n.from), e.signer.Authority(), nil)
	if err != nil {
		e.t.Fatal(err)
	}
	asked := &wire.Enrol{Token: n.secret, Pool: n.pool, ID: n.id, Address: n.address, Request: request}
	if _, err := secure.Write(asked.Append(nil)); err != nil {
		e.t.Fatal(err)
	}
	p := &remotePeer{Conn: secure, t: e.t}
	typ, payload, err := p.next()
	if err != nil {
		e.t.Fatal(err)
	}
	if typ == wire.TFail {
		fail := new(wire.Fail)
		if err := fail.Decode(payload); err != nil {
			e.t.Fatal(err)
		}
		return trust.Files{}, fail
	}
	var answer wire.Enrolled
	if err := answer.Decode(payload); err != nil || typ != wire.TEnrolled {
		e.t.Fatalf("%v: %v", typ, err)
	}
	ca, _ := trust.AuthorityFiles(e.h.dir)
	f := trust.Files{Cert: n.file + ".pem", Key: n.file + ".pem", CA: ca}
	return f, key.Finish(answer.Chain, trust.Identity{Role: trust.Agent, Name: n.id}, f.Cert)
}

// refuses holds a refusal against what it should say.
func (e *enrolling) refuses(n applicant, code wire.Code, says string) {
	e.t.Helper()
	_, err := e.enrol(n)
	if fail, _ := errors.AsType[*wire.Fail](err); fail == nil || fail.Code != code || !strings.Contains(fail.Detail, says) {
		e.t.Errorf("got %v, want %v that says %q", err, code, says)
	}
}

func (e *enrolling) agent(f trust.Files, address string) *client.Agent {
	e.t.Helper()
	k := e.h.keeper(f)
	a, err := client.NewAgent(client.AgentConfig{Masters: []string{e.addr}, Pool: "web", Server: balance.ServerSpec{ID: balance.ServerID(k.Identity().Name), Address: address}, Trust: k})
	if err != nil {
		e.t.Fatal(err)
	}
	runAll(e.t, a.Run)
	return a
}

func TestAnAgentEnrolsAndRegisters(t *testing.T) {
	e := newEnrolling(t, nil)
	n := e.applicant(e.token(1, time.Hour))
	f, err := e.enrol(n)
	if err != nil {
		t.Fatal(err)
	}
	a := e.agent(f, n.address)
	eventually(t, "the server is in the pool", func() bool { return a.Connected() && e.view("r1") != nil })
	entries := e.entries()
	if len(entries) != 1 || entries[0].Action != "enrol" || entries[0].Outcome != audit.Done || entries[0].Target != "web/r1" || entries[0].Actor != "token "+enrol.ID(enrol.Hash(n.secret)) || !strings.Contains(entries[0].Detail, "serial ") {
		t.Errorf("got %+v", entries)
	}
	if text := e.journal.String() + fmt.Sprint(entries); strings.Contains(text, n.secret) {
		t.Error("a log has the secret")
	}
	eventually(t, "its metrics", func() bool {
		return e.enrolment.counts[byToken][enrolDone].Load() == 1 && len(counted(&e.refusals)) == 0
	})
}

// entries reads the audit log.
func (e *enrolling) entries() (all []audit.Entry) {
	e.t.Helper()
	text, err := os.ReadFile(e.audit)
	if err != nil {
		e.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var entry audit.Entry
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			e.t.Fatal(err)
		}
		all = append(all, entry)
	}
	return all
}

func TestATokenUsedFromElsewhereIsRefused(t *testing.T) {
	e := newEnrolling(t, nil)
	n := e.applicant(e.token(1, time.Hour, "127.0.0.1/32"))
	thief := n
	thief.from = "127.0.0.2"
	e.refuses(thief, wire.Forbidden, "comes from 127.0.0.2")
	if got := counted(&e.refusals); got["bad-token"] != 1 || len(got) != 1 {
		t.Errorf("the master counted %v, want one bad-token", got)
	}
	if entries := e.entries(); len(entries) != 1 || entries[0].Outcome != audit.Refused || !strings.HasPrefix(entries[0].From, "127.0.0.2:") {
		t.Errorf("the audit log has %+v", entries)
	}
	if _, err := e.enrol(n); err != nil {
		t.Errorf("the thief has used the token up: %v", err)
	}
}

// A copy of an agent's certificate and key can be used where the token was good, and nowhere else.
func TestACertificateIsGoodFromItsTokensPrefixesAlone(t *testing.T) {
	e := newEnrolling(t, nil)
	n := e.applicant(e.token(1, time.Hour, "127.0.0.1/32"))
	f, err := e.enrol(n)
	if err != nil {
		t.Fatal(err)
	}
	k := e.h.keeper(f)
	for from, want := range map[string]wire.Type{"127.0.0.1": wire.TWelcome, "127.0.0.2": wire.TFail} {
		conn, _, err := k.Secure(t.Context(), e.dialFrom(from))
		if err != nil {
			t.Fatal(err)
		}
		p := &remotePeer{Conn: conn, t: t}
		p.send(&wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: wire.RoleAgent, ID: "r1"})
		typ, payload, err := p.next()
		var fail wire.Fail
		if err != nil || typ != want || typ == wire.TFail && (fail.Decode(payload) != nil || !strings.Contains(fail.Detail, "is good for connections from [127.0.0.1/32]")) {
			t.Errorf("a hello from %s: got %v, %q (%v)", from, typ, fail.Detail, err)
		}
		if conn, err = k.SecureToRenew(t.Context(), e.dialFrom(from)); err != nil {
			t.Fatal(err)
		}
		key, err := trust.OpenKey(n.file + from)
		if err != nil {
			t.Fatal(err)
		}
		request, err := key.Request()
		if err != nil {
			t.Fatal(err)
		}
		p = &remotePeer{Conn: conn, t: t}
		p.send(&wire.Enrol{Pool: "web", ID: "r1", Address: n.address, Request: request})
		if typ, _, err := p.next(); err != nil || (typ == wire.TEnrolled) != (want == wire.TWelcome) {
			t.Errorf("a renewal from %s: got %v (%v)", from, typ, err)
		}
	}
	if got := counted(&e.refusals); got["wrong-address"] != 2 || len(got) != 1 {
		t.Errorf("the master counted %v, want two of wrong-address", got)
	}
}

func TestATokensSecondUseIsRefused(t *testing.T) {
	e := newEnrolling(t, nil)
	token := e.token(1, time.Hour)
	n := e.applicant(token)
	if _, err := e.enrol(n); err != nil {
		t.Fatal(err)
	}
	second := e.applicant(token)
	second.id = "r2"
	e.refuses(second, wire.Forbidden, "used up")
	second.id = "r1"
	e.refuses(second, wire.Forbidden, "used up")
}

// An agent whose answer was lost asks again with the key that it has kept, and who has seen the token but not the key cannot.
func TestAnAgentWhoseAnswerWasLostAsksAgain(t *testing.T) {
	e := newEnrolling(t, nil)
	n := e.applicant(e.token(1, time.Hour))
	copied := n
	copied.file += "-copy"
	if _, err := e.enrol(n); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(n.file + ".pem")
	if err != nil {
		t.Fatal(err)
	}
	key = key[strings.Index(string(key), "-----BEGIN PRIVATE KEY"):]
	if err := os.WriteFile(n.file, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := e.enrol(n); err != nil {
		t.Errorf("the same key and name: %v", err)
	}
	if err := os.WriteFile(n.file, key, 0o600); err != nil {
		t.Fatal(err)
	}
	n.id = "r2"
	e.refuses(n, wire.Forbidden, "used up")
	e.refuses(copied, wire.Forbidden, "used up")
}

func TestATokenOfAnotherPoolIsRefused(t *testing.T) {
	e := newEnrolling(t, nil)
	n := e.applicant(e.token(1, time.Hour))
	n.pool = "pay"
	e.refuses(n, wire.Forbidden, "is for pool web, and the agent wants to join pay")
	// What the certificate says holds later too.
	n.pool = "web"
	f, err := e.enrol(n)
	if err != nil {
		t.Fatal(err)
	}
	a, err := client.NewAgent(client.AgentConfig{Masters: []string{e.addr}, Pool: "pay", Server: balance.ServerSpec{ID: "r1", Address: "127.0.0.1:8000"}, Trust: e.h.keeper(f)})
	if err != nil {
		t.Fatal(err)
	}
	runAll(t, a.Run)
	eventually(t, "the refusal", func() bool { return counted(&e.refusals)["wrong-pool"] > 0 })
}

// Whatever a record says, a master's issuer bounds what it signs, and all others see that.
func TestAnIssuerBoundsATokensPool(t *testing.T) {
	e := newEnrolling(t, nil)
	secret := enrol.NewSecret()
	if err := e.book.Add(t.Context(), enrol.Hash(secret), enrol.Record{Pool: "pay", Ends: time.Now().Add(time.Hour), Uses: 1}); err != nil {
		t.Fatal(err)
	}
	n := e.applicant(&enrol.Token{Secret: secret})
	n.pool = "pay"
	e.refuses(n, wire.Forbidden, "signs for [web open] alone")
}

func TestAnotherAddressIsRefused(t *testing.T) {
	e := newEnrolling(t, nil)
	n := e.applicant(e.token(9, time.Hour))
	for _, c := range []struct{ address, says string }{
		{"192.0.2.7:8000", "and says that its server is at 192.0.2.7"},
		{"other.example:80", "is a name that can lead anywhere"},
		{e.addr, "one of our own components"},
	} {
		if c.address == e.addr {
			e.inside.Add(e.addr)
		}
		n.address = c.address
		e.refuses(n, wire.Forbidden, c.says)
	}
	// The certificate is for that one address, whatever else the token would have allowed.
	n.address = "127.0.0.1:8000"
	f, err := e.enrol(n)
	if err != nil {
		t.Fatal(err)
	}
	var other string
	for _, ip := range localAddresses() {
		other = netip.AddrPortFrom(ip, 8000).String()
	}
	if other == "" {
		t.Skip("this machine has no address but loopback")
	}
	e.agent(f, other)
	eventually(t, "the refusal", func() bool {
		return strings.Contains(e.journal.String(), "is not among the addresses of the certificate")
	})
}

func localAddresses() (all []netip.Addr) {
	list, _ := net.InterfaceAddrs()
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			ip, _ := netip.AddrFromSlice(n.IP.To4())
			all = append(all, ip)
		}
	}
	return all
}

func TestATokenThatHasEndedIsRefused(t *testing.T) {
	e := newEnrolling(t, nil)
	n := e.applicant(e.token(1, -time.Second))
	_, err := e.enrol(n)
	if err == nil || !strings.Contains(err.Error(), "ended at") && !strings.Contains(err.Error(), "unknown") {
		t.Errorf("got %v", err)
	}
	// An etcd or a folder may be late to forget: the record's own time counts.
	r := enrol.Record{Pool: "web", Ends: time.Now().Add(-time.Millisecond), Uses: 1}
	secret := enrol.NewSecret()
	late := enrol.NewBook(lateStore{r})
	if err := late.Use(t.Context(), secret, "m", time.Now(), func(*enrol.Record) error { return nil }); err == nil || !strings.Contains(err.Error(), "ended at") {
		t.Errorf("got %v", err)
	}
}

// lateStore has a record that has ended.
type lateStore struct{ enrol.Record }

func (s lateStore) Add(context.Context, string, []byte, time.Time) error { return nil }
func (s lateStore) Get(context.Context, string) ([]byte, string, error) {
	text, err := json.Marshal(s.Record)
	return text, "1", err
}
func (s lateStore) Names(context.Context) ([]string, error)                    { return nil, nil }
func (s lateStore) Swap(context.Context, string, string, []byte) (bool, error) { return true, nil }

func TestAnUnknownTokenIsRefused(t *testing.T) {
	e := newEnrolling(t, nil)
	n := e.applicant(&enrol.Token{Secret: enrol.NewSecret()})
	e.refuses(n, wire.Forbidden, "is unknown")
	n.secret = ""
	e.refuses(n, wire.Forbidden, "needs a token")
}

// A token is for new agents: who has stolen one does not become an agent that there is.
func TestATokenDoesNotTakeAnothersName(t *testing.T) {
	e := newEnrolling(t, func(c *Config) {
		c.Pools[0].Servers = []balance.ServerSpec{{ID: "filed", Address: "192.0.2.9:80"}, {ID: "here", Address: "127.0.0.1:81"}, {ID: "named", Address: "a.test:80"}}
		c.Pools[0].Agents = []string{"r*", "filed", "here", "named"}
	})
	token := e.token(9, time.Hour)
	n := e.applicant(token)
	f, err := e.enrol(n)
	if err != nil {
		t.Fatal(err)
	}
	a := e.agent(f, n.address)
	eventually(t, "the agent", a.Connected)
	eventually(t, "its server", func() bool { return e.view("r1") != nil })
	thief := e.applicant(token)
	e.refuses(thief, wire.Taken, "has an agent that is connected")
	thief.id = "filed"
	e.refuses(thief, wire.Forbidden, "the masters' file says that server filed is at 192.0.2.9:80")
	thief.id = "named"
	e.refuses(thief, wire.Forbidden, "the masters' file says")
	thief.id = "x"
	e.refuses(thief, wire.Forbidden, "pools.web.agents lists")
	thief.id, thief.address = "here", "127.0.0.1:81"
	if _, err := e.enrol(thief); err != nil {
		t.Errorf("the file's server, from where it is: %v", err)
	}
}

func TestCertificatesAreRenewedButNotThoseOfTheDenied(t *testing.T) {
	e := newEnrolling(t, nil)
	n := e.applicant(e.token(1, time.Hour))
	f, err := e.enrol(n)
	if err != nil {
		t.Fatal(err)
	}
	k := e.h.keeper(f)
	own := &client.Enrolment{Pool: "web", Server: balance.ServerSpec{ID: "r1", Address: n.address}}
	renew := func(k *trust.Keeper) error {
		key, err := trust.OpenKey(n.file)
		if err != nil {
			t.Fatal(err)
		}
		chain, err := own.Again(t.Context(), e.addr, k, key)
		if err != nil {
			return err
		}
		before, _ := trust.ReadCertificate(f.Cert)
		if err := key.Finish(chain, trust.Identity{Role: trust.Agent, Name: "r1"}, f.Cert); err != nil {
			return err
		}
		after, err := trust.ReadCertificate(f.Cert)
		if err != nil || before.Serial == after.Serial || fmt.Sprint(before.Bounds) != fmt.Sprint(after.Bounds) {
			t.Errorf("before %v, after %v (%v)", before, after, err)
		}
		return k.Reload()
	}
	for range 2 {
		if err := renew(k); err != nil {
			t.Fatal(err)
		}
	}
	if entries := e.entries(); len(entries) != 3 || entries[2].Action != "renew" || entries[2].Actor != "agent r1" || entries[2].Proof != audit.ByCertificate {
		t.Errorf("the audit log has %+v", entries)
	}
	// One of the authority itself is for it to renew, and no other's name comes of one.
	if err := renew(e.h.good(trust.Agent, "r1")); err == nil || !strings.Contains(err.Error(), "signed by the authority itself") {
		t.Errorf("got %v", err)
	}
	own.Server.ID = "r2"
	if err := renew(k); err == nil || !strings.Contains(err.Error(), "may not speak as agent r2") {
		t.Errorf("got %v", err)
	}
	own.Server.ID = "r1"
	if err := renew(e.h.good(trust.Edge, "e1")); err == nil || !strings.Contains(err.Error(), "want one for role agent") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(e.denied, []byte("agent r1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.keeper.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := renew(k); err == nil || !strings.Contains(err.Error(), "is denied here") {
		t.Errorf("a denied agent: got %v", err)
	}
	if got := counted(&e.refusals); got["denied"] != 1 {
		t.Errorf("the master counted %v", got)
	}
}

// A connection that is for certificates is bounded as others are, and one that is not gets none.
func TestBadEnrolments(t *testing.T) {
	e := newEnrolling(t, nil)
	good := (&wire.Enrol{Token: "x", Pool: "web", ID: "r1", Address: "127.0.0.1:1", Request: []byte{1, 2, 3}})
	for _, c := range []struct {
		what string
		send []byte
		says string
	}{
		{"a hello", (&wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: wire.RoleAgent, ID: "r1"}).Append(nil), "is for an enrol alone"},
		{"a long one", []byte{0, 0, 1, 0, byte(wire.TEnrol)}, "longer than a hello"},
		{"no request", good.Append(nil), "the certificate request"},
		{"a bad id", (&wire.Enrol{Token: "x", Pool: "web", ID: "r\n1", Address: "127.0.0.1:1"}).Append(nil), "the enrol's id"},
		{"a bad address", (&wire.Enrol{Token: "x", Pool: "web", ID: "r1", Address: "1\r\n"}).Append(nil), "the enrol's address"},
		{"nonsense", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			secure, _, err := trust.SecureByFingerprint(t.Context(), e.dialFrom("127.0.0.1"), e.signer.Authority(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := secure.Write(c.send); err != nil {
				t.Fatal(err)
			}
			typ, payload, err := (&remotePeer{Conn: secure, t: t}).next()
			var fail wire.Fail
			if err != nil || typ != wire.TFail || fail.Decode(payload) != nil || !strings.Contains(fail.Detail, c.says) {
				t.Errorf("got %v, %v, %q; want it to say %q", typ, err, fail.Detail, c.says)
			}
		})
	}
	// A peer that does not say that it wants a certificate is told what it was told before.
	bare := tls.Client(e.dialFrom("127.0.0.1"), &tls.Config{InsecureSkipVerify: true})
	if _, err := bare.Write(good.Append(nil)); err != nil {
		t.Fatal(err)
	}
	typ, payload, err := (&remotePeer{Conn: bare, t: t}).next()
	var fail wire.Fail
	if err != nil || typ != wire.TFail || fail.Decode(payload) != nil || !strings.Contains(fail.Detail, "no certificate was shown") {
		t.Errorf("got %v, %v, %q", typ, err, fail.Detail)
	}
	if n := len(e.entries()); n > 6 {
		t.Errorf("the audit log has %d entries", n)
	}
}

// A rack that starts at once: all get their certificates by one token, those that were told to wait too.
func TestManyAgentsEnrolAtOnce(t *testing.T) {
	e := newEnrolling(t, nil)
	const agents = 100
	token := e.token(agents, time.Hour)
	var all sync.WaitGroup
	failed := make(chan error, agents)
	for i := range agents {
		all.Go(func() {
			key, err := trust.OpenKey(filepath.Join(e.h.dir, fmt.Sprint("many-", i)))
			own := client.Enrolment{Pool: "web", Server: balance.ServerSpec{ID: balance.ServerID(fmt.Sprint("r", i)), Address: "127.0.0.1:8000"}}
			var fail *wire.Fail
			for again := true; again && err == nil; {
				_, _, err = own.ByToken(t.Context(), e.addr, token, key, nil)
				if again = errors.As(err, &fail) && fail.Code == wire.Busy; again {
					err = nil
				}
			}
			failed <- err
		})
	}
	all.Wait()
	for range agents {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	if n := e.enrolment.counts[byToken][enrolDone].Load(); n != agents {
		t.Errorf("%d certificates were signed, want %d", n, agents)
	}
	n := e.applicant(token)
	e.refuses(n, wire.Forbidden, "used up")
}

func TestTheAuthorityIsShownToNewcomersAlone(t *testing.T) {
	e := newEnrolling(t, nil)
	usual := tls.Client(e.dialFrom("127.0.0.1"), &tls.Config{InsecureSkipVerify: true})
	if err := usual.Handshake(); err != nil {
		t.Fatal(err)
	}
	if shown := usual.ConnectionState().PeerCertificates; len(shown) != 1 {
		t.Errorf("%d certificates are shown to all, want the master's own", len(shown))
	}
	var shown []*x509.Certificate
	secure, authority, err := trust.SecureByFingerprint(t.Context(), e.dialFrom("127.0.0.1"), e.signer.Authority(), nil)
	if err == nil {
		shown = secure.ConnectionState().PeerCertificates
	}
	if err != nil || len(shown) != 2 || !shown[1].Equal(authority) {
		t.Errorf("got %d certificates, %v", len(shown), err)
	}
}
