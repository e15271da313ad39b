package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// What the commands for operators have in common: they ask a master's HTTP API.

// api is a master's HTTP API: at the address that a person names, or that of a process of this machine.
type api struct {
	base, at string // flags
	proof    proofFlags
	cmd      *cobra.Command
	master   *target // that was chosen; nil: not yet
}

// target is the master that is asked.
type target struct {
	base, where string // the latter for people
	process     *found // nil: it was named by an address
	http        http.Client
}

// socketBase is the base of URLs to a process's socket, where the host says nothing.
const socketBase = "http://localhost"

func (a *api) add(cmd *cobra.Command) { a.addFor(cmd, completeProcesses) }

// addFor adds the flags; processes are the words for --at.
func (a *api) addFor(cmd *cobra.Command, processes func(ctx context.Context) []string) {
	a.cmd = cmd
	a.proof.add(cmd)
	cmd.Flags().StringVar(&a.base, "admin", "", "a master's admin address ($"+envAdmin+"; default: the socket of the one process on this machine that has a master)")
	cmd.Flags().StringVar(&a.at, "at", "", "which process of this machine: its name, id, process id or socket")
	completeFlag(cmd, "at", processes)
}

// target chooses the master once, so that a command that asks again and again keeps to it.
func (a *api) target(ctx context.Context) (*target, error) {
	if a.master != nil {
		return a.master, nil
	}
	named := a.base
	if named == "" && a.at == "" {
		if named = os.Getenv(envAdmin); named != "" {
			out := a.cmd.ErrOrStderr()
			terminal.PrintLine(out, terminal.NewPainter(out)(terminal.Dim, "asking "+named+", as "+envAdmin+" says"))
		}
	}
	if named == "" {
		f, err := findMaster(ctx, a.at)
		if err != nil {
			return nil, err
		}
		if a.at == "" {
			out := a.cmd.ErrOrStderr()
			terminal.PrintLine(out, terminal.NewPainter(out)(terminal.Dim, "asking "+f.Name+", admin "+cmp.Or(f.told.Admin, "unknown")))
		}
		a.master = f.target()
		return a.master, nil
	}
	if a.at != "" {
		return nil, hint.Usagef("--at names a process of this machine, --admin an address", "--at and --admin cannot go together")
	}
	base := named
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, hint.Usagef("such as --admin http://"+settings.DefaultMasterAdmin, "--admin %q: want a URL", named)
	}
	transport, err := a.proof.transport(u)
	if err != nil {
		return nil, err
	}
	base = strings.TrimSuffix(base, "/")
	a.master = &target{base: base, where: base, http: http.Client{Transport: transport, CheckRedirect: noRedirect}}
	return a.master, nil
}

func (f *found) target() *target {
	return &target{base: socketBase, where: f.Name, process: f, http: http.Client{Transport: f.roundTripper()}}
}

// get is how a person asks for a page.
func (t *target) get(path string) string {
	if t.process != nil {
		return "curl --unix-socket " + t.process.Path + " " + t.base + path
	}
	return "GET " + t.base + path
}

// noRedirect keeps a token from being sent elsewhere.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

const (
	apiPatience = 10 * time.Second
	apiMost     = 64 << 20 // bytes of an answer: 10,000 servers explained are a few MB
)

// call asks the API, with body as JSON unless it is nil, and returns the JSON that it answers.
func (a *api) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	t, err := a.target(ctx)
	if err != nil {
		return nil, err
	}
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, t.base+path, sent)
	if err != nil {
		return nil, err
	}
	res, err := t.http.Do(req)
	if err != nil {
		if successor := t.successor(ctx, err); successor != nil {
			a.master = successor
			return a.call(ctx, method, path, body)
		}
		return nil, t.silent(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, apiMost))
	if err != nil {
		return nil, fmt.Errorf("the answer of %s was cut short: %w", t.where, err)
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		return nil, t.refused(res, answer)
	}
	return answer, nil
}

// stream asks the API for events that go on until ctx ends, which the caller closes.
func (a *api) stream(ctx context.Context, path string) (io.ReadCloser, error) {
	t, err := a.target(ctx)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.base+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := t.http.Do(req)
	if err != nil {
		if successor := t.successor(ctx, err); successor != nil {
			a.master = successor
			return a.stream(ctx, path)
		}
		return nil, t.silent(err)
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		defer func() { _ = res.Body.Close() }()
		answer, _ := io.ReadAll(io.LimitReader(res.Body, apiMost)) // of an error as much as there is
		return nil, t.refused(res, answer)
	}
	return res.Body, nil
}

// silent is the error for a master that does not answer.
func (t *target) silent(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err
	}
	return hint.With(fmt.Errorf("no master answers at %s: %w", t.where, err), "--admin names the admin address of a master, or of evenkeel run; its log has it as admin")
}

// successor returns the process that has taken over from t, if err says that t is gone: nothing was sent then.
func (t *target) successor(ctx context.Context, err error) *target {
	var failed *net.OpError
	if t.process == nil || !errors.As(err, &failed) || failed.Op != "dial" {
		return nil
	}
	if f := findSuccessor(ctx, cmp.Or(t.process.told.PID, t.process.PID)); f != nil {
		return f.target()
	}
	return nil
}

// refused is the error for an answer that says no.
func (t *target) refused(res *http.Response, answer []byte) error {
	var problem struct{ Title, Detail, Reason string }
	if json.Unmarshal(answer, &problem) != nil || problem.Reason == "" {
		said := ""
		if first, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";"); first == "text/plain" && len(answer) < 1000 {
			said = "\n" + balance.PlainText(strings.TrimSpace(string(answer))) // such as that of a master's other port, which names the right one
		}
		return hint.With(fmt.Errorf("%s does not serve a master's API: %s%s", t.where, res.Status, said), "--admin names the admin address of a master, or of evenkeel run")
	}
	makePlain(&problem)
	return hint.With(refusedError{problem.Reason, problem.Detail}, map[string]string{
		"no-such-pool":    t.get("/v1/pools") + " lists the pools",
		"unknown-server":  t.get("/v1/pools/NAME") + " lists its servers",
		"unknown-request": "decisions in the pool's part of the file says how many the master keeps; the master does not know requests that an edge refuses by itself (400, 404, 408, 431 …): the edge's access log has the reason",
		"unknown-lease":   "decisions in the pool's part of the file says how many the master keeps",
		"no-such-path":    "that master is older than this program",
		"no-proof":        "--token-file names a file with a token, --tls-cert and --tls-key a client certificate; on the master's machine its unix socket needs neither (leave --admin out)",
		"wrong-role":      "evenkeel tokens add FILE NAME read,operate,enrol makes a token that may; on the master's machine its unix socket needs none (leave --admin out)",
		"no-enrolment":    "evenkeel certs issuer NAME --pool POOL makes the issuer, where ca.key is",
		"unknown-host":    "name it in the master's admin_access.hosts (--admin-host), or ask by IP address",
	}[problem.Reason])
}

// refusedError is why the API refused a call.
type refusedError struct{ reason, detail string }

func (r refusedError) Error() string { return r.detail }

// refusedFor reports whether the API refused a call for that reason.
func refusedFor(err error, reason string) bool {
	r, ok := errors.AsType[refusedError](err)
	return ok && r.reason == reason
}

// printAnswer decodes an answer of the API and prints it, as it came if asJSON is set,
// else as forPeople does once into is filled.
func printAnswer(out io.Writer, answer []byte, asJSON bool, into any, forPeople func()) error {
	if err := json.Unmarshal(answer, into); err != nil {
		return hint.With(fmt.Errorf("the answer is not that of a master's admin address: %q … is not JSON", terminal.Clip(string(answer), 20)), "it is the key admin in the master's file, by default http://"+settings.DefaultMasterAdmin+"; clients' requests go to another port")
	}
	if asJSON {
		var text bytes.Buffer
		if err := json.Indent(&text, answer, "", "  "); err != nil {
			return fmt.Errorf("the master's answer: %w", err)
		}
		_, err := text.WriteTo(out)
		return err
	}
	makePlain(into)
	forPeople()
	return nil
}
