package routing

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
)

// validateFacts calls bad once for every fact whose source or constant cannot be worked with.
func (r *Route) validateFacts(bad func(field, problem string)) {
	var scratch BoundFacts
	f := &r.Facts
	_ = f.each(func(field, spec string, parse factParser, _ **Source) error {
		s, err := newFactSource(field, spec, parse)
		if err != nil {
			bad(field, err.Error())
		}
		r.needsBody(field, s, bad)
		return nil
	}, &scratch)
	if len(f.Labels) > balance.MaxLabels {
		bad("labels", fmt.Sprintf("%d, want at most %d", len(f.Labels), balance.MaxLabels))
	}
	for name := range f.Labels {
		if problem := balance.BadName(name); problem != "" {
			bad("labels", problem)
		}
	}
	for p, location := range f.Locations {
		if err := CheckPrefix(p); err != nil {
			bad("locations", err.Error())
		}
		if problem := balance.BadName(location); problem != "" {
			bad("locations", fmt.Sprintf("%v: location %s", p, problem))
		}
	}
}

// validateFactsFrom calls bad if the listener cannot tell whose word on facts counts.
func (r *Route) validateFactsFrom(proxies []netip.Prefix, bad func(field, problem string)) {
	if r.Facts.From == tenants.Trusted && len(proxies) == 0 {
		bad("facts_from", "trusted: the listener has no trusted_proxies, so no header would count")
	}
}

// needsBody calls bad if a source reads the body of requests that is not read before a server is asked for.
func (r *Route) needsBody(field string, s *Source, bad func(field, problem string)) {
	switch {
	case !s.ReadsBody():
	case r.BufferRequest < 0:
		bad(field, "reads the body, but buffer_request is 0: the edge asks for a server before it has read any of it")
	case r.Link == balance.LinkRedirect:
		bad(field, "reads the body, but link is redirect: the server reads it, not the edge")
	case r.ServerProtocol == HTTP2:
		bad(field, "reads the body, but server_protocol is h2: only gRPC's messages are read before a server is asked for, and they are no JSON")
	}
}

// suitsTCP calls bad once for every fact that is no constant: a TCP listener reads no requests.
func (f *Facts) suitsTCP(bad func(field, problem string)) {
	var scratch BoundFacts
	_ = f.each(func(field, spec string, parse factParser, _ **Source) error {
		if s, err := newFactSource(field, spec, parse); err == nil && s.constant == "" {
			bad(field, fmt.Sprintf("%q, want a constant: a listener with mode tcp reads no requests", spec))
		}
		return nil
	}, &scratch)
}

// labelField returns the path of a label in a route's part of the file.
func labelField(name string) string {
	if name == "" || strings.ContainsAny(name, `.[]"\`) {
		return fmt.Sprintf("labels[%q]", name)
	}
	return "labels." + name
}
