package trust

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func authority(t *testing.T) (*Authority, string) {
	t.Helper()
	dir := t.TempDir()
	a, err := NewAuthority(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a, dir
}

// issue makes a certificate in the authority's folder and returns its files.
func issue(t *testing.T, a *Authority, dir string, who Identity) Files {
	t.Helper()
	stem := filepath.Join(dir, string(who.Role)+"-"+filepath.Base(t.TempDir()))
	ca, _ := AuthorityFiles(dir)
	f := Files{Cert: stem + ".crt", Key: stem + ".key", CA: ca}
	if err := a.Issue(Subject{Identity: who}, time.Now(), DefaultLife, f.Cert, f.Key); err != nil {
		t.Fatal(err)
	}
	return f
}

func open(t *testing.T, f Files) *Keeper {
	t.Helper()
	k, err := Open(f, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeysAreTheOwnersAlone(t *testing.T) {
	a, dir := authority(t)
	f := issue(t, a, dir, Identity{Agent, "r1"})
	_, caKey := AuthorityFiles(dir)
	for _, key := range []string{caKey, f.Key} {
		if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got mode %v (%v), want 0600", key, info.Mode().Perm(), err)
		}
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	a, dir := authority(t)
	f := issue(t, a, dir, Identity{Agent, "r1"})
	before, _ := os.ReadFile(f.Key)
	if err := a.Issue(Subject{Identity: Identity{Agent, "r2"}}, time.Now(), DefaultLife, f.Cert, f.Key); err == nil || !strings.Contains(err.Error(), "exists: move it away") {
		t.Errorf("issue over files: got %v", err)
	}
	if _, err := NewAuthority(dir, time.Now()); err == nil {
		t.Error("a second authority was made over the first")
	}
	if after, _ := os.ReadFile(f.Key); string(after) != string(before) {
		t.Error("the key was overwritten")
	}
}

func TestIdentities(t *testing.T) {
	for _, name := range []string{"r1", "host:8000", "10.0.0.5:8000", "ä/b c?#%", "[::1]:80"} {
		a, dir := authority(t)
		if got := open(t, issue(t, a, dir, Identity{Agent, name})).Identity(); got != (Identity{Agent, name}) {
			t.Errorf("got %v, want agent %s", got, name)
		}
	}
	for _, uris := range [][]string{nil, {"spiffe://x/agent/r1"}, {"evenkeel://agent"}, {"evenkeel://agent/"}, {"evenkeel://king/k"}, {"evenkeel://agent/a", "evenkeel://agent/b"}} {
		cert := &x509.Certificate{}
		for _, text := range uris {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			cert.URIs = append(cert.URIs, u)
		}
		if got, err := IdentityOf(cert); err == nil {
			t.Errorf("%q: got %v, want an error", uris, got)
		}
	}
}

func TestAnAuthorityOutlivesWhatItSigns(t *testing.T) {
	a, dir := authority(t)
	if err := a.Issue(Subject{Identity: Identity{Edge, "e"}}, time.Now(), AuthorityLife+time.Hour, filepath.Join(dir, "x.crt"), filepath.Join(dir, "x.key")); err == nil {
		t.Error("got no error")
	}
}

// move puts the files of one certificate in the place of another's.
func move(t *testing.T, from, to Files) {
	t.Helper()
	for _, m := range [][2]string{{from.Cert, to.Cert}, {from.Key, to.Key}} {
		text, err := os.ReadFile(m[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(m[1], text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewFilesAreTakenUpAndBadOnesAreNot(t *testing.T) {
	a, dir := authority(t)
	other, otherDir := authority(t)
	f := issue(t, a, dir, Identity{Edge, "e1"})
	k := open(t, f)
	serial := func() string { return k.current.Load().cert.Leaf.SerialNumber.String() }
	first := serial()
	if changed, err := k.take(); changed || err != nil {
		t.Errorf("nothing new: got %v, %v", changed, err)
	}
	for _, c := range []struct {
		what  string
		spoil func()
		says  string
	}{
		{"no PEM", func() { os.WriteFile(f.Cert, []byte("x"), 0o600) }, "failed to find any PEM data"},
		{"another's key", func() {
			move(t, issue(t, a, dir, Identity{Edge, "e1"}), Files{Cert: f.Cert, Key: filepath.Join(dir, "elsewhere")})
		}, "private key does not match"},
		{"another authority", func() { move(t, issue(t, other, otherDir, Identity{Edge, "e1"}), f) }, "authority that is not trusted"},
		{"another name", func() { move(t, issue(t, a, dir, Identity{Edge, "e2"}), f) }, "is for edge e2 now"},
		{"gone", func() { os.Remove(f.Key) }, "no such file"},
	} {
		c.spoil()
		if err := k.Reload(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want it to say %q", c.what, err, c.says)
		}
		if serial() != first {
			t.Errorf("%s: the certificate was taken up", c.what)
		}
	}
	move(t, issue(t, a, dir, Identity{Edge, "e1"}), f)
	if err := k.Reload(); err != nil || serial() == first {
		t.Errorf("good files: got %v, and they were not taken up", err)
	}
}

func TestMeeting(t *testing.T) {
	a, dir := authority(t)
	m, e := open(t, issue(t, a, dir, Identity{Master, "m1"})), open(t, issue(t, a, dir, Identity{Edge, "e1"}))
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	met := make(chan Identity, 1)
	go func() {
		_, who, err := m.Accept(ctx, there)
		if err != nil {
			t.Error(err)
		}
		met <- who.Identity
	}()
	if _, _, err := e.Secure(ctx, here); err != nil {
		t.Fatal(err)
	}
	if who := <-met; who != (Identity{Edge, "e1"}) {
		t.Errorf("got %v, want edge e1", who)
	}
}

func TestTally(t *testing.T) {
	var tally Tally
	tally.Add(errors.New("something else"))
	tally.Add((Identity{Edge, "e1"}).Want(Edge, "e2"))
	tally.Add((Identity{Edge, "e1"}).Want(Agent, "e1"))
	got := make(map[string]uint64)
	tally.Each(func(reason string, n uint64) {
		if n > 0 {
			got[reason] = n
		}
	})
	if len(got) != 2 || got["wrong-name"] != 1 || got["wrong-role"] != 1 {
		t.Errorf("got %v, want one wrong-name and one wrong-role", got)
	}
}
