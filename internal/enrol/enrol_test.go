package enrol

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

func TestNoVerbShowsATokensSecret(t *testing.T) {
	token := Token{Authority: "ab", Secret: NewSecret(), Pool: "web", Ends: time.Now().Add(time.Hour), Uses: 1}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, x := range []any{token, &token, []Token{token}} {
			if text := fmt.Sprintf(verb, x); strings.Contains(text, token.Secret) {
				t.Errorf("%s of %T shows the secret", verb, x)
			}
		}
	}
	text, err := token.Text()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseToken(text + "\n")
	if err != nil || back.Secret != token.Secret || back.Pool != "web" {
		t.Errorf("got %v (%v)", back, err)
	}
	for _, bad := range []string{"", "ek_" + token.Secret, text[:len(text)-9], tokenMark + "e30"} {
		if _, err := ParseToken(bad); err == nil || strings.Contains(err.Error(), token.Secret) || len(bad) > 20 && strings.Contains(err.Error(), bad[15:]) {
			t.Errorf("a bad token: got %v", err)
		}
	}
}

// stores are all Stores of this package, and for each a second view of what is kept, as another process has.
func stores(t *testing.T) map[string][2]Store {
	dir := filepath.Join(t.TempDir(), "tokens")
	a, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	return map[string][2]Store{"memory": {m, m}, "folder": {a, b}}
}

func fine(*Record) error { return nil }

func refused(t *testing.T, err error, says string) {
	t.Helper()
	if r, _ := err.(*trust.Refusal); r == nil || r.Reason != trust.BadToken || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v, want a refusal that says %q", err, says)
	}
}

func TestATokenIsGoodForItsUsesAndNoMore(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			ctx, now, secret := t.Context(), time.Now(), NewSecret()
			books := []*Book{NewBook(s[0]), NewBook(s[1])}
			const uses, agents = 5, 40
			if err := books[0].Add(ctx, Hash(secret), Record{Pool: "web", Ends: now.Add(time.Hour), Uses: uses}); err != nil {
				t.Fatal(err)
			}
			if err := books[1].Add(ctx, Hash(secret), Record{Pool: "web", Ends: now.Add(time.Hour), Uses: uses}); err == nil && name == "folder" {
				t.Error("one token was added twice")
			}
			var all sync.WaitGroup
			var mu sync.Mutex
			var good []string
			for i := range agents {
				all.Go(func() {
					mark := fmt.Sprint(i)
					for {
						err := books[i%2].Use(ctx, secret, mark, now, fine)
						if errors.Is(err, ErrBusy) {
							continue // it is told to try again
						}
						if err == nil {
							mu.Lock()
							good = append(good, mark)
							mu.Unlock()
						}
						return
					}
				})
			}
			all.Wait()
			if len(good) != uses {
				t.Fatalf("%d agents used a token for %d", len(good), uses)
			}
			refused(t, books[0].Use(ctx, secret, "one more", now, fine), "used up")
			if err := books[1].Use(ctx, secret, good[0], now, fine); err != nil {
				t.Errorf("one that asks again as its answer was lost: got %v", err)
			}
			refused(t, books[0].Use(ctx, secret, good[0], now.Add(time.Hour), fine), "ended")
			refused(t, books[0].Use(ctx, NewSecret(), "x", now, fine), "unknown")
		})
	}
}

func TestATokenIsTakenBack(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			ctx, now, secret, kept := t.Context(), time.Now(), NewSecret(), NewSecret()
			here, there := NewBook(s[0]), NewBook(s[1])
			for _, secret := range []string{secret, kept} {
				if err := here.Add(ctx, Hash(secret), Record{Pool: "web", Ends: now.Add(time.Hour), Uses: 2}); err != nil {
					t.Fatal(err)
				}
			}
			if err := here.Use(ctx, secret, "m", now, fine); err != nil {
				t.Fatal(err)
			}
			if r, done, err := there.Revoke(ctx, ID(Hash(secret)), now); !done || err != nil || r.Pool != "web" {
				t.Errorf("got %v, %v, %v", r, done, err)
			}
			refused(t, here.Use(ctx, secret, "n", now, fine), "ended")
			refused(t, here.Use(ctx, secret, "m", now, fine), "ended")
			if err := here.Use(ctx, kept, "n", now, fine); err != nil {
				t.Errorf("another token: %v", err)
			}
			for _, id := range []string{ID(Hash(secret)), "000000000000", ""} {
				if _, done, err := here.Revoke(ctx, id, now); done || err != nil {
					t.Errorf("%q: got %v, %v", id, done, err)
				}
			}
		})
	}
}

func TestATokenThatIsRefusedIsNotCounted(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			ctx, now, secret, b := t.Context(), time.Now(), NewSecret(), NewBook(s[0])
			r := Record{Pool: "web", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}, Ends: now.Add(time.Hour), Uses: 1}
			if err := b.Add(ctx, Hash(secret), r); err != nil {
				t.Fatal(err)
			}
			at := func(pool, from string) error {
				ip, _ := netip.ParseAddr(from)
				return b.Use(ctx, secret, "m", now, func(r *Record) error { return r.Judge(Hash(secret), pool, ip) })
			}
			refused(t, at("pay", "10.0.1.7"), "is for pool web")
			refused(t, at("web", "10.0.2.7"), "comes from 10.0.2.7")
			refused(t, at("web", ""), "comes from")
			if err := at("web", "10.0.1.7"); err != nil {
				t.Error(err)
			}
		})
	}
}

// A folder is readable by its owner alone, has no secret in it, and loses what has ended.
func TestAFolderOfTokens(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, secret, ctx := NewBook(f), NewSecret(), context.Background()
	if err := b.Add(ctx, Hash(secret), Record{Pool: "web", Ends: time.Now().Add(time.Hour), Uses: 2}); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(ctx, Hash(NewSecret()), Record{Pool: "web", Ends: time.Now().Add(-time.Hour), Uses: 1}); err != nil {
		t.Fatal(err)
	}
	if err := b.Use(ctx, secret, "m", time.Now(), fine); err != nil {
		t.Fatal(err)
	}
	if f, err = OpenFolder(dir); err != nil {
		t.Fatal(err)
	}
	if err := NewBook(f).Use(ctx, secret, "other", time.Now(), fine); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	refused(t, NewBook(f).Use(ctx, secret, "third", time.Now(), fine), "used up")
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Errorf("got %v (%v), want three versions of one token", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(dir, file.Name()))
		info, _ := file.Info()
		if err != nil || strings.Contains(string(text)+file.Name(), secret) || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; has the secret: %v", file.Name(), info.Mode(), err, strings.Contains(string(text), secret))
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got mode %v (%v), want 0700", info.Mode(), err)
	}
	if value, _, err := f.Get(ctx, "../"+Hash(secret)); value != nil || err != nil {
		t.Errorf("a name that is no hash: got %q (%v)", value, err)
	}
}
