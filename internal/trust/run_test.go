package trust

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/logtest"
)

func TestACertificateThatEndsSoonIsToldOnceAStageAndNewFilesAreTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, dir := authority(t)
		file := func(name string) string { return filepath.Join(dir, name) }
		ca, _ := AuthorityFiles(dir)
		f := Files{Cert: file("m1.crt"), Key: file("m1.key"), CA: ca}
		who := Subject{Identity: Identity{Master, "m1"}}
		if err := a.Issue(who, time.Now(), 16*time.Hour, f.Cert, f.Key); err != nil {
			t.Fatal(err)
		}
		if err := a.IssueIssuer(Issuer{"team", Bounds{Pools: []string{"web"}}}, time.Now(), 16*time.Hour, file("i.crt"), file("i.key"), false); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{f.Key, file("i.key")} {
			if err := os.Chmod(key, 0o604); err != nil {
				t.Fatal(err)
			}
		}
		var kept, issues logtest.Log
		k, err := Open(f, slog.New(slog.NewTextHandler(&kept, nil)))
		if err != nil {
			t.Fatal(err)
		}
		s, err := OpenSigner(file("i.crt"), file("i.key"), k, slog.New(slog.NewTextHandler(&issues, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { _ = k.Run(ctx) })
		wait.Go(func() { _ = s.Run(ctx) })
		expect := func(when string, soon, taken, bad int) {
			t.Helper()
			synctest.Wait()
			for _, c := range []struct {
				log  *logtest.Log
				text string
				want int
			}{{&kept, "every user of this machine may read the key", 1}, {&issues, "every user of this machine may read the key", 1}, {&kept, "the certificate ends soon: ", soon}, {&issues, "the issuer of agents' certificates ends soon", soon},
				{&kept, "new certificate taken up", taken}, {&issues, "new issuer taken up", taken}, {&kept, "the old certificate stays in use", bad}, {&issues, "the old issuer stays in use", bad}} {
				if got := c.log.Count(c.text); got != c.want {
					t.Errorf("%s: %q was told %d times, want %d", when, c.text, got, c.want)
				}
			}
		}
		expect("at first", 0, 0, 0)
		time.Sleep(13 * time.Hour) // of 16: less than a quarter is left
		expect("near the end", 1, 0, 0)
		time.Sleep(90 * time.Minute) // less than an eighth
		expect("nearer", 2, 0, 0)
		for _, c := range []string{f.Cert, file("i.crt")} {
			old, err := ReadCertificate(c)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Renew(old, time.Now(), 16*time.Hour, c, strings.TrimSuffix(c, "crt")+"key"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * lookEvery)
		expect("renewed", 2, 1, 0)
		if left := time.Until(k.current.Load().ends); left < 15*time.Hour || s.Ends() != float64(s.current.Load().cert.NotAfter.Unix()) || time.Until(s.current.Load().cert.NotAfter) < 15*time.Hour {
			t.Errorf("the new ones are not used: %v is left", left)
		}
		for _, c := range []string{f.Cert, file("i.crt")} {
			if err := os.WriteFile(c, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * lookEvery)
		expect("spoilt", 2, 1, 1)
		cancel()
		wait.Wait()
	})
}

func TestASignerKeepsToItsIssuer(t *testing.T) {
	a, dir := authority(t)
	s, _ := signer(t, a, dir, "web")
	if got := s.Pools(); len(got) != 1 || got[0] != "web" || s.Authority() != Fingerprint(a.cert.Raw) {
		t.Errorf("got pools %v, authority %s", got, s.Authority())
	}
	if s.JudgePool("web") != nil || s.JudgePool("pay") == nil {
		t.Errorf("web: %v, pay: %v", s.JudgePool("web"), s.JudgePool("pay"))
	}
	_, r := request(t, dir)
	if _, err := s.Sign(Subject{Identity{Agent, "r1"}, Bounds{Pools: []string{"pay"}}}, r, time.Now(), time.Hour); reasonOf(err) != WrongPool {
		t.Errorf("another pool's agent: got %v", err)
	}
	if err := s.Reload(); err != nil {
		t.Errorf("nothing new: got %v", err)
	}
	before := s.current.Load()
	if err := os.WriteFile(s.cert, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err == nil || s.current.Load() != before {
		t.Errorf("bad files: got %v, and the former issuer must stay", err)
	}
	first, err := r.Mark("r1")
	if err != nil {
		t.Fatal(err)
	}
	again, _ := r.Mark("r1")
	other, _ := r.Mark("r2")
	if first != again || first == other {
		t.Errorf("marks: %s, again %s, of another name %s", first, again, other)
	}
}

// A list used without a Keeper, as for operators, judges issuers too.
func TestADenylistJudgesOwnersAndIssuers(t *testing.T) {
	a, dir := authority(t)
	i, _ := issuer(t, a, dir, "web")
	list, err := ReadDenylist([]byte("agent r2"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		who  Subject
		want Reason
	}{
		{"an agent of its pool", Subject{Identity{Agent, "r1"}, Bounds{Pools: []string{"web"}}}, reasons},
		{"a denied one", Subject{Identity{Agent, "r2"}, Bounds{Pools: []string{"web"}}}, Denied},
		{"an agent of another pool", Subject{Identity{Agent, "r1"}, Bounds{Pools: []string{"pay"}}}, WrongPool},
		{"an operator", Subject{Identity{Operator, "o"}, Bounds{Pools: []string{"web"}}}, WrongRole},
	} {
		chain := append([]*x509.Certificate{}, append(i.forged(t, c.who), a.cert)...)
		if err := list.Judge(chain); reasonOf(err) != c.want || (err == nil) != (c.want == reasons) {
			t.Errorf("%s: got %v, want %v", c.what, err, c.want)
		}
		if !(&Peer{chain: chain}).ByIssuer() || (&Peer{chain: []*x509.Certificate{chain[0], a.cert}}).ByIssuer() || (&Peer{chain: chain[:1]}).ByIssuer() {
			t.Errorf("%s: who has signed is not told", c.what)
		}
	}
}

func TestAnEdgesCertificateIsGoodForItsHeirsAlone(t *testing.T) {
	for _, c := range []struct {
		has, want Identity
		reason    Reason
	}{
		{Identity{Edge, "e1"}, Identity{Edge, "e1" + Heir + "2"}, reasons}, {Identity{Edge, "e1"}, Identity{Edge, "e2" + Heir + "1"}, WrongName},
		{Identity{Agent, "r1"}, Identity{Agent, "r1" + Heir + "2"}, WrongName}, {Identity{Edge, "e1"}, Identity{Edge, ""}, reasons}, {Identity{Agent, "e1"}, Identity{Edge, "e1"}, WrongRole},
	} {
		if err := c.has.Want(c.want.Role, c.want.Name); reasonOf(err) != c.reason || (err == nil) != (c.reason == reasons) {
			t.Errorf("%v as %v: got %v, want %v", c.has, c.want, err, c.reason)
		}
	}
	if err := Refuse(BadToken, "token %d", 7); reasonOf(err) != BadToken || err.Error() != "token 7" {
		t.Errorf("got %v", err)
	}
}

func TestContentsChangeWithWhatAReaderSees(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	var none, c Contents
	if !none.Changed() || none.Changed() {
		t.Error("that no file was looked at is new once")
	}
	for i, step := range []struct {
		do   func() error
		want bool
	}{
		{func() error { return nil }, true}, // it is not there
		{func() error { return nil }, false},
		{func() error { return os.WriteFile(name, nil, 0o600) }, true}, // empty is not gone
		{func() error { return os.WriteFile(name, []byte("x"), 0o600) }, true},
		{func() error { return os.WriteFile(name, []byte("x"), 0o600) }, false},
		{func() error { return os.Remove(name) }, true},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := c.Changed("", name); got != step.want {
			t.Errorf("step %d: got %v, want %v", i, got, step.want)
		}
	}
}

// What cannot be written is told, and leaves what is there.
func TestAFileThatCannotBeWrittenIsTold(t *testing.T) {
	a, dir := authority(t)
	cert, key := filepath.Join(dir, "none", "x.crt"), filepath.Join(dir, "none", "x.key")
	who := Subject{Identity: Identity{Agent, "r1"}}
	if err := a.Issue(who, time.Now(), time.Hour, cert, key); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Issue: got %v", err)
	}
	full := filepath.Join(dir, "full") // a folder that is not empty cannot be replaced by a file
	if err := os.MkdirAll(filepath.Join(full, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{cert, full} {
		if err := WriteAuthority(file, a.cert); err == nil {
			t.Errorf("WriteAuthority %s: no error", file)
		}
		if _, err := OpenKey(file); err == nil {
			t.Errorf("OpenKey %s: no error", file)
		}
		if err := a.Renew(&Certificate{subject: &who}, time.Now(), time.Hour, file, filepath.Join(dir, "y.key")); err == nil {
			t.Errorf("Renew to %s: no error", file)
		}
		if err := a.Renew(&Certificate{subject: &who}, time.Now(), time.Hour, filepath.Join(dir, "y.crt"), file); err == nil {
			t.Errorf("Renew with key to %s: no error", file)
		}
	}
	if left, _ := filepath.Glob(full + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	k, _ := request(t, dir)
	if err := k.Finish(nil, r1.Identity, filepath.Join(dir, "r1.pem")); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("no certificate: got %v", err)
	}
	_, caKey := AuthorityFiles(dir)
	if _, err := readPEM(caKey, "CERTIFICATE"); err == nil || !strings.Contains(err.Error(), "no CERTIFICATE in it") {
		t.Errorf("a key as a certificate: got %v", err)
	}
	old := &Authority{cert: &x509.Certificate{NotAfter: a.cert.NotAfter}, key: a.key}
	if err := old.IssueIssuer(Issuer{Name: "i"}, time.Now(), time.Hour, filepath.Join(dir, "i.crt"), filepath.Join(dir, "i.key"), false); err == nil || !strings.Contains(err.Error(), "earlier release") {
		t.Errorf("an issuer by an authority that may sign none: got %v", err)
	}
}
