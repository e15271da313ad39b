package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/spf13/pflag"

	"github.com/evenkeel-lb/evenkeel/config"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/internal/audit"
	"github.com/evenkeel-lb/evenkeel/internal/logs"
)

// accessPart is who may use a role's admin address, and where it is recorded.
type accessPart struct {
	Hosts  []string `yaml:"hosts" also:"names allowedhosts"`
	Cert   string   `yaml:"cert" also:"certificate"`
	Key    string   `yaml:"key" also:"private"`
	CA     string   `yaml:"ca" also:"authority clientca"`
	Denied string   `yaml:"denied" also:"crl revoked denylist"`
	Tokens string   `yaml:"tokens" also:"token bearer"`
	Audit  string   `yaml:"audit" also:"auditlog"`
	Pprof  bool     `yaml:"pprof" also:"profiles debug"`
}

func (p accessPart) files() admin.Files {
	return admin.Files{Cert: p.Cert, Key: p.Key, CA: p.CA, Denied: p.Denied, Tokens: p.Tokens}
}

func (p accessPart) validate(bad func(field, problem string)) {
	p.files().Validate(func(field, problem string) { bad("admin_access."+field, problem) })
	for i, host := range p.Hosts {
		if host == "" || strings.ContainsAny(host, "/:@* \t") {
			bad(config.Item("admin_access.hosts", i), fmt.Sprintf("%q, want a name as it stands in URLs, without scheme and port, such as master.example", host))
		}
	}
}

// adminFlags say where a role's admin address is and who may use it.
type adminFlags struct {
	address string
	part    accessPart
}

func (f *adminFlags) add(flags *pflag.FlagSet, what, standard string) {
	flags.StringVar(&f.address, "admin", "", what+", host:port, unix:/path or off (default "+standard+")")
	flags.StringArrayVar(&f.part.Hosts, "admin-host", nil, "a name by which the admin address may be asked, beside IP addresses and localhost; repeat for each")
	flags.StringVar(&f.part.Cert, "admin-cert", "", "file with the certificate that the admin address shows; then it speaks TLS")
	flags.StringVar(&f.part.Key, "admin-key", "", "file with the certificate's key")
	flags.StringVar(&f.part.CA, "admin-ca", "", "file with the authority of client certificates for the admin address")
	flags.StringVar(&f.part.Denied, "admin-denied", "", "file that lists operators who are denied although their certificates are good")
	flags.StringVar(&f.part.Tokens, "admin-tokens", "", "file of bearer tokens for the admin address; evenkeel tokens add makes it")
	flags.StringVar(&f.part.Audit, "audit-log", "", "file for the record of who did what (default: the log)")
	flags.BoolVar(&f.part.Pprof, "pprof", false, "serve profiles of processor time and memory at the admin address")
}

// over fills what the flags leave open from the file.
func (f adminFlags) over(file accessPart) accessPart {
	if len(f.part.Hosts) > 0 {
		file.Hosts = f.part.Hosts
	}
	for _, one := range []struct{ flag, file *string }{{&f.part.Cert, &file.Cert}, {&f.part.Key, &file.Key}, {&f.part.CA, &file.CA}, {&f.part.Denied, &file.Denied}, {&f.part.Tokens, &file.Tokens}, {&f.part.Audit, &file.Audit}} {
		*one.file = cmp.Or(*one.flag, *one.file)
	}
	file.Pprof = file.Pprof || f.part.Pprof
	return file
}

// adminAccess is the part with its files open.
type adminAccess struct {
	part  accessPart
	keys  *admin.Keys // nil: callers prove nothing
	audit *audit.Log
	log   *slog.Logger
}

// open reads the files. What is recorded without a file of its own goes to log.
func (p accessPart) open(log *slog.Logger) (*adminAccess, error) {
	var problems []error
	p.validate(func(field, problem string) { problems = append(problems, fmt.Errorf("%s: %s", field, problem)) })
	if len(problems) > 0 {
		return nil, usageError{errors.Join(problems...)}
	}
	a := &adminAccess{part: p, audit: audit.New(logs.Unlimited(log)), log: log}
	var err error
	if a.keys, err = admin.OpenKeys(p.files(), log); err != nil {
		err = fmt.Errorf("admin_access: %w", err)
		if errors.Is(err, fs.ErrNotExist) && p.Tokens != "" {
			err = hinted(err, "evenkeel tokens add "+p.Tokens+" NAME read,operate makes a file of tokens")
		}
		return nil, err
	}
	if p.Audit != "" {
		if a.audit, err = audit.Open(p.Audit, logs.Unlimited(log)); err != nil {
			return nil, hinted(err, "admin_access.audit (--audit-log) names a file that this user may write")
		}
	}
	return a, nil
}

// surface makes what a process serves of a role's endpoints.
func (a *adminAccess) surface(p *process, endpoints []admin.Endpoint) *admin.Surface {
	all := append([]admin.Endpoint{{Method: "GET", Path: "/{$}", Role: admin.Read, Handle: p.welcome.ServeHTTP},
		{Method: "GET", Path: selfPath, Role: admin.Socket, Handle: p.tellSelf}}, endpoints...)
	if a.part.Pprof {
		all = append(all, profileEndpoints()...)
		p.welcome.paths = append(p.welcome.paths, path{profilePath, "what it spends processor time and memory on"})
	}
	return admin.New(admin.Config{Hosts: a.part.Hosts, Keys: a.keys, Audit: a.audit, Log: a.log}, all)
}

const profilePath = "/debug/pprof/"

// profileEndpoints show what the program spends time and memory on: `go tool pprof
// http://ADMIN/debug/pprof/profile`. They cost the process time and tell much of it.
func profileEndpoints() (all []admin.Endpoint) {
	for path, handle := range map[string]http.HandlerFunc{"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace} {
		all = append(all, admin.Endpoint{Method: "GET", Path: profilePath + path, Role: admin.Operate, Action: "profile", Handle: handle})
	}
	return all
}

// parts serve at l, if that is not nil, and take up new files. where is for edges and agents
// that take the address for a master's.
func (a *adminAccess) parts(p *process, l net.Listener, shared bool, where string) (all []part) {
	if l != nil {
		all = append(all, part{name: "admin", shared: shared, run: func(ctx context.Context) error { return p.admin.Serve(ctx, adminFor(l, where)) }})
	}
	if a.keys != nil {
		all = append(all, part{name: "admin files", run: a.keys.Run})
	}
	return all
}

// secure reports whether the address may be beyond loopback.
func (a *adminAccess) secure() bool { return a.part.files().Secure() }

// url returns where operators reach a role; empty: nowhere.
func (a *adminAccess) url(l net.Listener) string {
	switch {
	case l == nil:
		return ""
	case a.part.Cert != "":
		return reachable("https", address(l))
	}
	return reachable("http", address(l))
}

// reload reads the files anew on SIGHUP.
func (a *adminAccess) reload() {
	if a == nil {
		return
	}
	if err := a.keys.Reload(); err != nil {
		a.log.Error("new files of admin_access are bad; the former ones stay in use", "err", err)
	}
	if err := a.audit.Reopen(); err != nil {
		a.log.Error("the audit log cannot be opened anew; the file that was open is written on", "err", err)
	}
}

// signalled records what a signal had the process do.
func (a *adminAccess) signalled(action, target string, err error) {
	if a == nil {
		return
	}
	e := audit.Entry{Proof: audit.BySignal, Action: action, Target: target, Outcome: audit.Done}
	if err != nil {
		e.Outcome, e.Detail = audit.Failed, err.Error()
	}
	a.audit.Record(e)
}

// tellSelf says what the process is.
func (p *process) tellSelf(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(p.told) // the caller may be gone
}
