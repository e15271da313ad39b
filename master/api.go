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
	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

//go:embed openapi.yaml
var openAPI []byte

// maxBody bounds a request body of the API, in bytes.
const maxBody = 1 << 20

// route is one operation of the API.
type route struct {
	method, path string
	role         admin.Role
	action       string                                                 // name in the audit log; empty: it is not recorded
	handle       func(w http.ResponseWriter, r *http.Request) *document // nil: it has answered
}

func (m *Master) routes() []route {
	metrics := m.newMetrics()
	return []route{
		{"POST", "/v1/pools/{pool}/pick", admin.Pick, "", m.postPick},
		{"POST", "/v1/pools/{pool}/done", admin.Pick, "", m.postDone},
		{"POST", "/v1/pools/{pool}/report", admin.Pick, "", m.postReport},
		{"GET", "/v1/status", admin.Read, "", m.getStatus},
		{"GET", "/v1/stream", admin.Read, "", m.getStream},
		{"GET", "/v1/tap", admin.Read, "tap", m.getTap},
		{"GET", "/v1/events", admin.Read, "", m.getEvents},
		{"GET", "/v1/pools", admin.Read, "", m.getPools},
		{"GET", "/v1/pools/{pool}", admin.Read, "", m.getPool},
		{"POST", "/v1/pools/{pool}/explain", admin.Read, "explain", m.postExplain},
		{"GET", "/v1/pools/{pool}/decisions", admin.Read, "explain", m.getDecisions},
		{"GET", "/v1/pools/{pool}/servers/{server}/explain", admin.Read, "explain", m.getLosses},
		{"GET", "/v1/leases/{lease}", admin.Read, "explain", m.getLease},
		{"GET", "/v1/requests/{request}", admin.Read, "explain", m.getRequest},
		{"POST", "/v1/pools/{pool}/servers/{server}/drain", admin.Operate, "drain", m.postDrain(true)},
		{"POST", "/v1/pools/{pool}/servers/{server}/undrain", admin.Operate, "undrain", m.postDrain(false)},
		{"POST", "/v1/pools/{pool}/servers/{server}/set", admin.Operate, "set", m.postSet},
		{"POST", "/v1/pools/{pool}/servers/{server}/unset", admin.Operate, "unset", m.postUnset},
		{"POST", "/v1/pools/{pool}/tokens", admin.Enrol, "", m.postToken},
		{"POST", "/v1/tokens/{token}/revoke", admin.Enrol, "revoke a token", m.postRevoke},
		{"POST", "/v1/leases/{lease}/done", admin.Pick, "", m.postLeaseDone},
		{"POST", "/v1/election/raise", admin.Operate, "raise the fence", m.postRaise},
		{"GET", "/metrics", admin.Read, "", func(w http.ResponseWriter, r *http.Request) *document { metrics.ServeHTTP(w, r); return nil }},
		{"GET", "/healthz", admin.Anyone, "", getHealth},
		{"GET", "/readyz", admin.Anyone, "", m.getReady},
		{"GET", "/openapi.yaml", admin.Anyone, "", getOpenAPI},
	}
}

// Endpoints returns the HTTP API, with /metrics, /healthz, /readyz and /openapi.yaml. It is
// called once.
func (m *Master) Endpoints() (all []admin.Endpoint) {
	for _, rt := range m.routes() {
		all = append(all, admin.Endpoint{Method: rt.method, Path: rt.path, Role: rt.role, Action: rt.action, Handle: func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			if p := rt.handle(w, r); p != nil {
				m.log.Debug("api", "path", r.URL.Path, "status", p.Status, "err", p.Detail)
				p.Write(w)
			}
		}})
	}
	return all
}

// read decodes the body into v. An empty body counts as an empty object.
func read(r *http.Request, v any) *document {
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

// jsonKind returns JSON's name of a Go kind.
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

func write(w http.ResponseWriter, v any) *document {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
	return nil
}

func malformed(err error) *document {
	return newProblem(http.StatusBadRequest, badRequest, err.Error())
}

func (m *Master) postPick(w http.ResponseWriter, r *http.Request) *document {
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

// takeReports stores the reports of an ask. Implausible ones are dropped and counted.
func (m *Master) takeReports(name string, bodies []reportBody) error {
	p := m.poolNamed(name)
	reports := make([]*balance.Report, 0, len(bodies))
	for i := range bodies {
		r, err := bodies[i].report()
		if err != nil {
			return fmt.Errorf("reports[%d]: %w", i, err)
		}
		reports = append(reports, r)
	}
	if p == nil || len(reports) == 0 {
		return nil // the pick returns the error
	}
	now := clock.Now()
	p.mu.Lock()
	defer p.unlock()
	for _, r := range reports {
		_ = p.storeReportLocked(now, r, fromAPI)
	}
	return nil
}

func (m *Master) postDone(w http.ResponseWriter, r *http.Request) *document {
	var body doneBody
	if p := read(r, &body); p != nil {
		return p
	}
	lease, err := balance.ParseTaggedLease(body.Lease)
	if err != nil {
		return malformed(err)
	}
	o, err := body.Outcome()
	if err != nil {
		return malformed(err)
	}
	p, missing := m.lookup(r)
	if missing != nil {
		return missing
	}
	return end(w, lease, o, []*pool{p})
}

func (m *Master) postLeaseDone(w http.ResponseWriter, r *http.Request) *document {
	var body balance.OutcomeBody
	if p := read(r, &body); p != nil {
		return p
	}
	lease, err := balance.ParseTaggedLease(r.PathValue("lease"))
	if err != nil {
		return malformed(err)
	}
	o, err := body.Outcome()
	if err != nil {
		return malformed(err)
	}
	return end(w, lease, o, m.pools.Load().list)
}

// end ends a lease in one of the pools.
func end(w http.ResponseWriter, lease balance.TaggedLease, o balance.Outcome, pools []*pool) *document {
	now := clock.Now()
	for _, p := range pools {
		p.mu.Lock()
		how := p.endByTagLocked(now, lease, "", o, fromAPI)
		p.unlock()
		switch how {
		case balance.Ended:
			w.WriteHeader(http.StatusNoContent)
			return nil
		case balance.Foreign:
			return newProblem(http.StatusForbidden, foreignLease, fmt.Sprintf("lease %s: the 16 digits behind its id are not those that were issued with it; a routed lease has none, and its edge ends it", lease.ID))
		}
	}
	return newProblem(http.StatusNotFound, noSuchLease, fmt.Sprintf("lease %s: ended already, expired, or never granted here", lease.ID))
}

func (m *Master) postReport(w http.ResponseWriter, r *http.Request) *document {
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
		m.unknownPoolReports.Add(1)
		return missing
	}
	now := clock.Now()
	p.mu.Lock()
	err = p.storeReportLocked(now, report, fromAPI)
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

// lookup returns the pool that the path names.
func (m *Master) lookup(r *http.Request) (*pool, *document) {
	name := r.PathValue("pool")
	if p := m.poolNamed(name); p != nil {
		return p, nil
	}
	return nil, newProblem(http.StatusNotFound, noSuchPool, unknownPool(name).Detail)
}

func (m *Master) getPools(w http.ResponseWriter, _ *http.Request) *document {
	list := make([]poolBody, 0)
	for _, p := range m.pools.Load().list {
		body, _ := p.describe()
		list = append(list, body)
	}
	return write(w, map[string]any{"pools": list})
}

func (m *Master) getPool(w http.ResponseWriter, r *http.Request) *document {
	p, missing := m.lookup(r)
	if missing != nil {
		return missing
	}
	body, views := p.describe()
	body.Servers = make([]serverBody, len(views))
	for i := range views {
		body.Servers[i] = newServerBody(&views[i], m.peers.agentOf(p.name, views[i].Spec.ID) != nil)
	}
	overrides := p.overridesInForce()
	for i := range body.Servers {
		body.Servers[i].Overrides = overrides[views[i].Spec.ID]
	}
	return write(w, body)
}

func (p *pool) describe() (poolBody, []balance.View) {
	now := clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	views := p.core.Views(now)
	body := poolBody{Name: p.name, Policy: p.cfg.Policy, Dispatch: p.cfg.Dispatch, Removed: p.closing, Open: p.core.Open(), Waiting: p.core.Waiting(), Count: len(views),
		Leading: p.isLeadingLocked(now), Fence: p.lead.fence, Refused: p.lead.refused, Leader: p.lead.leader}
	canary, has := p.core.CanaryView(now)
	body.Canary = newCanaryBody(&canary, has)
	for i := range views {
		if views[i].State == balance.Up {
			body.Up++
		}
	}
	return body, views
}

func getHealth(w http.ResponseWriter, _ *http.Request) *document {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n")
	return nil
}

func (m *Master) getReady(w http.ResponseWriter, r *http.Request) *document {
	if !m.running.Load() {
		return newProblem(http.StatusServiceUnavailable, notReady, "starting or stopping")
	}
	if pools := m.refusedPools(); len(pools) > 0 {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "degraded: edges refuse this master's lead of pool "+strings.Join(pools, ", ")+": the election's store has lost data\n")
		return nil
	}
	return getHealth(w, r)
}

func getOpenAPI(w http.ResponseWriter, _ *http.Request) *document {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(openAPI)
	return nil
}
