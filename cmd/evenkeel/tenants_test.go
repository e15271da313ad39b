package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tokenBy is a token for the organisation acme, signed by HS256.
func tokenBy(key string) string {
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"HS256"}`)) + "." + encode(fmt.Appendf(nil, `{"org":"acme","iss":"idp","exp":%d}`, time.Now().Add(time.Hour).Unix()))
	sum := hmac.New(sha256.New, []byte(key))
	sum.Write([]byte(text))
	return text + "." + encode(sum.Sum(nil))
}

// accessRecord waits for the access log's record of a path.
func (s *started) accessRecord(path string) map[string]any {
	s.t.Helper()
	for late := time.After(patience); ; {
		s.mu.Lock()
		for _, r := range s.records {
			if r["msg"] == "request" && r["path"] == path {
				s.mu.Unlock()
				return r
			}
		}
		s.mu.Unlock()
		select {
		case <-s.more:
		case <-late:
			s.t.Fatalf("no record of %s:\n%s", path, s.log())
		}
	}
}

// The keys that prove tenants are those of the file, as it was when the edge started or was told to reload.
func TestKeysOfTokensComeFromTheirFile(t *testing.T) {
	first, second := strings.Repeat("1", 32), strings.Repeat("2", 32)
	dir := t.TempDir()
	keys, file := filepath.Join(dir, "keys.json"), filepath.Join(dir, "evenkeel.yaml")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	jwk := func(key string) string {
		return `{"kty":"oct","k":"` + base64.RawURLEncoding.EncodeToString([]byte(key)) + `"}`
	}
	write(keys, jwk(first))
	if err := os.Chmod(keys, 0o644); err != nil {
		t.Fatal(err)
	}
	write(file, fmt.Sprintf("pools: {web: {servers: [{address: %q}]}}\nedge: {listeners: [{listen: 127.0.0.1:0, routes: [{pool: web, tenant: 'jwt:org', tenant_jwt: {keys: %q, header: X-Token, issuer: idp}}]}]}\n",
		strings.TrimPrefix(server(t, "a"), "http://"), keys))
	p := start(t, "run", "--config", file, "--admin", "127.0.0.1:0")
	listen, _ := p.serving()
	p.record(fmt.Sprintf("every user of this machine may read the key %s (mode 0644): chmod o= %s", keys, keys)) // by which tokens are signed, too
	ask := func(path, key string) map[string]any {
		req, err := http.NewRequest("GET", "http://"+listen+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Token", tokenBy(key))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: got %d: nothing is refused for its token", path, res.StatusCode)
		}
		return p.accessRecord(path)
	}
	if r := ask("/1", first); r["tenant"] != "acme" || r["tenant_err"] != nil {
		t.Errorf("got %v, want acme", r)
	}
	if r := ask("/2", second); r["tenant"] != nil || r["tenant_err"] == nil {
		t.Errorf("got %v, want another's token not believed", r)
	}
	write(keys, jwk(second))
	p.signal(syscall.SIGHUP)
	p.record("reloaded")
	if r := ask("/3", second); r["tenant"] != "acme" {
		t.Errorf("got %v, want acme by the new key", r)
	}
	if r := ask("/4", first); r["tenant"] != nil || r["tenant_err"] == nil {
		t.Errorf("got %v, want a token of the old key not believed", r)
	}
	write(keys, "{}")
	p.signal(syscall.SIGHUP)
	p.record("reload failed; the old settings stay")
	if r := ask("/5", second); r["tenant"] != "acme" {
		t.Errorf("got %v, want acme: the old keys stay", r)
	}
}
