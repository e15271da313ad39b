package master

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/internal/audit"
	"github.com/evenkeel-lb/evenkeel/internal/enrol"
)

// post asks a master for a token.
func post(h http.Handler, bearer, pool, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/v1/pools/"+pool+"/tokens", strings.NewReader(body))
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func tokenOf(secret string, uses int) string {
	return fmt.Sprintf(`{"hash": %q, "uses": %d, "seconds": 60, "addresses": ["127.0.0.0/8"]}`, enrol.Hash(secret), uses)
}

func TestTokensAreMadeByProvenCallersAlone(t *testing.T) {
	e := newEnrolling(t, nil)
	file := filepath.Join(e.h.dir, "bearers")
	secrets := make(map[string]string)
	for name, roles := range map[string]string{"op": "read,operate,pick", "joiner": "enrol"} {
		var err error
		if secrets[name], err = admin.AddToken(file, name, roles); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := admin.OpenKeys(admin.Files{Tokens: file}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{"example.com"}
	open, guarded := admin.New(admin.Config{Hosts: hosts}, e.Endpoints()), admin.New(admin.Config{Hosts: hosts, Keys: keys}, e.Endpoints())
	secret := enrol.NewSecret()
	for _, c := range []struct {
		what   string
		h      http.Handler
		bearer string
		status int
	}{
		{"an address that asks for no proof", open, "", http.StatusForbidden},
		{"no proof", guarded, "", http.StatusUnauthorized},
		{"an operator", guarded, secrets["op"], http.StatusForbidden},
		{"who may", guarded, secrets["joiner"], http.StatusOK},
	} {
		w := post(c.h, c.bearer, "web", tokenOf(secret, 3))
		if w.Code != c.status {
			t.Errorf("%s: got %d %s, want %d", c.what, w.Code, w.Body, c.status)
		}
		if w.Code != http.StatusOK {
			continue
		}
		var answer tokenAnswer
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Authority != e.signer.Authority() || answer.Uses != 3 || answer.ID != enrol.ID(enrol.Hash(secret)) {
			t.Errorf("got %s (%v)", w.Body, err)
		}
	}
	entries := e.entries()
	if len(entries) != 1 || entries[0].Action != "make a token" || entries[0].Actor != "joiner" || entries[0].Proof != audit.ByToken || entries[0].Target != "web" || !strings.Contains(entries[0].Detail, "127.0.0.0/8") {
		t.Errorf("the audit log has %+v", entries)
	}
	for range 3 {
		n := e.applicant(&enrol.Token{Secret: secret})
		n.id = fmt.Sprint("r", e.h.issued)
		if _, err := e.enrol(n); err != nil {
			t.Error(err)
		}
	}
	for _, c := range []struct {
		h             http.Handler
		bearer, token string
		status        int
	}{
		{open, "", enrol.ID(enrol.Hash(secret)), http.StatusForbidden}, {guarded, secrets["op"], enrol.ID(enrol.Hash(secret)), http.StatusForbidden},
		{guarded, secrets["joiner"], "000000000000", http.StatusNotFound}, {guarded, secrets["joiner"], enrol.ID(enrol.Hash(secret)), http.StatusOK},
	} {
		r := httptest.NewRequest("POST", "/v1/tokens/"+c.token+"/revoke", nil)
		r.Header.Set("Authorization", "Bearer "+c.bearer)
		w := httptest.NewRecorder()
		if c.h.ServeHTTP(w, r); w.Code != c.status || w.Code == http.StatusOK && !strings.Contains(w.Body.String(), `"used":3,"uses":3`) {
			t.Errorf("revoking %s: got %d %s, want %d", c.token, w.Code, w.Body, c.status)
		}
	}
}

func TestTokensThatCannotBe(t *testing.T) {
	var memory *enrolling
	ask := func(e *enrolling, pool, body string) (int, string) {
		keys, file := (*admin.Keys)(nil), filepath.Join(e.h.dir, "bearers"+fmt.Sprint(e.h.issued))
		e.h.issued++
		secret, err := admin.AddToken(file, "joiner", "enrol")
		if err == nil {
			keys, err = admin.OpenKeys(admin.Files{Tokens: file}, slog.New(slog.DiscardHandler))
		}
		if err != nil {
			t.Fatal(err)
		}
		w := post(admin.New(admin.Config{Hosts: []string{"example.com"}, Keys: keys}, e.Endpoints()), secret, pool, body)
		return w.Code, w.Body.String()
	}
	e := newEnrolling(t, nil)
	memory = newEnrolling(t, func(c *Config) { c.Enrolment.Tokens = enrol.NewBook(nil) })
	for _, c := range []struct {
		what       string
		e          *enrolling
		pool, body string
		status     int
		says       string
	}{
		{"a secret in place of its hash", e, "web", `{"hash": "abc", "uses": 1, "seconds": 60}`, 400, "hash: want"},
		{"no uses", e, "web", tokenOf("x", 0), 400, "uses: 0"},
		{"too many uses", e, "web", tokenOf("x", enrol.MostUses+1), 400, "uses: 1001"},
		{"for ever", e, "web", strings.Replace(tokenOf("x", 1), "60", "1e9", 1), 400, "seconds: 1e+09"},
		{"a pool that is not there", e, "none", tokenOf("x", 1), 404, `no pool \"none\"`},
		{"a pool that the issuer does not sign for", e, "pay", tokenOf("x", 1), 409, "signs for [web open] alone"},
		{"two uses in memory", memory, "web", tokenOf("x", 2), 409, "in its memory"},
		{"one use in memory", memory, "web", tokenOf("x", 1), 200, ""},
	} {
		if code, body := ask(c.e, c.pool, c.body); code != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s: got %d %s, want %d that says %q", c.what, code, body, c.status, c.says)
		}
	}
	plain := newMaster(t, web())
	if w := post(admin.New(admin.Config{Hosts: []string{"example.com"}}, plain.Endpoints()), "", "web", tokenOf("x", 1)); w.Code != http.StatusForbidden {
		t.Errorf("a master that signs nothing: got %d", w.Code)
	}
}
