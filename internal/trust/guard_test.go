package trust

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// write writes a new file into a folder.
func write(t *testing.T, dir, text string) (name string) {
	t.Helper()
	f, err := os.CreateTemp(dir, "list")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// peerOf is a peer as Accept returns it.
func peerOf(t *testing.T, k *Keeper, a *Authority, who Identity, now time.Time, life time.Duration) *Peer {
	t.Helper()
	made, err := sign(componentTemplate(Subject{Identity: who}, now, life), a)
	if err != nil {
		t.Fatal(err)
	}
	return &Peer{Subject: Subject{Identity: who}, Ends: made.cert.NotAfter, chain: append([]*x509.Certificate{made.cert}, a.cert), usage: who.usage()}
}

func TestAPeerThatIsDeniedLaterIsEnded(t *testing.T) {
	a, dir := authority(t)
	f := issue(t, a, dir, Identity{Master, "m1"})
	f.Denied = write(t, dir, "")
	k := open(t, f)
	ended := make(chan string, 10)
	guard := func(name string) (stop func()) {
		peer := peerOf(t, k, a, Identity{Agent, name}, time.Now(), time.Hour)
		return k.Guard(peer, func(err error) {
			if reasonOf(err) != Denied {
				t.Errorf("%s: got %v, want %v", name, err, Denied)
			}
			ended <- name
		})
	}
	defer guard("good")()
	defer guard("bad")()
	guard("gone")()
	if err := os.WriteFile(f.Denied, []byte("agent bad\nagent gone\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.Reload(); err != nil { // calls end before it returns
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Denied, []byte("agent bad\nagent gone # again\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.Reload(); err != nil {
		t.Fatal(err)
	}
	close(ended)
	var got []string
	for name := range ended {
		got = append(got, name)
	}
	if len(got) != 1 || got[0] != "bad" {
		t.Errorf("ended: %v, want the denied one that is still watched, once", got)
	}
}

func TestAPeerWhoseCertificateEndsIsEnded(t *testing.T) {
	a, dir := authority(t)
	k := open(t, issue(t, a, dir, Identity{Master, "m1"}))
	peer := peerOf(t, k, a, Identity{Agent, "r1"}, time.Now(), -time.Second)
	ended := make(chan error, 10)
	defer k.Guard(peer, func(err error) { ended <- err })()
	if err := <-ended; reasonOf(err) != Expired {
		t.Errorf("got %v, want %v", err, Expired)
	}
}

func TestADenylistSaysWhatIsWrongWithIt(t *testing.T) {
	list, err := ReadDenylist([]byte("# of lost keys\n\nagent r1  # since May\nserial 00:1F:2e\nedge  e 1\n"))
	if err != nil || len(list.names) != 2 || !list.names[Identity{Agent, "r1"}] || !list.names[Identity{Edge, "e 1"}] || len(list.serials) != 1 || !list.serials["1f2e"] {
		t.Errorf("got %+v, %v", list, err)
	}
	for text, line := range map[string]string{"agent r1\nagent\n": "line 2: ", "king k\n": "line 1: ", "\n\nserial # none\n": "line 3: "} {
		if _, err := ReadDenylist([]byte(text)); err == nil || err.Error()[:8] != line {
			t.Errorf("%q: got %v, want an error at %s", text, err, line)
		}
	}
	a, _ := authority(t)
	if err := (*Denylist)(nil).Judge([]*x509.Certificate{a.cert}); err != nil {
		t.Errorf("no list: got %v", err)
	}
}

func TestAKeyThatOthersMayReadIsTold(t *testing.T) {
	name := filepath.Join(t.TempDir(), "key")
	for mode, exposed := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o604: true, 0o666: true} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		if got := Exposed(name); (got != "") != exposed {
			t.Errorf("mode %o: got %q, want it told: %v", mode, got, exposed)
		}
	}
	if got := Exposed(name + "-gone"); got != "" {
		t.Errorf("no key: got %q", got)
	}
}
