package trust

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// pipe is a connection within the process, closed at the test's end.
func pipe(t *testing.T) (here, there net.Conn) {
	t.Helper()
	here, there = net.Pipe()
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	return here, there
}

func brief(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func reasonOf(err error) Reason {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Reason
	}
	return reasons
}

// general makes a component whose certificate is good for being connected to, whatever its role, as an authority of an
// operator's own may issue them.
func general(t *testing.T, a *Authority, who Identity) *Keeper {
	t.Helper()
	template := componentTemplate(Subject{Identity: who}, time.Now(), time.Hour)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	made, err := sign(template, a)
	if err != nil {
		t.Fatal(err)
	}
	return keeperOf(a, made)
}

// keeperOf makes a component of a certificate, whatever is in that.
func keeperOf(a *Authority, made *signed) *Keeper {
	k := &Keeper{}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	who, _ := IdentityOf(made.cert) // it may have none
	k.current.Store(&credentials{cert: tls.Certificate{Certificate: [][]byte{made.der}, PrivateKey: made.key}, identity: who, roots: roots, root: a.cert})
	return k
}

// The usage in a certificate does not make its owner a master: the role in its name does. A component that is no master
// is refused by all that look for one, also with a certificate that is good for being connected to.
func TestOnlyAMasterIsTakenForAMaster(t *testing.T) {
	a, dir := authority(t)
	agent := open(t, issue(t, a, dir, Identity{Agent, "r1"}))
	for _, role := range Roles {
		peer := general(t, a, Identity{role, "x"})
		peer.Enrol()
		want := WrongRole
		if role == Master {
			want = reasons
		}
		for what, connect := range map[string]func(context.Context, net.Conn) error{
			"Secure": func(ctx context.Context, conn net.Conn) error {
				_, _, err := agent.Secure(ctx, conn)
				return err
			},
			"SecureToRenew": func(ctx context.Context, conn net.Conn) error {
				_, err := agent.SecureToRenew(ctx, conn)
				return err
			},
			"SecureByFingerprint": func(ctx context.Context, conn net.Conn) error {
				_, _, err := SecureByFingerprint(ctx, conn, Fingerprint(a.cert.Raw), nil)
				return err
			},
		} {
			here, there := pipe(t)
			ctx := brief(t)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _, _ = peer.Accept(ctx, there) // what the peer thinks of it is nothing to this test
				_ = there.Close()
			}()
			err := connect(ctx, here)
			if reasonOf(err) != want || (err == nil) != (role == Master) {
				t.Errorf("%s: to a peer with role %s: got %v, want %v", what, role, err, want)
			}
			_ = here.Close()
			<-ended
		}
		proof, err := peer.SignStatement("drain", []byte("words"))
		if err != nil {
			t.Fatal(err)
		}
		if err := agent.VerifyStatement("drain", []byte("words"), proof, time.Now()); reasonOf(err) != want || (err == nil) != (role == Master) {
			t.Errorf("statement by role %s: got %v, want %v", role, err, want)
		}
	}
}

// An authority that has a master's place in a chain is no master either.
func TestAnAuthorityIsNoMaster(t *testing.T) {
	a, _ := authority(t)
	if _, err := masterBy([]*x509.Certificate{a.cert}, Fingerprint(a.cert.Raw), nil); reasonOf(err) != Unfit {
		t.Errorf("got %v, want %v", err, Unfit)
	}
}

// The fingerprint of a token is of an authority: a master's own certificate, which would prove itself, is none.
func TestAMasterIsNoAuthority(t *testing.T) {
	a, dir := authority(t)
	master := open(t, issue(t, a, dir, Identity{Master, "m1"})).current.Load().cert.Leaf
	if _, err := masterBy([]*x509.Certificate{master, a.cert}, Fingerprint(a.cert.Raw), nil); err != nil {
		t.Errorf("its authority's fingerprint: got %v", err)
	}
	if _, err := masterBy([]*x509.Certificate{master, a.cert}, Fingerprint(master.Raw), nil); reasonOf(err) != UnknownAuthority {
		t.Errorf("its own fingerprint: got %v, want %v", err, UnknownAuthority)
	}
}

// A certificate that names a master but may not be connected to, as one that an authority signed by a rule for clients, is no master's.
func TestAMastersCertificateIsForBeingConnectedTo(t *testing.T) {
	a, dir := authority(t)
	edge := open(t, issue(t, a, dir, Identity{Edge, "e1"}))
	template := componentTemplate(Subject{Identity: Identity{Master, "m1"}}, time.Now(), time.Hour)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	made, err := sign(template, a)
	if err != nil {
		t.Fatal(err)
	}
	peer := keeperOf(a, made)
	proof, err := peer.SignStatement("drain", []byte("words"))
	if err != nil {
		t.Fatal(err)
	}
	if err := edge.VerifyStatement("drain", []byte("words"), proof, time.Now()); reasonOf(err) != WrongRole {
		t.Errorf("its statement: got %v, want %v", err, WrongRole)
	}
	if _, err := masterBy([]*x509.Certificate{made.cert, a.cert}, Fingerprint(a.cert.Raw), nil); reasonOf(err) != WrongRole {
		t.Errorf("by fingerprint: got %v, want %v", err, WrongRole)
	}
	here, there := pipe(t)
	ctx, ended := brief(t), make(chan struct{})
	go func() {
		defer close(ended)
		_, _, _ = peer.Accept(ctx, there) // what the peer thinks of it is nothing to this test
		_ = there.Close()
	}()
	if _, _, err := edge.Secure(ctx, here); reasonOf(err) != WrongRole {
		t.Errorf("its connection: got %v, want %v", err, WrongRole)
	}
	_ = here.Close()
	<-ended
	for _, role := range Roles {
		want := x509.ExtKeyUsageClientAuth
		if role == Master {
			want = x509.ExtKeyUsageServerAuth
		}
		if got := (Identity{role, "x"}).usage(); got != want {
			t.Errorf("role %s: usage %v, want %v", role, got, want)
		}
	}
}

// A peer that is no master is refused for that, also by an agent that wants to renew and to whom it offers nothing.
func TestToRenewAtAPeerThatIsNoMaster(t *testing.T) {
	a, dir := authority(t)
	agent, peer := open(t, issue(t, a, dir, Identity{Agent, "r1"})), general(t, a, Identity{Edge, "e1"})
	here, there := pipe(t)
	ctx, ended := brief(t), make(chan struct{})
	go func() {
		defer close(ended)
		_, _, _ = peer.Accept(ctx, there)
		_ = there.Close()
	}()
	if conn, err := agent.SecureToRenew(ctx, here); conn == nil || reasonOf(err) != WrongRole || IsNoEnrolment(err) {
		t.Errorf("got %v, %v, want %v and the connection for a last word", conn, err, WrongRole)
	}
	_ = here.Close()
	<-ended
}

// A handshake that does not come to its end leaves no connection, and says what it was.
func TestAHandshakeThatDoesNotEnd(t *testing.T) {
	a, dir := authority(t)
	agent := open(t, issue(t, a, dir, Identity{Agent, "r1"}))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithDeadline(t.Context(), time.Now().Add(-time.Hour))
	defer cancelLate()
	for what, c := range map[string]struct {
		ctx   context.Context
		close bool // by the peer
		late  bool
	}{
		"the peer closes":  {brief(t), true, false},
		"the time is over": {late, false, true},
		"it is not wanted": {over, false, false},
	} {
		for _, renews := range []bool{false, true} {
			here, there := pipe(t)
			if c.close {
				_ = there.Close()
			}
			var conn net.Conn
			var peer *Peer
			var err error
			if renews {
				conn, err = agent.SecureToRenew(c.ctx, here)
			} else {
				conn, peer, err = agent.Secure(c.ctx, here)
			}
			if conn != nil || peer != nil || reasonOf(err) != BrokenHandshake || strings.Contains(err.Error(), "no answer in time") != c.late {
				t.Errorf("%s, to renew %v: got %v, %v, %v", what, renews, conn, peer, err)
			}
		}
	}
}

func TestAMasterThatSignsNothingRenewsNothing(t *testing.T) {
	a, dir := authority(t)
	agent := open(t, issue(t, a, dir, Identity{Agent, "r1"}))
	for _, enrols := range []bool{true, false} {
		master := open(t, issue(t, a, dir, Identity{Master, "m1"}))
		if enrols {
			master.Enrol()
		}
		here, there := pipe(t)
		ctx := brief(t)
		asked := make(chan bool, 1)
		go func() {
			conn, peer, err := master.Accept(ctx, there)
			if err != nil || peer.Identity != agent.Identity() {
				t.Errorf("got %v, %v, want agent r1", peer, err)
			}
			asked <- conn != nil && Enrols(conn)
			_ = there.Close()
		}()
		if _, err := agent.SecureToRenew(ctx, here); (err == nil) != enrols || err != nil && !IsNoEnrolment(err) {
			t.Errorf("enrols %v: got %v", enrols, err)
		}
		if got := <-asked; got != enrols {
			t.Errorf("enrols %v: the master takes it for one that wants a certificate: %v", enrols, got)
		}
	}
	if here, _ := pipe(t); Enrols(here) {
		t.Error("a plain connection wants a certificate")
	}
}

// Who connects is judged by its certificate, and is told why it is refused.
func TestWhoConnectsIsJudged(t *testing.T) {
	a, dir := authority(t)
	other, otherDir := authority(t)
	f := issue(t, a, dir, Identity{Master, "m1"})
	f.Denied = write(t, dir, "agent r2\n")
	master := open(t, f)
	pair := func(f Files) *tls.Config {
		p, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{Certificates: []tls.Certificate{p}, InsecureSkipVerify: true}
	}
	made, err := sign(componentTemplate(Subject{Identity: Identity{Agent, "r1"}}, time.Now().Add(-2*time.Hour), time.Hour), a)
	if err != nil {
		t.Fatal(err)
	}
	template := componentTemplate(Subject{Identity: Identity{Agent, "r1"}}, time.Now(), time.Hour)
	template.URIs = nil
	nameless, err := sign(template, a)
	if err != nil {
		t.Fatal(err)
	}
	with := func(s *signed) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{s.der}, PrivateKey: s.key}}, InsecureSkipVerify: true}
	}
	for _, c := range []struct {
		what string
		cfg  *tls.Config // nil: it sends plain text
		want Reason
	}{
		{"an agent", pair(issue(t, a, dir, Identity{Agent, "r1"})), reasons},
		{"a denied agent", pair(issue(t, a, dir, Identity{Agent, "r2"})), Denied},
		{"no certificate", &tls.Config{InsecureSkipVerify: true}, NoCertificate},
		{"another authority's", pair(issue(t, other, otherDir, Identity{Agent, "r1"})), UnknownAuthority},
		{"one that has ended", with(made), Expired},
		{"one without a name", with(nameless), Unfit},
		{"plain text", nil, Plaintext},
	} {
		here, there := pipe(t)
		ctx := brief(t)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if c.cfg == nil {
				_, _ = here.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
				return
			}
			_ = tls.Client(here, c.cfg).HandshakeContext(ctx)
		}()
		conn, peer, err := master.Accept(ctx, there)
		if reasonOf(err) != c.want || (err == nil) != (c.want == reasons) || (peer == nil) != (err != nil) {
			t.Errorf("%s: got %v, %v, want reason %v", c.what, peer, err, c.want)
		}
		if (conn == nil) != (c.want == Plaintext) {
			t.Errorf("%s: the connection for a last word: %v", c.what, conn)
		}
		_ = here.Close()
		_ = there.Close()
		<-ended
	}
}

// A cached chain belongs to one proof: those of two masters in turn are each verified by their own.
func TestStatementsOfTwoMastersInTurn(t *testing.T) {
	a, dir := authority(t)
	m1, m2, e := open(t, issue(t, a, dir, Identity{Master, "m1"})), open(t, issue(t, a, dir, Identity{Master, "m2"})), open(t, issue(t, a, dir, Identity{Edge, "e1"}))
	for i := range 4 {
		by := m1
		if i%2 == 1 {
			by = m2
		}
		proof, err := by.SignStatement("drain", []byte("words"))
		if err != nil {
			t.Fatal(err)
		}
		if err := e.VerifyStatement("drain", []byte("words"), proof, time.Now()); err != nil {
			t.Errorf("statement %d, by %s: %v", i, by.Identity(), err)
		}
	}
}
