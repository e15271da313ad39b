package admin

import (
	"net/http"

	"github.com/evenkeel-lb/evenkeel/internal/problem"
)

// Reasons of problems that the guard answers with.
const (
	UnknownHost = "unknown-host"
	CrossOrigin = "cross-origin"
	NoProof     = "no-proof"
	WrongRole   = "wrong-role"
	NoCSRFToken = "no-csrf-token"
	NoSuchPath  = "no-such-path"
	WrongMethod = "wrong-method"
	TooLarge    = "too-large"
	Busy        = "busy"
)

// Reasons returns all of them with their titles.
func Reasons() map[string]string {
	return map[string]string{
		UnknownHost: "The name in Host is not this process's",
		CrossOrigin: "Another site's page may not call this",
		NoProof:     "The caller has to authenticate",
		WrongRole:   "The caller may not do this",
		NoCSRFToken: "The session's CSRF token is missing",
		NoSuchPath:  "There is nothing at this path",
		WrongMethod: "This path has other methods",
		TooLarge:    "The request's body is too large",
		Busy:        "Too many bodies are being read",
	}
}

// refuse answers with a problem.
func (s *Surface) refuse(w http.ResponseWriter, status int, reason, detail string) {
	s.answer(w, &problem.Document{Status: status, Detail: detail, Reason: reason})
}

// answer completes a problem and answers with it.
func (s *Surface) answer(w http.ResponseWriter, p *problem.Document) {
	p.Title = Reasons()[p.Reason]
	if s.docs != "" {
		p.Type = s.docs + "#" + p.Reason
	}
	p.Write(w)
}
