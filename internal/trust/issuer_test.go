package trust

import (
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// issuer makes an issuer for pools, and a master.
func issuer(t *testing.T, a *Authority, dir string, pools ...string) (*Authority, *Keeper) {
	t.Helper()
	stem := filepath.Join(dir, "issuer-team")
	if err := a.IssueIssuer(Issuer{"team", Bounds{Pools: pools}}, time.Now(), IssuerLife, stem+".crt", stem+".key", false); err != nil {
		t.Fatal(err)
	}
	k := open(t, issue(t, a, dir, Identity{Master, "m1"}))
	i, err := OpenIssuer(stem+".crt", stem+".key")
	if err != nil {
		t.Fatal(err)
	}
	return i, k
}

// forged signs whatever it is told, as one who has stolen an issuer's key could.
func (a *Authority) forged(t *testing.T, who Subject) []*x509.Certificate {
	t.Helper()
	made, err := sign(componentTemplate(who, time.Now(), time.Hour), a)
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{made.cert, a.cert}
}

func TestAnIssuerSignsForAgentsOfItsPoolsAlone(t *testing.T) {
	a, dir := authority(t)
	i, k := issuer(t, a, dir, "web")
	c := k.current.Load()
	for _, x := range []struct {
		what string
		who  Subject
		ok   bool
	}{
		{"an agent of its pool", Subject{Identity{Agent, "r1"}, Bounds{Pools: []string{"web"}}}, true},
		{"an agent of another", Subject{Identity{Agent, "r1"}, Bounds{Pools: []string{"pay"}}}, false},
		{"an agent of all", Subject{Identity{Agent, "r1"}, Bounds{Pools: []string{"*"}}}, false},
		{"an agent of none", Subject{Identity{Agent, "r1"}, Bounds{}}, false},
		{"an edge", Subject{Identity{Edge, "e1"}, Bounds{Pools: []string{"web"}}}, false},
		{"a master", Subject{Identity{Master, "m2"}, Bounds{Pools: []string{"web"}}}, false},
	} {
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
			_, err := c.check(i.forged(t, x.who), usage)
			if want := x.ok && usage == x509.ExtKeyUsageClientAuth; (err == nil) != want {
				t.Errorf("%s for usage %v: got %v", x.what, usage, err)
			}
		}
		f := filepath.Join(t.TempDir(), "x")
		if err := i.Issue(x.who, time.Now(), time.Hour, f+".crt", f+".key"); (err == nil) != x.ok {
			t.Errorf("%s: Issue: got %v", x.what, err)
		}
	}
	// What a peer shows may stand in any order: an authority without bounds in between changes nothing.
	forged := i.forged(t, Subject{Identity{Agent, "r1"}, Bounds{Pools: []string{"pay"}}})
	if _, err := c.check([]*x509.Certificate{forged[0], a.cert, forged[1]}, x509.ExtKeyUsageClientAuth); err == nil {
		t.Error("a chain in another order was taken")
	}
	// It signs no other authority.
	made, err := sign(&x509.Certificate{NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}, i)
	if err != nil {
		t.Fatal(err)
	}
	second := (&Authority{cert: made.cert, key: made.key}).forged(t, Subject{Identity{Agent, "r1"}, Bounds{Pools: []string{"web"}}})
	if _, err := c.check(append(second, i.cert), x509.ExtKeyUsageClientAuth); err == nil {
		t.Error("an authority that an issuer has signed was taken")
	}
}

func TestACertificateOfAnIssuerIsTaken(t *testing.T) {
	a, dir := authority(t)
	i, m := issuer(t, a, dir, "web")
	who := Subject{Identity{Agent, "r1"}, Bounds{Pools: []string{"web"}}}
	ca, _ := AuthorityFiles(dir)
	f := Files{Cert: filepath.Join(dir, "a.crt"), Key: filepath.Join(dir, "a.key"), CA: ca}
	if err := i.Issue(who, time.Now(), time.Hour, f.Cert, f.Key); err != nil {
		t.Fatal(err)
	}
	if got := open(t, f).Identity(); got != who.Identity {
		t.Errorf("got %v", got)
	}
	// Denying the issuer denies all that it has signed.
	list := filepath.Join(dir, "denied")
	if err := os.WriteFile(list, []byte("serial "+serialOf(i.cert)), 0o600); err != nil {
		t.Fatal(err)
	}
	files := m.files
	files.Denied = list
	denying, err := Open(files, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := denying.current.Load().check(i.forged(t, who), x509.ExtKeyUsageClientAuth); err == nil {
		t.Error("the denied issuer's agent was taken")
	}
}

func TestWhenACertificateIsUrgent(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		left, life time.Duration
		want       int
	}{{31 * day, 365 * day, 0}, {29 * day, 365 * day, 1}, {6 * day, 365 * day, 2}, {23 * time.Hour, 365 * day, 3}, {-day, 365 * day, 3},
		{7 * time.Hour, day, 0}, {5 * time.Hour, day, 1}, {2 * time.Hour, day, 2}, {time.Hour, day, 3}} {
		if got := Stage(c.left, c.life); got != c.want {
			t.Errorf("%v left of %v: got %d, want %d", c.left, c.life, got, c.want)
		}
	}
}
