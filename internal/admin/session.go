package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/audit"
)

// A browser logs in once with a token and gets a cookie, which scripts cannot read and
// which is sent from pages of this process only. What it writes needs, beside that, a
// CSRF token that only such a page can know.

const (
	loginPath   = "/login"
	logoutPath  = "/logout"
	sessionPath = "/session"
	csrfHeader  = "X-CSRF-Token"

	sessionLife  = 12 * time.Hour
	mostSessions = 1000
)

// session is a browser that has logged in.
type session struct {
	name  string
	roles Roles
	token [sha256.Size]byte // the hash of the token by which it has logged in
	csrf  string
	ends  time.Time
}

// allows reports whether a request brings the session's CSRF token.
func (s *session) allows(csrf string) bool {
	return subtle.ConstantTimeCompare([]byte(csrf), []byte(s.csrf)) == 1
}

// sessions are those of a Surface, by the hash of what the cookie says, so that how long
// a look-up takes tells nothing of a cookie.
type sessions struct {
	mu   sync.Mutex
	open map[[sha256.Size]byte]*session
}

func (s *sessions) get(cookie string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[sha256.Sum256([]byte(cookie))]
}

func (s *sessions) end(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, sha256.Sum256([]byte(cookie)))
}

// begin opens a session and returns its cookie. When there are too many, the one that ends
// first gives way.
func (s *sessions) begin(now time.Time, t *token) (cookie string) {
	cookie = random()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[[sha256.Size]byte]*session)
	}
	var oldest [sha256.Size]byte
	var first time.Time
	for id, live := range s.open {
		if now.After(live.ends) {
			delete(s.open, id)
		} else if first.IsZero() || live.ends.Before(first) {
			oldest, first = id, live.ends
		}
	}
	if len(s.open) >= mostSessions {
		delete(s.open, oldest)
	}
	s.open[sha256.Sum256([]byte(cookie))] = &session{name: t.name, roles: t.roles, token: t.hash, csrf: random(), ends: now.Add(sessionLife)}
	return cookie
}

// cookieName is of this address alone: browsers send the cookies of a host to all its ports.
func cookieName(r *http.Request) string {
	name := "evenkeel"
	if _, port, err := net.SplitHostPort(r.Host); err == nil {
		name += "-" + port
	}
	if r.TLS != nil {
		return "__Host-" + name
	}
	return name
}

func cookieOf(r *http.Request) string {
	c, err := r.Cookie(cookieName(r))
	if err != nil {
		return ""
	}
	return c.Value
}

// session returns the session of a request's cookie, nil if there is none, it has ended, or
// the token by which it was opened has been taken back.
func (s *Surface) session(r *http.Request) *session {
	cookie := cookieOf(r)
	if cookie == "" {
		return nil
	}
	live := s.sessions.get(cookie)
	if live == nil || time.Now().After(live.ends) {
		return nil
	}
	t := s.cfg.Keys.still(live.token)
	if t == nil {
		return nil
	}
	now := *live
	now.name, now.roles = t.name, t.roles // they may have changed
	return &now
}

func (s *Surface) sessionEndpoints() []Endpoint {
	who := Endpoint{Method: "GET", Path: sessionPath, Role: Anyone, Handle: s.getSession}
	if !s.cfg.Keys.hasTokens() {
		return []Endpoint{who}
	}
	return []Endpoint{
		{Method: "GET", Path: loginPath, Role: Anyone, Handle: s.getLogin},
		{Method: "POST", Path: loginPath, Role: Anyone, Handle: s.postLogin},
		{Method: "POST", Path: logoutPath, Role: Anyone, Handle: s.postLogout},
		who,
	}
}

func (s *Surface) getLogin(w http.ResponseWriter, r *http.Request) {
	who := CallerOf(r)
	if who.session == nil {
		s.loginPage(w, r, http.StatusOK, "")
		return
	}
	page(w, http.StatusOK, "<p>Logged in as "+html.EscapeString(who.Name)+", who may "+strings.Join(who.Roles.names(), ", ")+
		".</p>\n<form method=post action="+logoutPath+"><input type=hidden name=csrf value=\""+who.session.csrf+"\"><button>Log out</button></form>\n<p><a href=\"/\">What there is</a></p>")
}

// nextPath returns where a browser goes after its login: the page that it wanted, if this surface has that.
func (s *Surface) nextPath(r *http.Request) string {
	next, err := url.Parse(r.URL.Query().Get("to"))
	if err != nil || next.Host != "" || next.Scheme != "" || !strings.HasPrefix(next.Path, "/") {
		return "/"
	}
	wanted := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: next.Path}}
	if _, pattern := s.mux.Handler(wanted); pattern != http.MethodGet+" "+next.Path {
		return "/"
	}
	return next.Path
}

// loginFor returns the path of the login that leads to a page.
func loginFor(path string) string {
	if path == "/" {
		return loginPath
	}
	return loginPath + "?to=" + url.QueryEscape(path)
}

func (s *Surface) loginPage(w http.ResponseWriter, r *http.Request, status int, problem string) {
	if problem != "" {
		problem = "<p role=alert>" + html.EscapeString(problem) + "</p>\n"
	}
	page(w, status, problem+"<form method=post action=\""+html.EscapeString(loginFor(s.nextPath(r)))+"\"><label>Token <input type=password name=token autocomplete=current-password required autofocus></label> <button>Log in</button></form>")
}

// page writes a page of HTML, which may neither load anything nor be framed, and whose forms
// go nowhere else.
func page(w http.ResponseWriter, status int, body string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<!doctype html><meta charset=utf-8><title>evenkeel</title><style>body{font:16px sans-serif;margin:2em}</style>\n"+body+"\n") // the client may be gone
}

// form reads a small form.
func form(r *http.Request) url.Values {
	text, err := io.ReadAll(io.LimitReader(r.Body, smallBody))
	if err != nil {
		return nil
	}
	values, _ := url.ParseQuery(string(text)) // what makes no sense is missing
	return values
}

func (s *Surface) postLogin(w http.ResponseWriter, r *http.Request) {
	t := s.cfg.Keys.token(strings.TrimSpace(form(r).Get("token")))
	if t == nil {
		s.deny(r, Caller{From: r.RemoteAddr}, "login", "no such token")
		s.loginPage(w, r, http.StatusForbidden, "That is no token that this process knows.")
		return
	}
	s.sessions.end(cookieOf(r))
	http.SetCookie(w, &http.Cookie{Name: cookieName(r), Value: s.sessions.begin(time.Now(), t), Path: "/", MaxAge: int(sessionLife.Seconds()),
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
	s.record(Caller{Name: t.name, Proof: audit.ByToken, From: r.RemoteAddr}, "login", "", http.StatusSeeOther)
	http.Redirect(w, r, s.nextPath(r), http.StatusSeeOther)
}

func (s *Surface) postLogout(w http.ResponseWriter, r *http.Request) {
	who := CallerOf(r)
	if who.session != nil && !who.session.allows(form(r).Get("csrf")) {
		s.deny(r, who, "logout", "no CSRF token of the session")
		s.refuse(w, http.StatusForbidden, NoCSRFToken, "logging out needs the session's CSRF token, as the page at "+loginPath+" has it")
		return
	}
	if who.session != nil {
		s.sessions.end(cookieOf(r))
		s.record(who, "logout", "", http.StatusSeeOther)
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName(r), Path: "/", MaxAge: -1, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
	http.Redirect(w, r, loginPath, http.StatusSeeOther)
}

// getSession tells a page's script who is logged in, and the CSRF token of the session.
func (s *Surface) getSession(w http.ResponseWriter, r *http.Request) {
	who := CallerOf(r)
	told := struct {
		Name  string   `json:"name,omitempty"`
		Roles []string `json:"roles"`
		CSRF  string   `json:"csrf,omitempty"`
	}{who.Name, append([]string{}, who.Roles.names()...), ""}
	if who.session != nil {
		told.CSRF = who.session.csrf
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(told) // the client may be gone
}
