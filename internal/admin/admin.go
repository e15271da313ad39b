// Package admin serves a process's endpoints for operators, metrics collectors and programs: the HTTP API of a master, the metrics of an
// edge, the reports of an application to its agent. Every role serves its endpoints through a Surface, which makes these checks for each
// request:
//
//   - the request's Host is an IP literal, a loopback name or a configured name; this stops DNS rebinding,
//     since a rebound page sends its own name;
//   - the request is not from a browser's page of another site;
//   - a caller by TCP has proved who it is, by a bearer token, a client certificate
//     or a browser's session, and has the endpoint's role. Without tokens and certificate
//     authorities every caller is accepted: cmd keeps the address on loopback;
//   - a request that changes something, or shows single requests, is recorded in the audit log.
//
// A unix socket needs no authentication: its file mode limits the users that can open it.
package admin

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/evenkeel-lb/evenkeel/internal/audit"
)

// Role is what an endpoint asks of its caller.
type Role uint8

// The roles. Operate includes Read.
const (
	unset   Role = iota // an endpoint that has no role is a mistake of ours
	Anyone              // whether the process is alive and ready
	Read                // look at everything
	Operate             // change something, or cost the process time
	Pick                // take part in traffic, as an edge or for a server
	Enrol               // make tokens by which agents get certificates
	Socket              // by the process's unix socket alone
)

var roleNames = [...]string{unset: "none", Anyone: "anyone", Read: "read", Operate: "operate", Pick: "pick", Enrol: "enrol", Socket: "socket"}

// String is the role as files and documents write it.
func (r Role) String() string { return roleNames[r] }

// Roles is a set of them.
type Roles uint8

// RolesOf returns a set.
func RolesOf(roles ...Role) (all Roles) {
	for _, r := range roles {
		all |= 1 << r
	}
	if all&(1<<Operate) != 0 {
		all |= 1 << Read
	}
	return all | 1<<Anyone
}

// Has reports whether the set has a role.
func (all Roles) Has(r Role) bool { return all&(1<<r) != 0 }

func (all Roles) names() (names []string) {
	for _, r := range []Role{Read, Operate, Pick, Enrol} {
		if all.Has(r) {
			names = append(names, r.String())
		}
	}
	return names
}

// everything is what those may do by TCP who need no further proof: all but make tokens, which are
// good long after.
var everything = RolesOf(Read, Operate, Pick)

// Endpoint is one operation.
type Endpoint struct {
	Method string
	Path   string // a pattern of http.ServeMux
	Role   Role
	Action string // the verb by which the audit log has it; empty: it is not recorded
	Handle http.HandlerFunc
}

// Config is how a Surface is guarded. The zero Config asks for no proof.
type Config struct {
	Hosts []string     // names that a request's Host may have, beside IP literals and loopback names
	Keys  *Keys        // by what callers prove who they are; nil: nothing
	Audit *audit.Log   // nil: nothing is recorded
	Log   *slog.Logger // nil: nothing is logged
}

// Surface is what a process serves at its admin address and its socket.
type Surface struct {
	cfg       Config
	mux       *http.ServeMux
	endpoints []Endpoint
	crossSite *http.CrossOriginProtection
	sessions  sessions
	bodies    bodies
	denials   audit.Denials
	docs      string // where this surface explains reasons; empty: nowhere
}

// New returns a Surface. It panics if an endpoint has no role.
func New(cfg Config, endpoints []Endpoint) *Surface {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Surface{cfg: cfg, mux: http.NewServeMux(), crossSite: http.NewCrossOriginProtection()}
	s.endpoints = slices.Clone(endpoints)
	s.endpoints = append(s.endpoints, s.sessionEndpoints()...)
	for _, e := range s.endpoints {
		if e.Role == unset {
			panic("admin: " + e.Method + " " + e.Path + " has no role")
		}
		s.mux.HandleFunc(e.Method+" "+e.Path, s.guarded(e))
		if e.Path == openAPIPath {
			s.docs = openAPIPath
		}
	}
	s.mux.HandleFunc("/", s.unknown)
	return s
}

// unknown answers what no endpoint takes, and tells a wrong method from a wrong path.
func (s *Surface) unknown(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := *r
		other.Method = method
		if _, pattern := s.mux.Handler(&other); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if allowed == nil {
		s.refuse(w, http.StatusNotFound, NoSuchPath, clip(r.URL.Path)+": "+s.whatThereIs())
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	s.refuse(w, http.StatusMethodNotAllowed, WrongMethod, fmt.Sprintf("%s %s: it takes %s", r.Method, clip(r.URL.Path), strings.Join(allowed, ", ")))
}

const openAPIPath = "/openapi.yaml"

// whatThereIs says how to find the paths of this surface.
func (s *Surface) whatThereIs() string {
	if s.docs != "" {
		return s.docs + " lists what there is"
	}
	var all []string
	for _, e := range s.endpoints {
		all = append(all, e.Method+" "+e.Path)
	}
	return "there is " + strings.Join(all, ", ")
}

// Endpoints returns all endpoints, those of the browser's login among them.
func (s *Surface) Endpoints() []Endpoint { return slices.Clone(s.endpoints) }

// ServeHTTP answers a request that came to the admin address, or to a socket if Serve says
// so.
func (s *Surface) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	if !bySocket(r) && !s.isOurHost(r.Host) {
		s.deny(r, Caller{}, "", "Host "+clip(r.Host)+" is not one of this process's")
		s.refuse(w, http.StatusMisdirectedRequest, UnknownHost, fmt.Sprintf("Host %q: want an IP address, a loopback name, or a name in admin_access.hosts of this process's file (--admin-host)", clip(r.Host)))
		return
	}
	if s.isCrossSite(r) {
		s.deny(r, Caller{}, "", "a page of another site asked")
		s.refuse(w, http.StatusForbidden, CrossOrigin, "the browser says that a page of another site asks")
		return
	}
	s.mux.ServeHTTP(w, r)
}

// guarded checks that an endpoint's caller has the role that it needs.
func (s *Surface) guarded(e Endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, problem := s.identify(r)
		switch {
		case e.Role != Anyone && problem != "":
			s.askForProof(w, r, who, e.Action, problem)
			return
		case !who.Roles.Has(e.Role):
			detail := fmt.Sprintf("it needs the role %s, and %s has %s", e.Role, who.name(), strings.Join(who.Roles.names(), ", "))
			s.deny(r, who, e.Action, detail)
			s.refuse(w, http.StatusForbidden, WrongRole, fmt.Sprintf("%s %s: %s", r.Method, clip(r.URL.Path), detail))
			return
		case e.Role != Anyone && who.session != nil && !isSafe(r.Method) && !who.session.allows(r.Header.Get(csrfHeader)):
			s.deny(r, who, e.Action, "no CSRF token of the session")
			s.refuse(w, http.StatusForbidden, NoCSRFToken, "a browser's session writes only with its CSRF token, which GET /session tells, in "+csrfHeader)
			return
		}
		if e.Role == Anyone && problem != "" {
			who = Caller{From: r.RemoteAddr}
		}
		r = r.WithContext(withCaller(r.Context(), who))
		held, refusal := s.gather(w, r, e.Role)
		if refusal != nil {
			s.answer(w, refusal)
			return
		}
		defer s.bodies.held.Add(-held)
		if e.Action == "" {
			e.Handle(w, r)
			return
		}
		seen := &outcome{ResponseWriter: w, status: http.StatusOK}
		e.Handle(seen, r)
		s.record(who, e.Action, targetOf(e.Path, r), seen.status)
	}
}

// outcome notes the status of a response.
type outcome struct {
	http.ResponseWriter
	status int
}

func (o *outcome) WriteHeader(status int) {
	o.status = status
	o.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (o *outcome) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// targetOf returns the values of a pattern's wildcards, joined: web/r1.
func targetOf(pattern string, r *http.Request) string {
	var values []string
	for segment := range strings.SplitSeq(pattern, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			if value := r.PathValue(strings.TrimRight(name, ".$}")); value != "" {
				values = append(values, clip(value))
			}
		}
	}
	return strings.Join(values, "/")
}

func isSafe(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// clip shortens what a stranger sent.
func clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}
