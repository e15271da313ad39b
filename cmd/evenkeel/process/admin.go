package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/internal/audit"
	"github.com/evenkeel-lb/evenkeel/internal/logs"
)

// AdminAccess is the part with its files open.
type AdminAccess struct {
	part  settings.Access
	keys  *admin.Keys // nil: callers prove nothing
	Audit *audit.Log
	log   *slog.Logger
}

// OpenAdmin reads the files. What is recorded without a file of its own goes to log.
func OpenAdmin(p settings.Access, log *slog.Logger) (*AdminAccess, error) {
	var problems []error
	p.Validate(func(field, problem string) { problems = append(problems, fmt.Errorf("%s: %s", field, problem)) })
	if len(problems) > 0 {
		return nil, hint.Usage(errors.Join(problems...))
	}
	a := &AdminAccess{part: p, Audit: audit.New(logs.Unlimited(log)), log: log}
	var err error
	if a.keys, err = admin.OpenKeys(p.Files(), log); err != nil {
		err = fmt.Errorf("admin_access: %w", err)
		if errors.Is(err, fs.ErrNotExist) && p.Tokens != "" {
			err = hint.With(err, "evenkeel tokens add "+p.Tokens+" NAME read,operate makes a file of tokens")
		}
		return nil, err
	}
	if p.Audit != "" {
		if a.Audit, err = audit.Open(p.Audit, logs.Unlimited(log)); err != nil {
			return nil, hint.With(err, "admin_access.audit (--audit-log) names a file that this user may write")
		}
	}
	return a, nil
}

// Surface makes what a process serves of a role's endpoints.
func (a *AdminAccess) Surface(p *Process, endpoints []admin.Endpoint) *admin.Surface {
	all := append([]admin.Endpoint{{Method: "GET", Path: "/{$}", Role: admin.Read, Handle: p.Overview.ServeHTTP},
		{Method: "GET", Path: InfoPath, Role: admin.Socket, Handle: p.serveInfo}}, p.controlEndpoints()...)
	all = append(all, endpoints...)
	if a.part.Pprof {
		all = append(all, profileEndpoints()...)
		p.Overview.Pages = append(p.Overview.Pages, Page{profilePath, "what it spends processor time and memory on"})
	}
	return admin.New(admin.Config{Hosts: a.part.Hosts, Keys: a.keys, Audit: a.Audit, Log: a.log}, all)
}

const profilePath = "/debug/pprof/"

// profileEndpoints show what the program spends time and memory on: `go tool pprof
// http://ADMIN/debug/pprof/profile`. They cost processor time and reveal internals.
func profileEndpoints() (all []admin.Endpoint) {
	for path, handle := range map[string]http.HandlerFunc{"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace} {
		all = append(all, admin.Endpoint{Method: "GET", Path: profilePath + path, Role: admin.Operate, Action: "profile", Handle: handle})
	}
	return all
}

// Components serve at l, if that is not nil, and take up new files. where is for edges and agents
// that take the address for a master's.
func (a *AdminAccess) Components(p *Process, l net.Listener, shared bool, where string) (all []Component) {
	if l != nil {
		all = append(all, Component{Name: "admin", SharesConnections: shared, Run: func(ctx context.Context) error { return p.Admin.Serve(ctx, newAdminListener(l, where)) }})
	}
	if a.keys != nil {
		all = append(all, Component{Name: "admin files", Run: a.keys.Run})
	}
	return all
}

// Secure reports whether the address may be beyond loopback.
func (a *AdminAccess) Secure() bool { return a.part.Files().Secure() }

// URL returns where operators reach a role; empty: nowhere.
func (a *AdminAccess) URL(l net.Listener) string {
	switch {
	case l == nil:
		return ""
	case a.part.Cert != "":
		return dialURL("https", Address(l))
	}
	return dialURL("http", Address(l))
}

// reload reads the files anew on SIGHUP.
func (a *AdminAccess) reload() {
	if a == nil {
		return
	}
	if err := a.keys.Reload(); err != nil {
		a.log.Error("the new files of admin_access are invalid; the old ones stay in use", "err", err)
	}
	if err := a.Audit.Reopen(); err != nil {
		a.log.Error("the audit log cannot be reopened; the open file stays in use", "err", err)
	}
}

// recordSignal records what a signal had the process do.
func (a *AdminAccess) recordSignal(action, target string, err error) {
	if a == nil {
		return
	}
	e := audit.Entry{Proof: audit.BySignal, Action: action, Target: target, Outcome: audit.Done}
	if err != nil {
		e.Outcome, e.Detail = audit.Failed, err.Error()
	}
	a.Audit.Record(e)
}

// serveInfo says what the process is.
func (p *Process) serveInfo(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(p.info) // the caller may be gone
}
