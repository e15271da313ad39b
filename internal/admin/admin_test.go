package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/audit"
	"github.com/evenkeel-lb/evenkeel/internal/problem"
)

// endpoints are one for each role.
func endpoints() []Endpoint {
	answer := func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = fmt.Fprintf(w, "%s says %q", CallerOf(r).Name, text)
	}
	return []Endpoint{
		{"GET", "/healthz", Anyone, "", answer},
		{"GET", "/metrics", Read, "", answer},
		{"GET", "/v1/requests/{request}", Read, "explain", answer},
		{"POST", "/v1/pools/{pool}/servers/{server}/drain", Operate, "drain", answer},
		{"POST", "/v1/pools/{pool}/pick", Pick, "", answer},
	}
}

const drainPath = "/v1/pools/web/servers/r1/drain"

// lab is a surface with tokens and an audit log.
type lab struct {
	*Surface
	t      *testing.T
	tokens map[string]string // by name
	file   string            // of the tokens
	audit  string            // file
}

func newLab(t *testing.T) *lab {
	t.Helper()
	dir := t.TempDir()
	l := &lab{t: t, tokens: make(map[string]string), file: filepath.Join(dir, "tokens"), audit: filepath.Join(dir, "audit")}
	for name, roles := range map[string]string{"reader": "read", "operator": "operate", "picker": "pick", "both": "read,pick"} {
		secret, err := AddToken(l.file, name, roles)
		if err != nil {
			t.Fatal(err)
		}
		l.tokens[name] = secret
	}
	keys, err := OpenKeys(Files{Tokens: l.file}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	record, err := audit.Open(l.audit, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.Surface = New(Config{Hosts: []string{"master.example"}, Keys: keys, Audit: record}, endpoints())
	return l
}

func (l *lab) entries() (all []audit.Entry) {
	l.t.Helper()
	text, err := os.ReadFile(l.audit)
	if err != nil {
		l.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e audit.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			l.t.Fatal(err)
		}
		e.Time = time.Time{}
		all = append(all, e)
	}
	return all
}

// ask sends a request, with header lines as pairs; Host is one of them.
func ask(h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "127.0.0.1:7480"
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func (l *lab) ask(token, method, path string, header ...string) *httptest.ResponseRecorder {
	if token != "" {
		header = append(header, "Authorization", "Bearer "+l.tokens[token])
	}
	return ask(l.Surface, method, path, "", header...)
}

func reasonOf(w *httptest.ResponseRecorder) string {
	var p problem.Document
	_ = json.Unmarshal(w.Body.Bytes(), &p) // what is no problem has no reason
	return p.Reason
}

// A page whose name has been rebound to this address sends its own name as Host.
func TestOnlyOurNamesAreServed(t *testing.T) {
	s := New(Config{Hosts: []string{"Master.example"}}, endpoints())
	for host, want := range map[string]int{
		"":                      200, // HTTP/1.0, no browser
		"127.0.0.1":             200,
		"127.0.0.1:7480":        200,
		"10.1.2.3:7480":         200,
		"[::1]:7480":            200,
		"[::1]":                 200,
		"[fe80::1%25eth0]:80":   200,
		"localhost:7480":        200,
		"LOCALHOST.":            200,
		"app.localhost:7480":    200,
		"master.example:7480":   200,
		"MASTER.EXAMPLE.:7480":  200,
		"evil.example":          421,
		"evil.example:7480":     421,
		"notlocalhost:7480":     421,
		"localhost.evil:7480":   421,
		"127.0.0.1.evil":        421,
		"a.master.example":      421,
		"127.0.0.1@evil:80":     421,
		"0x7f000001":            421,
		"127.1":                 421,
		"master.example.evil:1": 421,
	} {
		for _, path := range []string{"/metrics", "/healthz", "/nothing"} {
			w := ask(s, "GET", path, "", "Host", host)
			if got := w.Code; got != want && (want != 200 || path != "/nothing" || got != 404) {
				t.Errorf("Host %q, %s: got %d, want %d", host, path, got, want)
			}
			if w.Code == 421 && reasonOf(w) != UnknownHost {
				t.Errorf("Host %q: got reason %q, want %q", host, reasonOf(w), UnknownHost)
			}
		}
	}
}

func TestPagesOfOtherSitesAreRefused(t *testing.T) {
	s := New(Config{}, endpoints())
	for _, c := range []struct {
		method string
		header []string
		want   int
	}{
		{"POST", nil, 200}, // curl
		{"POST", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://127.0.0.1:7480"}, 200},
		{"POST", []string{"Sec-Fetch-Site", "none"}, 200},
		{"POST", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"POST", []string{"Sec-Fetch-Site", "same-site"}, 403}, // another port of this host
		{"POST", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 403},
		{"POST", []string{"Origin", "http://evil.example"}, 403},
		{"POST", []string{"Origin", "null"}, 403},
		{"POST", []string{"Origin", "http://127.0.0.1:8000"}, 403},
		{"POST", []string{"Origin", "http://127.0.0.1:7480"}, 200},
		{"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, 403},
		{"GET", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors"}, 403},
		{"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 403},
		{"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200}, // a link
	} {
		path := "/metrics"
		if c.method == "POST" {
			path = drainPath
		}
		w := ask(s, c.method, path, "", c.header...)
		if w.Code != c.want || w.Code == 403 && reasonOf(w) != CrossOrigin {
			t.Errorf("%s with %q: got %d %s, want %d", c.method, c.header, w.Code, reasonOf(w), c.want)
		}
	}
}

func TestEachRoleDoesWhatIsItsOwn(t *testing.T) {
	l := newLab(t)
	paths := map[string]string{"/healthz": "GET", "/metrics": "GET", "/v1/requests/7": "GET", drainPath: "POST", "/v1/pools/web/pick": "POST"}
	for who, allowed := range map[string]string{
		"":         "/healthz",
		"reader":   "/healthz /metrics /v1/requests/7",
		"operator": "/healthz /metrics /v1/requests/7 " + drainPath,
		"picker":   "/healthz /v1/pools/web/pick",
		"both":     "/healthz /metrics /v1/requests/7 /v1/pools/web/pick",
	} {
		for path, method := range paths {
			want, reason := 403, WrongRole
			switch {
			case strings.Contains(" "+allowed+" ", " "+path+" "):
				want, reason = 200, ""
			case who == "":
				want, reason = 401, NoProof
			}
			w := l.ask(who, method, path)
			if w.Code != want || w.Code != 200 && reasonOf(w) != reason {
				t.Errorf("%q asks %s %s: got %d %s, want %d %s", who, method, path, w.Code, w.Body, want, reason)
			}
			if w.Code == 401 && w.Header().Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
		}
	}
	for _, bad := range []string{"", "ek_", "x", l.tokens["operator"] + "x", l.tokens["operator"][1:], strings.ToUpper(l.tokens["operator"]), "sha256:" + strings.Repeat("0", 64)} {
		if w := ask(l.Surface, "POST", drainPath, "", "Authorization", "Bearer "+bad); w.Code != 401 {
			t.Errorf("token %q: got %d, want 401", bad, w.Code)
		}
	}
}

func TestAnEndpointWithoutARoleIsAMistake(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("New took an endpoint without a role")
		}
	}()
	New(Config{}, []Endpoint{{Method: "GET", Path: "/forgotten", Handle: func(http.ResponseWriter, *http.Request) {}}})
}

func TestWrongPathsAndMethods(t *testing.T) {
	s := New(Config{}, endpoints())
	w := ask(s, "POST", "/metrics", "")
	if w.Code != 405 || w.Header().Get("Allow") != "GET" || reasonOf(w) != WrongMethod {
		t.Errorf("got %d, Allow %q, %s", w.Code, w.Header().Get("Allow"), w.Body)
	}
	if w = ask(s, "GET", "/nothing", ""); w.Code != 404 || reasonOf(w) != NoSuchPath || !strings.Contains(w.Body.String(), "GET /metrics") {
		t.Errorf("got %d %s, want 404 with what there is", w.Code, w.Body)
	}
}

func TestWhoDidWhatIsRecorded(t *testing.T) {
	l := newLab(t)
	l.ask("operator", "POST", drainPath)
	l.ask("reader", "POST", drainPath)
	l.ask("reader", "GET", "/v1/requests/77")
	l.ask("", "POST", drainPath)
	l.ask("reader", "GET", "/metrics") // no entry
	l.ask("operator", "POST", drainPath, "Host", "evil.example")
	l.ask("operator", "POST", drainPath, "Origin", "http://evil.example")
	want := []audit.Entry{
		{Actor: "operator", Proof: "token", From: "192.0.2.1:1234", Action: "drain", Target: "web/r1", Outcome: "done"},
		{Actor: "reader", Proof: "token", From: "192.0.2.1:1234", Action: "drain", Target: drainPath, Outcome: "refused", Detail: "it needs the role operate, and reader has read"},
		{Actor: "reader", Proof: "token", From: "192.0.2.1:1234", Action: "explain", Target: "77", Outcome: "done"},
		{Proof: "none", From: "192.0.2.1:1234", Action: "drain", Target: drainPath, Outcome: "refused", Detail: "want a bearer token (Authorization: Bearer TOKEN)"},
		{Proof: "none", From: "192.0.2.1:1234", Action: "call", Target: drainPath, Outcome: "refused", Detail: "Host evil.example is not one of this process's"},
		{Proof: "none", From: "192.0.2.1:1234", Action: "call", Target: drainPath, Outcome: "refused", Detail: "a page of another site asked"},
	}
	got := l.entries()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("entry %d:\ngot  %+v\nwant %+v", i, got, want)
		}
	}
}

func TestStrangersDoNotFillTheAuditLog(t *testing.T) {
	l := newLab(t)
	for range 1000 {
		l.ask("", "POST", drainPath)
	}
	if n := len(l.entries()); n == 0 || n > 20 { // five a second
		t.Errorf("got %d entries of 1000 refusals, want a few", n)
	}
	var d audit.Denials
	now := time.Now()
	for i := range 2 * audit.DenialsPerSecond {
		if _, write := d.Take(now); write != (i < audit.DenialsPerSecond) {
			t.Errorf("refusal %d in one second: written is %v", i, write)
		}
	}
	if more, write := d.Take(now.Add(time.Second)); !write || more != audit.DenialsPerSecond {
		t.Errorf("got %v with %d more, want the next second's first with %d", write, more, audit.DenialsPerSecond)
	}
}

func TestABrowserLogsInOnce(t *testing.T) {
	l := newLab(t)
	html := []string{"Accept", "text/html,*/*", "Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	if w := l.ask("", "GET", "/metrics", html...); w.Code != 303 || w.Header().Get("Location") != loginPath+"?to=%2Fmetrics" {
		t.Errorf("a browser without a login: got %d %q, want the login page", w.Code, w.Header().Get("Location"))
	}
	if w := l.ask("", "GET", loginPath, html...); w.Code != 200 || !strings.Contains(w.Body.String(), `<form method=post action="/login">`) {
		t.Errorf("login page: got %d %s", w.Code, w.Body)
	}
	if w := ask(l, "POST", loginPath, "token=wrong"); w.Code != 403 || len(w.Result().Cookies()) != 0 {
		t.Errorf("a wrong token: got %d and cookies %v", w.Code, w.Result().Cookies())
	}
	if w := ask(l, "POST", loginPath, url.Values{"token": {l.tokens["operator"]}}.Encode(), "Origin", "http://evil.example"); w.Code != 403 {
		t.Errorf("a login from another site's page: got %d, want 403", w.Code)
	}
	w := ask(l, "POST", loginPath, url.Values{"token": {l.tokens["operator"]}}.Encode(), "Origin", "http://127.0.0.1:7480")
	cookies := w.Result().Cookies()
	if w.Code != 303 || len(cookies) != 1 {
		t.Fatalf("login: got %d and cookies %v", w.Code, cookies)
	}
	c := cookies[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Name != "evenkeel-7480" || strings.Contains(c.Value, l.tokens["operator"]) {
		t.Errorf("cookie %v, want HttpOnly, SameSite=Strict, of this port, and not the token", c)
	}
	cookie := []string{"Cookie", c.Name + "=" + c.Value}
	if w := ask(l, "GET", "/metrics", "", cookie...); w.Code != 200 {
		t.Errorf("reading with the cookie: got %d %s", w.Code, w.Body)
	}
	if w := ask(l, "POST", drainPath, "", cookie...); w.Code != 403 || reasonOf(w) != NoCSRFToken {
		t.Errorf("writing without the CSRF token: got %d %s", w.Code, w.Body)
	}
	var told struct {
		Name, CSRF string
		Roles      []string
	}
	if err := json.Unmarshal(ask(l, "GET", sessionPath, "", cookie...).Body.Bytes(), &told); err != nil || told.Name != "operator" || told.CSRF == "" {
		t.Fatalf("session: got %+v (%v)", told, err)
	}
	for csrf, want := range map[string]int{told.CSRF: 200, told.CSRF + "x": 403, c.Value: 403} {
		if w := ask(l, "POST", drainPath, "", append([]string{csrfHeader, csrf}, cookie...)...); w.Code != want {
			t.Errorf("writing with CSRF token %q: got %d, want %d", csrf, w.Code, want)
		}
	}
	if w := ask(l, "POST", logoutPath, "", cookie...); w.Code != 403 {
		t.Errorf("logging out without the CSRF token: got %d, want 403", w.Code)
	}
	if w := ask(l, "POST", logoutPath, "csrf="+told.CSRF, cookie...); w.Code != 303 {
		t.Errorf("logging out: got %d", w.Code)
	}
	if w := ask(l, "GET", "/metrics", "", cookie...); w.Code != 401 {
		t.Errorf("after logging out: got %d, want 401", w.Code)
	}
}

// rewrite leaves the lines of a file that have none of the words.
func rewrite(t *testing.T, path string, without string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var left bytes.Buffer
	for line := range bytes.Lines(text) {
		if !bytes.Contains(line, []byte(without)) {
			left.Write(line)
		}
	}
	if err := os.WriteFile(path, left.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestATokenThatIsTakenBackIsGoodForNothing(t *testing.T) {
	l := newLab(t)
	c := ask(l, "POST", loginPath, url.Values{"token": {l.tokens["operator"]}}.Encode()).Result().Cookies()[0]
	rewrite(t, l.file, "operator")
	if err := l.cfg.Keys.Reload(); err != nil {
		t.Fatal(err)
	}
	if w := l.ask("operator", "GET", "/metrics"); w.Code != 401 {
		t.Errorf("the token: got %d, want 401", w.Code)
	}
	if w := ask(l, "GET", "/metrics", "", "Cookie", c.Name+"="+c.Value); w.Code != 401 {
		t.Errorf("the session opened by it: got %d, want 401", w.Code)
	}
	if w := l.ask("reader", "GET", "/metrics"); w.Code != 200 {
		t.Errorf("another token: got %d, want 200", w.Code)
	}
	if err := os.WriteFile(l.file, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.cfg.Keys.Reload(); err == nil {
		t.Error("a bad file was taken")
	}
	if w := l.ask("reader", "GET", "/metrics"); w.Code != 200 {
		t.Errorf("after a bad file: got %d, want 200 by the former", w.Code)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	var s sessions
	now := time.Now()
	first := s.begin(now, &token{name: "first"})
	for i := range mostSessions {
		s.begin(now.Add(time.Duration(i+1)), &token{})
	}
	if len(s.open) != mostSessions || s.get(first) != nil {
		t.Errorf("got %d sessions, the first among them %v; want %d without it", len(s.open), s.get(first) != nil, mostSessions)
	}
	s.begin(now.Add(2*sessionLife), &token{})
	if len(s.open) != 1 {
		t.Errorf("got %d sessions when all but one have ended", len(s.open))
	}
}

func TestFilesOfTokens(t *testing.T) {
	hash := "sha256:" + strings.Repeat("ab", 32)
	for text, want := range map[string]string{
		"":               "",
		"# nothing\n\n":  "",
		"a read " + hash: "",
		"a read,operate,pick " + hash + "\nb pick " + hash + "\n": "",
		"a read":                                  "2 words",
		"a root " + hash:                          `role "root"`,
		"a  " + hash:                              "2 words",
		"a anyone " + hash:                        `role "anyone"`,
		"a read ek_secretsecretsecret":            "no hash",
		"a read sha256:abcd":                      "no hash",
		"a read " + hash + "\na pick " + hash:     "line 2: a stands twice",
		"\x00 read " + hash:                       "name",
		strings.Repeat("x", 65) + " read " + hash: "name",
	} {
		_, err := parseTokens([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secretsecret") {
			t.Errorf("%q: the error tells the token: %v", text, err)
		}
	}
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte("a read "+hash), 0o600); err != nil { // no end of line
		t.Fatal(err)
	}
	if _, err := AddToken(path, "a", "read"); err == nil {
		t.Error("a second token of one name was added")
	}
	secret, err := AddToken(path, "b", "operate")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(path)
	all, err := parseTokens(text)
	if err != nil || len(all) != 2 || bytes.Contains(text, []byte(secret)) {
		t.Fatalf("got %d tokens (%v) and\n%s", len(all), err, text)
	}
	if found := find(all, secret); found == nil || found.name != "b" || !found.roles.Has(Read) || found.roles.Has(Pick) {
		t.Errorf("found %+v, want b, who may operate and so read", found)
	}
}

// Who wanted a page gets it after the login, but is led nowhere else.
func TestLoginLeadsToThePageThatWasWanted(t *testing.T) {
	l := newLab(t)
	for wanted, want := range map[string]string{"/metrics": "/metrics", "": "/", "/nowhere": "/", "//evil.example/metrics": "/", "https://evil.example/metrics": "/", `/\evil.example`: "/", "/v1/pools/x": "/"} {
		w := ask(l, "POST", loginPath+"?to="+url.QueryEscape(wanted), url.Values{"token": {l.tokens["operator"]}}.Encode(), "Origin", "http://127.0.0.1:7480")
		if w.Code != 303 || w.Header().Get("Location") != want {
			t.Errorf("a login for %q: got %d to %q, want to %q", wanted, w.Code, w.Header().Get("Location"), want)
		}
	}
	if w := l.ask("", "GET", loginPath+"?to=%2Fmetrics"); !strings.Contains(w.Body.String(), `action="/login?to=%2Fmetrics"`) {
		t.Errorf("got %s, want a form that keeps the page that was wanted", w.Body)
	}
}
