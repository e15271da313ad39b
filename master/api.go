package master

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

//go:embed openapi.yaml
var openAPI []byte

// maxBody is the largest request body of the API, in bytes.
const maxBody = 1 << 20

// route is one operation of the API.
type route struct {
	method, path string
	handle       func(w http.ResponseWriter, r *http.Request) *problem // nil: it has answered
}

func (m *Master) routes() []route {
	metrics := m.newMetrics()
	return []route{
		{"POST", "/v1/pools/{pool}/pick", m.postPick},
		{"POST", "/v1/pools/{pool}/done", m.postDone},
		{"POST", "/v1/pools/{pool}/report", m.postReport},
		{"GET", "/v1/pools", m.getPools},
		{"GET", "/v1/pools/{pool}", m.getPool},
		{"POST", "/v1/pools/{pool}/explain", m.postExplain},
		{"GET", "/v1/pools/{pool}/decisions", m.getDecisions},
		{"GET", "/v1/leases/{lease}", m.getLease},
		{"POST", "/v1/pools/{pool}/servers/{server}/drain", m.postDrain(true)},
		{"POST", "/v1/pools/{pool}/servers/{server}/undrain", m.postDrain(false)},
		{"POST", "/v1/leases/{lease}/done", m.postLeaseDone},
		{"GET", "/metrics", func(w http.ResponseWriter, r *http.Request) *problem { metrics.ServeHTTP(w, r); return nil }},
		{"GET", "/healthz", getHealth},
		{"GET", "/readyz", m.getReady},
		{"GET", "/openapi.yaml", getOpenAPI},
	}
}

// Handler returns the HTTP API, with /metrics, /healthz, /readyz and /openapi.yaml.
func (m *Master) Handler() http.Handler { return m.handler }

func (m *Master) newHandler() http.Handler {
	mux := http.NewServeMux()
	allowed := make(map[string][]string)
	for _, rt := range m.routes() {
		mux.HandleFunc(rt.method+" "+rt.path, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			if p := rt.handle(w, r); p != nil {
				m.log.Debug("api", "path", r.URL.Path, "status", p.Status, "err", p.Detail)
				p.write(w)
			}
		})
		allowed[rt.path] = append(allowed[rt.path], rt.method)
	}
	for path, methods := range allowed {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			newProblem(http.StatusMethodNotAllowed, wrongMethod, fmt.Sprintf("%s %s: it takes %s", r.Method, clip(r.URL.Path), strings.Join(methods, ", "))).write(w)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		newProblem(http.StatusNotFound, noSuchPath, fmt.Sprintf("%s: /openapi.yaml lists what there is", clip(r.URL.Path))).write(w)
	})
	// The API has no login on loopback, so a page in the operator's browser must not reach it.
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		newProblem(http.StatusForbidden, crossOrigin, "the browser says that a page of another site asks").write(w)
	}))
	return guard.Handler(mux)
}

// read decodes the body into v. An empty body is an empty object.
func read(r *http.Request, v any) *problem {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, extra := d.Token(); !errors.Is(extra, io.EOF) {
			err = errors.New("something follows the JSON object")
		}
	}
	var large *http.MaxBytesError
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return nil
	case errors.As(err, &large):
		return newProblem(http.StatusRequestEntityTooLarge, tooLarge, fmt.Sprintf("the body has more than %d bytes", maxBody))
	case errors.As(err, &wrong):
		return newProblem(http.StatusBadRequest, badRequest, fmt.Sprintf("%s: a JSON %s where %s is wanted", cmp.Or(wrong.Field, "the body"), wrong.Value, jsonKind(wrong.Type.Kind().String())))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return newProblem(http.StatusBadRequest, badRequest, "the JSON object is cut off")
	}
	return newProblem(http.StatusBadRequest, badRequest, strings.TrimPrefix(err.Error(), "json: "))
}

// jsonKind is JSON's word for a Go kind.
func jsonKind(kind string) string {
	switch {
	case strings.HasPrefix(kind, "float"), strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"):
		return "a number"
	case kind == "slice":
		return "an array"
	case kind == "map", kind == "struct":
		return "an object"
	}
	return "a " + kind
}

func write(w http.ResponseWriter, v any) *problem {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
	return nil
}

func malformed(err error) *problem {
	return newProblem(http.StatusBadRequest, badRequest, err.Error())
}

func (m *Master) postPick(w http.ResponseWriter, r *http.Request) *problem {
	var body pickBody
	if p := read(r, &body); p != nil {
		return p
	}
	req, err := body.request()
	if err != nil {
		return malformed(err)
	}
	name := r.PathValue("pool")
	if err := m.takeReports(name, body.Reports); err != nil {
		return malformed(err)
	}
	grant, err := m.pick(r.Context(), name, "", req)
	if err != nil {
		return refused(err)
	}
	return write(w, newGrantBody(grant))
}

// takeReports takes the reports that ride in an ask. What cannot be believed is
// dropped and counted.
func (m *Master) takeReports(name string, bodies []reportBody) error {
	p := m.pool(name)
	reports := make([]*balance.Report, 0, len(bodies))
	for i := range bodies {
		r, err := bodies[i].report()
		if err != nil {
			return fmt.Errorf("reports[%d]: %w", i, err)
		}
		reports = append(reports, r)
	}
	if p == nil || len(reports) == 0 {
		return nil // the pick will say so
	}
	now := clock.Now()
	p.mu.Lock()
	defer p.unlock()
	for _, r := range reports {
		_ = p.report(now, r, fromAPI)
	}
	return nil
}

func (m *Master) postDone(w http.ResponseWriter, r *http.Request) *problem {
	var body doneBody
	if p := read(r, &body); p != nil {
		return p
	}
	lease, err := balance.ParseLeaseID(body.Lease)
	if err != nil {
		return malformed(err)
	}
	o, err := body.outcome()
	if err != nil {
		return malformed(err)
	}
	p, missing := m.lookup(r)
	if missing != nil {
		return missing
	}
	return end(w, lease, o, []*pool{p})
}

func (m *Master) postLeaseDone(w http.ResponseWriter, r *http.Request) *problem {
	var body outcomeBody
	if p := read(r, &body); p != nil {
		return p
	}
	lease, err := balance.ParseLeaseID(r.PathValue("lease"))
	if err != nil {
		return malformed(err)
	}
	o, err := body.outcome()
	if err != nil {
		return malformed(err)
	}
	return end(w, lease, o, m.pools.Load().list)
}

// end ends a lease of one of the pools.
func end(w http.ResponseWriter, lease balance.LeaseID, o balance.Outcome, pools []*pool) *problem {
	now := clock.Now()
	for _, p := range pools {
		p.mu.Lock()
		was := p.done(now, lease, o)
		p.unlock()
		if was {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
	}
	return newProblem(http.StatusNotFound, noSuchLease, fmt.Sprintf("lease %s: ended already, expired, or never granted here", lease))
}

func (m *Master) postReport(w http.ResponseWriter, r *http.Request) *problem {
	var body reportBody
	if p := read(r, &body); p != nil {
		return p
	}
	report, err := body.report()
	if err != nil {
		return malformed(err)
	}
	p, missing := m.lookup(r)
	if missing != nil {
		m.strayReports.Add(1)
		return missing
	}
	now := clock.Now()
	p.mu.Lock()
	err = p.report(now, report, fromAPI)
	known := err == nil || slices.ContainsFunc(p.core.Views(now), func(v balance.View) bool { return v.Spec.ID == report.Server })
	p.unlock()
	switch {
	case !known:
		return newProblem(http.StatusNotFound, noSuchHost, err.Error())
	case err != nil:
		return write(w, reportedBody{Problem: err.Error()})
	}
	return write(w, reportedBody{})
}

// lookup finds the pool that the path names.
func (m *Master) lookup(r *http.Request) (*pool, *problem) {
	name := r.PathValue("pool")
	if p := m.pool(name); p != nil {
		return p, nil
	}
	return nil, newProblem(http.StatusNotFound, noSuchPool, unknownPool(name).Detail)
}

func (m *Master) getPools(w http.ResponseWriter, _ *http.Request) *problem {
	list := make([]poolBody, 0)
	for _, p := range m.pools.Load().list {
		body, _ := p.describe()
		list = append(list, body)
	}
	return write(w, map[string]any{"pools": list})
}

func (m *Master) getPool(w http.ResponseWriter, r *http.Request) *problem {
	p, missing := m.lookup(r)
	if missing != nil {
		return missing
	}
	body, views := p.describe()
	body.Servers = make([]serverBody, len(views))
	for i := range views {
		body.Servers[i] = newServerBody(&views[i], m.peers.agent(p.name, views[i].Spec.ID) != nil)
	}
	return write(w, body)
}

func (p *pool) describe() (poolBody, []balance.View) {
	now := clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	views := p.core.Views(now)
	body := poolBody{Name: p.name, Policy: p.cfg.Policy, Dispatch: p.cfg.Dispatch, Removed: p.closing, Open: p.core.Open(), Waiting: p.core.Waiting(), Count: len(views),
		Leading: p.leads(now), Fence: p.lead.fence, Leader: p.lead.leader}
	for i := range views {
		if views[i].State == balance.Up {
			body.Up++
		}
	}
	return body, views
}

func (m *Master) postDrain(on bool) func(http.ResponseWriter, *http.Request) *problem {
	return func(w http.ResponseWriter, r *http.Request) *problem {
		p, missing := m.lookup(r)
		if missing != nil {
			return missing
		}
		server := balance.ServerID(r.PathValue("server"))
		p.mu.Lock()
		err := p.drain(clock.Now(), server, on)
		p.unlock()
		if err != nil {
			return newProblem(http.StatusNotFound, noSuchHost, err.Error())
		}
		m.log.Info("server drained by an operator", "pool", p.name, "server", server, "drained", on)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

func getHealth(w http.ResponseWriter, _ *http.Request) *problem {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n")
	return nil
}

func (m *Master) getReady(w http.ResponseWriter, r *http.Request) *problem {
	if !m.running.Load() {
		return newProblem(http.StatusServiceUnavailable, notReady, "starting or stopping")
	}
	return getHealth(w, r)
}

func getOpenAPI(w http.ResponseWriter, _ *http.Request) *problem {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(openAPI)
	return nil
}
