package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/audit"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// Caller is who asks.
type Caller struct {
	Name  string // as the proof has it; empty: unknown
	Proof string // one of package audit's
	From  string // the address
	Roles Roles

	session *session // of a browser; nil: none
}

type callerKey struct{}

func withCaller(ctx context.Context, who Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, who)
}

// CallerOf returns who has sent a request that a Surface has let through.
func CallerOf(r *http.Request) Caller {
	who, _ := r.Context().Value(callerKey{}).(Caller)
	return who
}

func (c *Caller) name() string { return cmp.Or(c.Name, "the caller") }

// Entry begins an entry of the audit log.
func (c *Caller) Entry(action, target string) audit.Entry {
	return audit.Entry{Actor: c.Name, Proof: c.Proof, From: c.From, Action: action, Target: target}
}

// identify finds out who asks. problem says, if the proof is missing or not good, what is
// wrong with it; the caller then has no roles.
func (s *Surface) identify(r *http.Request) (who Caller, problem string) {
	anonymous := Caller{From: r.RemoteAddr, Proof: audit.ByNothing, Roles: RolesOf()}
	switch {
	case bySocket(r):
		return Caller{Name: "local user", Proof: audit.BySocket, From: "socket", Roles: everything | RolesOf(Enrol, Socket)}, ""
	case !s.cfg.Keys.asksForProof():
		anonymous.Roles = everything
		return anonymous, ""
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		t := s.cfg.Keys.token(strings.TrimSpace(token))
		if t == nil {
			return anonymous, "the bearer token is none that this process knows"
		}
		return Caller{Name: t.name, Proof: audit.ByToken, From: r.RemoteAddr, Roles: t.roles}, ""
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return fromCertificate(r, s.cfg.Keys.current.Load().denied)
	}
	if live := s.session(r); live != nil {
		return Caller{Name: live.name, Proof: audit.ByToken, From: r.RemoteAddr, Roles: live.roles, session: live}, ""
	}
	return anonymous, s.cfg.Keys.wanted()
}

// fromCertificate identifies the holder of a certificate that the TLS handshake has verified.
func fromCertificate(r *http.Request, denied *trust.Denylist) (who Caller, problem string) {
	cert := r.TLS.VerifiedChains[0][0]
	who = Caller{Proof: audit.ByCertificate, From: r.RemoteAddr, Roles: RolesOf()}
	if time.Now().After(cert.NotAfter) {
		return who, "the certificate has ended since the connection was made"
	}
	if err := denied.Judge(r.TLS.VerifiedChains[0]); err != nil {
		return who, err.Error()
	}
	id, err := trust.IdentityOf(cert)
	if err != nil {
		return who, err.Error()
	}
	who.Name = id.String()
	switch id.Role {
	case trust.Operator:
		who.Roles = RolesOf(Operate)
	case trust.Reader:
		who.Roles = RolesOf(Read)
	}
	return who, ""
}

// askForProof answers a caller who has none, or none that is good.
func (s *Surface) askForProof(w http.ResponseWriter, r *http.Request, who Caller, action, problem string) {
	if isSafe(r.Method) && strings.Contains(r.Header.Get("Accept"), "text/html") && s.cfg.Keys.hasTokens() {
		http.Redirect(w, r, loginFor(r.URL.Path), http.StatusSeeOther)
		return
	}
	s.deny(r, who, action, problem)
	w.Header().Set("WWW-Authenticate", `Bearer realm="evenkeel"`)
	s.refuse(w, http.StatusUnauthorized, NoProof, problem)
}

// record writes down what an endpoint was asked for.
func (s *Surface) record(who Caller, action, target string, status int) {
	e := who.Entry(action, target)
	e.Outcome = audit.Done
	if status >= http.StatusBadRequest {
		e.Outcome, e.Detail = audit.Failed, fmt.Sprintf("%d %s", status, http.StatusText(status))
	}
	s.cfg.Audit.Record(e)
}

// deny writes down that a request was refused.
func (s *Surface) deny(r *http.Request, who Caller, action, why string) {
	more, now := s.denials.Take(time.Now())
	if !now {
		return
	}
	e := who.Entry(cmp.Or(action, "call"), clip(r.URL.Path))
	e.From, e.Outcome, e.Detail = cmp.Or(e.From, r.RemoteAddr), audit.Refused, why
	if more > 0 {
		e.Detail += fmt.Sprintf("; %d more were refused since the last such entry", more)
	}
	s.cfg.Audit.Record(e)
}
