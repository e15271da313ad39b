package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/orca"
	"github.com/evenkeel-lb/evenkeel/internal/problem"
)

// Endpoints returns the agent's API for the application on the same machine:
//
//	POST /v1/report            its load: JSON {"in_flight": 3, "metrics": {"name": 1.5}}, or ORCA as text/plain
//	POST /v1/leases/{id}/done  a lease is over: nothing, or JSON {"result": "ok", "duration_ms": 12}
//	GET  /v1/leases/{id}       an accepted dispatch: open, or how it ended; ?wait=30s waits as long for its end
//	GET  /metrics              Prometheus
//	GET  /healthz, /readyz     the agent lives; it is connected to a master
//
// Errors are RFC 9457 problems. A caller that may report can report for the server.
func (a *Agent) Endpoints() []admin.Endpoint {
	return []admin.Endpoint{
		{Method: "POST", Path: "/v1/report", Role: admin.Pick, Handle: answer(a.takeReport)},
		{Method: "POST", Path: "/v1/leases/{id}/done", Role: admin.Pick, Handle: answer(a.takeDone)},
		{Method: "GET", Path: "/v1/leases/{id}", Role: admin.Pick, Handle: a.getLease},
		{Method: "GET", Path: "/metrics", Role: admin.Read, Handle: a.metrics.handler().ServeHTTP},
		{Method: "GET", Path: "/healthz", Role: admin.Anyone, Handle: fine},
		{Method: "GET", Path: "/readyz", Role: admin.Anyone, Handle: a.ready},
	}
}

func fine(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") }

func (a *Agent) ready(w http.ResponseWriter, r *http.Request) {
	if !a.sender.Connected() {
		(&problem.Document{Status: http.StatusServiceUnavailable, Detail: "not connected to any master"}).Write(w)
		return
	}
	fine(w, r)
}

// answer writes 204 for a nil error, the document for a *problem.Document, and 400 for any other error.
func answer(handle func(*http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := handle(r)
		p := &problem.Document{Status: http.StatusBadRequest}
		switch {
		case err == nil:
			w.WriteHeader(http.StatusNoContent)
			return
		case !errors.As(err, &p):
			p.Detail = err.Error()
		}
		p.Write(w)
	}
}

// mostBody is the maximum size of a request body from the application, in bytes.
const mostBody = 64 << 10

func readBody(r *http.Request) ([]byte, error) {
	said, err := io.ReadAll(io.LimitReader(r.Body, mostBody+1))
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	if len(said) > mostBody {
		return nil, &problem.Document{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("body: more than %d bytes", mostBody)}
	}
	return said, nil
}

func (a *Agent) takeReport(r *http.Request) error {
	said, err := readBody(r)
	if err != nil {
		return err
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	var metrics []balance.Metric
	switch media {
	case "text/plain":
		metrics, err = orcaReport(string(said))
	case "application/json", "application/x-www-form-urlencoded", "": // the second is what curl -d says of anything
		metrics, err = jsonReport(said)
	default:
		return &problem.Document{Status: http.StatusUnsupportedMediaType, Detail: fmt.Sprintf("content type %s: want application/json or text/plain", media)}
	}
	if err != nil {
		return err
	}
	if dropped := a.put(clock.Now(), true, metrics); len(dropped) > 0 {
		return &problem.Document{Status: http.StatusUnprocessableEntity, Detail: fmt.Sprintf("dropped %s, kept the rest: want numbers from 0 to 1e15, at most %d metrics", strings.Join(dropped, ", "), balance.MaxMetrics)}
	}
	return nil
}

func jsonReport(said []byte) ([]balance.Metric, error) {
	var report struct {
		InFlight *float64           `json:"in_flight"`
		Metrics  map[string]float64 `json:"metrics"`
	}
	if err := strictly(said, &report); err != nil {
		return nil, err
	}
	var metrics []balance.Metric
	if report.InFlight != nil {
		metrics = append(metrics, balance.Metric{Name: balance.InFlight, Value: *report.InFlight})
	}
	for short, v := range report.Metrics {
		name := canonical(short)
		if short == "" || len(name) > balance.MaxMetricName {
			return nil, fmt.Errorf("metrics: name of %d bytes, want 1 to %d with its prefix", len(short), balance.MaxMetricName)
		}
		metrics = append(metrics, balance.Metric{Name: name, Value: v})
	}
	slices.SortFunc(metrics, func(a, b balance.Metric) int { return strings.Compare(a.Name, b.Name) })
	return metrics, nil
}

// orcaReport reads a value of the header endpoint-load-metrics; the format word may be left out.
func orcaReport(said string) ([]balance.Metric, error) {
	said = strings.TrimSpace(said)
	if first, _, _ := strings.Cut(said, " "); strings.Contains(first, "=") {
		said = "TEXT " + said
	}
	metrics, err := orca.Parse(func(name string) []string {
		if name == orca.Header {
			return []string{said}
		}
		return nil
	})
	if err != nil && len(metrics) > 0 {
		return metrics, nil // as in a response header, one odd key does not spoil the others
	}
	return metrics, err
}

func (a *Agent) takeDone(r *http.Request) error {
	id, err := balance.ParseTaggedLease(r.PathValue("id"))
	if err != nil {
		return err
	}
	said, err := readBody(r)
	if err != nil {
		return err
	}
	var done balance.OutcomeBody
	if len(said) > 0 {
		if err := strictly(said, &done); err != nil {
			return err
		}
	}
	outcome, err := done.Outcome()
	if err != nil {
		return err
	}
	a.sender.Done(id, outcome)
	return nil
}

// strictly reads one JSON value that has no fields but those of v.
func strictly(said []byte, v any) error {
	d := json.NewDecoder(strings.NewReader(string(said)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("body: more than one JSON value")
	}
	return nil
}
