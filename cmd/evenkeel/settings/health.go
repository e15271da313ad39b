package settings

import (
	"crypto/tls"
	"time"

	"github.com/evenkeel-lb/evenkeel/config"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/probe"
)

// Health is how servers are checked, by the master or by an agent.
type Health struct {
	HTTP     string        `yaml:"http" also:"path"`
	Status   int           `yaml:"status"`
	GRPC     bool          `yaml:"grpc"`
	Service  string        `yaml:"service" also:"grpcservice"`
	TCP      bool          `yaml:"tcp"`
	Interval time.Duration `yaml:"interval" also:"period" zero:"no"`
	Timeout  time.Duration `yaml:"timeout" zero:"no"`
	Rise     int           `yaml:"rise" zero:"no"`
	Fall     int           `yaml:"fall" zero:"no"`

	// How servers are spoken to; nil: as the first route to their pool says, if the file has one.
	Servers   *protocolText `yaml:"server_protocol" also:"protocol http2 h2c"`
	ServerTLS *ServerTLS    `yaml:"server_tls" also:"tls ssl"`
}

// check returns the check as the rooms take it. secrets has what the part's server_tls names.
func (h *Health) check(secrets map[ServerTLS]*clientTLS) probe.Check {
	c := probe.Check{HTTP: h.HTTP, Status: h.Status, GRPC: h.GRPC, Service: h.Service, TCP: h.TCP,
		Interval: h.Interval, Timeout: h.Timeout, Rise: h.Rise, Fall: h.Fall}
	c.HTTP2 = h.Servers != nil && routing.Protocol(*h.Servers) == routing.HTTP2
	c.TLS = configOf(h.ServerTLS, secrets)
	return c
}

func configOf(t *ServerTLS, secrets map[ServerTLS]*clientTLS) *tls.Config {
	if t == nil || secrets[*t] == nil {
		return nil
	}
	return secrets[*t].config
}

// readFiles reads what the part's server_tls names into secrets.
func (h *Health) readFiles(secrets map[ServerTLS]*clientTLS, bad func(field, problem string)) {
	if t := h.ServerTLS; t != nil && secrets[*t] == nil {
		secrets[*t] = t.read(func(field, problem string) { bad("server_tls."+field, problem) })
	}
}

// readHealthFiles reads what the checks of pools and agent name of files with keys.
func (s *Settings) readHealthFiles(bad func(path, problem string)) {
	s.healthTLS = make(map[ServerTLS]*clientTLS)
	for _, name := range s.PoolNames() {
		pool := s.Pools[name]
		pool.Health.readFiles(s.healthTLS, func(field, problem string) { bad(config.Field("pools", name)+".health."+field, problem) })
	}
	if s.Agent != nil {
		s.Agent.Health.readFiles(s.healthTLS, func(field, problem string) { bad("agent.health."+field, problem) })
	}
}

// health returns how a pool's servers are checked: by what the part says, and where that is silent as
// the first of the file's routes to the pool speaks to them.
func (s *Settings) health(part *Health, pool string) probe.Check {
	c := part.check(s.healthTLS)
	if !c.Enabled() || s.Edge == nil {
		return c
	}
	r := s.Edge.routeTo(pool)
	if r == nil {
		return c
	}
	if part.Servers == nil && c.HTTP != "" {
		c.HTTP2 = routing.Protocol(r.Servers) == routing.HTTP2
	}
	if part.ServerTLS == nil && s.Files != nil {
		c.TLS = configOf(r.ServerTLS, s.Files.servers)
	}
	return c
}

// routeTo returns the first route by which HTTP goes to a pool, or nil.
func (e *Edge) routeTo(pool string) *Route {
	for i := range e.Listeners {
		l := &e.Listeners[i]
		for j := range l.Routes {
			if routing.Mode(l.Mode) == routing.ModeHTTP && l.Routes[j].Pool == pool {
				return &l.Routes[j]
			}
		}
	}
	return nil
}
