package trust

import (
	"crypto/x509"
	"errors"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var wide = Bounds{Pools: []string{"web", "pay"}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, From: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")}}

func sameBounds(a, b Bounds) bool {
	return slices.Equal(a.Pools, b.Pools) && slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.From, b.From)
}

func TestACertificateIsReadAsItWasMade(t *testing.T) {
	a, dir := authority(t)
	who := Subject{Identity{Agent, "r1"}, wide}
	cert, key := filepath.Join(dir, "r1.crt"), filepath.Join(dir, "r1.key")
	if err := a.Issue(who, time.Now(), 48*time.Hour, cert, key); err != nil {
		t.Fatal(err)
	}
	c, err := ReadCertificate(cert)
	if err != nil {
		t.Fatal(err)
	}
	if c.Owner != "agent r1" || !sameBounds(c.Bounds, wide) || c.Life != 48*time.Hour || c.HasKey || c.By != a.cert.Subject.CommonName || len(c.Fingerprint) != 64 || c.subject == nil || c.issuer != nil {
		t.Errorf("got %+v", c)
	}
	both := filepath.Join(dir, "both.pem")
	one, _ := os.ReadFile(cert)
	two, _ := os.ReadFile(key)
	if err := os.WriteFile(both, append(one, two...), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := ReadCertificate(both); err != nil || !c.HasKey {
		t.Errorf("with its key: got %+v, %v", c, err)
	}
	ca, caKey := AuthorityFiles(dir)
	if c, err := ReadCertificate(ca); err != nil || c.subject != nil || c.issuer != nil || c.Owner != a.cert.Subject.CommonName {
		t.Errorf("an authority's: got %+v, %v", c, err)
	}
	for what, file := range map[string]string{"a key": caKey, "no file": filepath.Join(dir, "none")} {
		if _, err := ReadCertificate(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: got %v, want an error with the file", what, err)
		}
	}
}

func TestARenewedCertificateIsForTheSameOwner(t *testing.T) {
	a, dir := authority(t)
	issuer(t, a, dir, "web", "pay")
	cert, key := filepath.Join(dir, "r1.crt"), filepath.Join(dir, "r1.key")
	if err := a.Issue(Subject{Identity{Agent, "r1"}, wide}, time.Now(), time.Hour, cert, key); err != nil {
		t.Fatal(err)
	}
	stem := filepath.Join(dir, "issuer-team")
	for _, f := range [][2]string{{cert, key}, {stem + ".crt", stem + ".key"}} {
		old, err := ReadCertificate(f[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Renew(old, time.Now(), 3*time.Hour, f[0], f[1]); err != nil {
			t.Fatal(err)
		}
		now, err := ReadCertificate(f[0])
		if err != nil || now.Owner != old.Owner || !sameBounds(now.Bounds, old.Bounds) || now.Serial == old.Serial || now.Life != 3*time.Hour || (now.issuer == nil) != (old.issuer == nil) {
			t.Errorf("%s: got %+v, %v, in the place of %+v", f[0], now, err, old)
		}
		if _, err := openAuthority(f[0], f[1]); err != nil {
			t.Errorf("the key does not fit: %v", err)
		}
		for file, mode := range map[string]os.FileMode{f[0]: 0o644, f[1]: 0o600} {
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: got %v (%v), want %o", file, info.Mode(), err, mode)
			}
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.crt.*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	ca, caKey := AuthorityFiles(dir)
	own, err := ReadCertificate(ca)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Renew(own, time.Now(), time.Hour, ca, caKey); err == nil || !strings.Contains(err.Error(), "cannot be renewed") {
		t.Errorf("an authority's own: got %v", err)
	}
	old, err := ReadCertificate(cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Renew(old, time.Now(), 2*AuthorityLife, cert, key); err == nil {
		t.Error("a certificate was renewed beyond the end of its authority")
	}
	if again, err := ReadCertificate(cert); err != nil || again.Serial != old.Serial {
		t.Errorf("a renewal that failed has changed the file: %+v, %v", again, err)
	}
}

func TestAnAuthorityIsOpenedWithItsOwnKeyAlone(t *testing.T) {
	a, dir := authority(t)
	_, otherDir := authority(t)
	cert, key := AuthorityFiles(dir)
	_, otherKey := AuthorityFiles(otherDir)
	if again, err := OpenAuthority(dir); err != nil || !again.cert.Equal(a.cert) {
		t.Errorf("got %v, %v", again, err)
	}
	for what, f := range map[string][2]string{"another's key": {cert, otherKey}, "the key twice": {key, key}, "the certificate twice": {cert, cert}, "no key": {cert, key + "-gone"}} {
		if _, err := openAuthority(f[0], f[1]); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if _, err := OpenIssuer(cert, key); err == nil || !strings.Contains(err.Error(), "no issuer's certificate") {
		t.Errorf("an authority as an issuer: got %v", err)
	}
	if err := (existsError("x")); !errors.Is(err, os.ErrExist) || errors.Is(err, os.ErrNotExist) {
		t.Error("a file in the way is no fs.ErrExist")
	}
}

func TestWhatACertificateIsBoundToHolds(t *testing.T) {
	peer := &Peer{Subject: Subject{Identity{Agent, "r1"}, wide}}
	unbound := &Peer{Subject: Subject{Identity: Identity{Agent, "r1"}}}
	for _, c := range []struct {
		peer *Peer
		from string // empty: a unix socket
		ok   bool
	}{{peer, "10.1.2.3", true}, {peer, "fd00::1", true}, {peer, "10.2.0.1", false}, {peer, "", false}, {unbound, "10.2.0.1", true}, {unbound, "", true}, {nil, "10.2.0.1", true}} {
		var from netip.Addr
		if c.from != "" {
			from = netip.MustParseAddr(c.from)
		}
		if err := c.peer.JudgeOrigin(from); (err == nil) != c.ok || err != nil && reasonOf(err) != WrongAddress {
			t.Errorf("from %q: got %v, want it good: %v", c.from, err, c.ok)
		}
	}
	for pool, ok := range map[string]bool{"web": true, "other": false} {
		if got := peer.AllowsPool(pool); got != ok {
			t.Errorf("pool %s: got %v, want %v", pool, got, ok)
		}
		if any := (&Bounds{Pools: []string{AnyPool}}); !any.AllowsPool(pool) || !unbound.AllowsPool(pool) {
			t.Errorf("pool %s is not allowed to one that may speak in all", pool)
		}
	}
}

// A restriction that this release does not understand may not be overlooked.
func TestBoundsThatAreNotUnderstoodRefuse(t *testing.T) {
	for _, query := range []string{"until=noon", "address=10.0.0.0", "from=x&pool=web", "pool=%zz"} {
		u := &url.URL{Scheme: scheme, Host: "agent", Path: "/r1", RawQuery: query}
		if got, err := SubjectOf(&x509.Certificate{URIs: []*url.URL{u}}); err == nil {
			t.Errorf("%s: got %+v, want an error", query, got)
		}
		u.Scheme = issuerScheme
		i, ok := issuerOf(&x509.Certificate{URIs: []*url.URL{u}})
		if !ok || i.judge(Subject{Identity{Agent, "r1"}, Bounds{Pools: []string{"web"}}}) == nil {
			t.Errorf("%s: an issuer with it signs: %+v, %v", query, i, ok)
		}
	}
}

func TestLivesForPeople(t *testing.T) {
	const day = 24 * time.Hour
	for life, want := range map[time.Duration]string{365 * day: "365 days", 2 * day: "2 days", 49 * time.Hour: "49 h", 10*day + 5*time.Hour: "10 days", 10*day - time.Hour: "239 h", day: "24 h", 90 * time.Second: "1m30s"} {
		if got := Life(life); got != want {
			t.Errorf("%v: got %s, want %s", life, got, want)
		}
	}
	var none *Keeper
	if none.Ends() != 0 || (*Signer)(nil).Ends() != 0 {
		t.Error("no certificate has an end")
	}
	a, dir := authority(t)
	k := open(t, issue(t, a, dir, Identity{Edge, "e1"}))
	life, ends := k.Life()
	if life != DefaultLife || k.Ends() != float64(ends.Unix()) || k.Ends() == 0 {
		t.Errorf("got %v, %v, %v", life, ends, k.Ends())
	}
}
