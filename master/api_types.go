package master

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// The bodies of the HTTP API, as openapi.yaml describes them.

type pickBody struct {
	ID         string            `json:"id"`
	Key        string            `json:"key"`
	Client     string            `json:"client"`
	Priority   int               `json:"priority"`
	Tenant     string            `json:"tenant"`
	Belief     string            `json:"tenant_belief"`
	DeadlineMS float64           `json:"deadline_ms"`
	Link       string            `json:"link"`
	Exclude    []string          `json:"exclude"`
	Labels     map[string]string `json:"labels"`
	Location   string            `json:"location"`
	Method     string            `json:"method"`
	Host       string            `json:"host"`
	Path       string            `json:"path"`
	HoldMS     float64           `json:"hold_ms"`
	Size       float64           `json:"size"`
	Class      string            `json:"class"`
	Reports    []reportBody      `json:"reports"`
}

func (b *pickBody) request() (*balance.Request, error) {
	r := &balance.Request{ID: balance.HashID(b.ID), Key: b.Key, Priority: b.Priority, Tenant: b.Tenant, Location: b.Location, Method: b.Method, Host: b.Host, Path: b.Path, Size: b.Size, Class: b.Class}
	switch b.Link {
	case "", "route":
	case "redirect":
		r.Link = balance.LinkRedirect
	default:
		return nil, fmt.Errorf("link: %q, want route or redirect", clip(b.Link))
	}
	var known bool
	if r.Belief, known = balance.ParseBelief(b.Belief); !known {
		return nil, fmt.Errorf("tenant_belief: %q, want %s, %s or %s", clip(b.Belief), balance.Told, balance.Proven, balance.Disbelieved)
	}
	var err error
	if b.Client != "" {
		if r.Client, err = netip.ParseAddr(b.Client); err != nil {
			return nil, fmt.Errorf("client: %q is not an IP address", clip(b.Client))
		}
	}
	deadline, err := milliseconds("deadline_ms", b.DeadlineMS)
	if err != nil {
		return nil, err
	}
	if deadline > 0 {
		r.Deadline = clock.Now().Add(deadline)
	}
	if r.Hold, err = milliseconds("hold_ms", b.HoldMS); err != nil {
		return nil, err
	}
	for _, id := range b.Exclude {
		r.Exclude = append(r.Exclude, balance.ServerID(id))
	}
	for k, v := range b.Labels {
		r.Labels = append(r.Labels, balance.Label{Key: k, Value: v})
	}
	var bad []error
	r.Validate(func(field, problem string) { bad = append(bad, fmt.Errorf("%s: %s", field, problem)) })
	return r, errors.Join(bad...)
}

func milliseconds(field string, ms float64) (time.Duration, error) {
	if !(ms >= 0 && ms <= float64(longestHold/time.Millisecond)) {
		return 0, fmt.Errorf("%s: %v, want 0 to %d", field, ms, longestHold/time.Millisecond)
	}
	return time.Duration(ms * float64(time.Millisecond)), nil
}

type grantBody struct {
	Lease     string   `json:"lease"`
	Server    string   `json:"server"`
	Address   string   `json:"address"`
	At        string   `json:"at,omitempty"`
	Public    string   `json:"public"`
	ExpiresMS *float64 `json:"expires_ms,omitempty"`
	Fence     uint64   `json:"fence,omitempty"`
}

func newGrantBody(g balance.Grant) grantBody {
	b := grantBody{Lease: g.Told().String(), Server: string(g.Server), Address: g.Address, At: g.At, Public: g.Public, Fence: g.Fence}
	if b.Public == "" {
		b.Public = balance.BaseURL(g.Address)
	}
	if g.Expires != 0 {
		left := toMS(max(0, g.Expires.Sub(clock.Now())))
		b.ExpiresMS = &left
	}
	return b
}

func toMS(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

type doneBody struct {
	Lease string `json:"lease"`
	balance.OutcomeBody
}

type reportBody struct {
	Server  string              `json:"server"`
	AgeMS   float64             `json:"age_ms"`
	Window  float64             `json:"window_ms"`
	Metrics map[string]*float64 `json:"metrics"` // null: not measured
}

func (b *reportBody) report() (*balance.Report, error) {
	age, err := upToAnHour("age_ms", b.AgeMS)
	if err != nil {
		return nil, err
	}
	window, err := upToAnHour("window_ms", b.Window)
	if err != nil {
		return nil, err
	}
	if b.Server == "" {
		return nil, fmt.Errorf("server: missing, want a server's id")
	}
	r := &balance.Report{Server: balance.ServerID(b.Server), Age: age, Window: window}
	for name, value := range b.Metrics {
		if value != nil {
			r.Metrics = append(r.Metrics, balance.Metric{Name: name, Value: *value})
		}
	}
	return r, nil
}

func upToAnHour(field string, ms float64) (time.Duration, error) {
	d, err := milliseconds(field, ms)
	if err == nil && d > time.Hour {
		err = fmt.Errorf("%s: %v, want 0 to %d", field, ms, time.Hour/time.Millisecond)
	}
	return d, err
}

type reportedBody struct {
	Problem string `json:"problem,omitempty"`
}

type poolBody struct {
	Name     string       `json:"name"`
	Policy   string       `json:"policy"`
	Dispatch bool         `json:"dispatch"`
	Removed  bool         `json:"removed"`
	Open     int          `json:"leases_open"`
	Waiting  int          `json:"queue_length"`
	Count    int          `json:"server_count"`
	Up       int          `json:"servers_up"`
	Leading  bool         `json:"leading"`
	Fence    uint64       `json:"fence,omitempty"`
	Refused  uint64       `json:"fence_refused_by,omitempty"`
	Leader   string       `json:"leader,omitempty"`
	Canary   *canaryBody  `json:"canary,omitempty"`
	Servers  []serverBody `json:"servers,omitempty"`
}

type serverBody struct {
	serverCondition
	ID        string `json:"id"`
	State     string `json:"state"`
	Unhealthy string `json:"unhealthy,omitempty"`
	addressBody
	Location  string                `json:"location,omitempty"`
	Labels    map[string]string     `json:"labels,omitempty"`
	Fixed     bool                  `json:"fixed"`
	Agent     bool                  `json:"agent"`
	InFlight  int                   `json:"in_flight"` // of this pool
	Load      float64               `json:"load"`
	External  float64               `json:"external_load"`
	Slots     float64               `json:"slots"`
	Known     bool                  `json:"slots_known"`
	Service   float64               `json:"service_s"`
	Success   float64               `json:"success_ratio"`
	Score     *float64              `json:"score"`
	Granted   uint64                `json:"granted"`
	Unreached int                   `json:"unreached_edges,omitempty"`
	Doubt     string                `json:"doubt,omitempty"`
	Metrics   map[string]metricBody `json:"metrics"`
	elsewhereBody
}

// addressBody is where a server is.
type addressBody struct {
	Address string   `json:"address"`
	At      string   `json:"at,omitempty"`
	Several []string `json:"addresses,omitempty"`
	Public  string   `json:"public,omitempty"`
}

type metricBody struct {
	Value float64 `json:"value"`
	AgeMS float64 `json:"age_ms"`
}

func newServerBody(v *balance.View, agent bool) serverBody {
	b := serverBody{ID: string(v.Spec.ID), State: v.State.String(), Unhealthy: v.Unhealthy, addressBody: addressBody{v.Spec.Address, v.Location.At, v.Location.All, v.Spec.Public}, Location: v.Spec.Location,
		Fixed: v.Fixed, Agent: agent, InFlight: v.Leases, Load: v.Load, External: v.External, Slots: v.Slots, Known: v.Known,
		Service: v.Service, Success: v.Success, Granted: v.Granted, serverCondition: serverCondition{Health: balance.OutageWords(v.Outages), Outages: newOutages(v.Outages)}, Unreached: v.Unreached, Doubt: v.Doubt.String(), Metrics: make(map[string]metricBody, len(v.Metrics)), elsewhereBody: elsewhereBody{v.Pools, v.Elsewhere}}
	if !math.IsNaN(v.Score) && !math.IsInf(v.Score, 0) {
		b.Score = &v.Score
	}
	if len(v.Spec.Labels) > 0 {
		b.Labels = make(map[string]string, len(v.Spec.Labels))
	}
	for _, l := range v.Spec.Labels {
		b.Labels[l.Key] = l.Value
	}
	for _, m := range v.Metrics {
		b.Metrics[m.Name] = metricBody{m.Value, toMS(m.Age)}
	}
	return b
}
