package routing

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// keySource reads a key or a tenant from a request's head; nil reads none.
type keySource func(h *RequestInfo, client netip.Addr) string

func newKeySource(spec string) (keySource, error) {
	kind, name, named := strings.Cut(spec, ":")
	switch {
	case spec == "":
		return nil, nil
	case spec == "client":
		return func(_ *RequestInfo, client netip.Addr) string { return Node(client) }, nil
	case spec == "path":
		return func(h *RequestInfo, _ netip.Addr) string { return h.Path }, nil
	case named && name != "" && kind == "header":
		name = plainField(name)
		return func(h *RequestInfo, _ netip.Addr) string { return h.First(name) }, nil
	case named && name != "" && kind == "cookie":
		return func(h *RequestInfo, _ netip.Addr) string { return cookie(h.All("cookie"), name) }, nil
	case named && name != "" && kind == "query":
		return func(h *RequestInfo, _ netip.Addr) string { return parameter(h.Query, name) }, nil
	}
	return nil, fmt.Errorf("%q, want header:NAME, cookie:NAME, query:NAME, client or path", spec)
}

func (s keySource) Read(h *RequestInfo, client netip.Addr) string {
	if s == nil {
		return ""
	}
	return s(h, client)
}

func cookie(lines []string, name string) string {
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			if k, v, _ := strings.Cut(strings.TrimSpace(pair), "="); k == name {
				return v
			}
		}
	}
	return ""
}

func parameter(query, name string) string {
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if k, err := url.QueryUnescape(k); err != nil || k != name {
			continue
		}
		if v, err := url.QueryUnescape(v); err == nil {
			return v
		}
	}
	return ""
}

// WithoutParameter returns a target without a query parameter.
func WithoutParameter(target, name string) string {
	path, query, some := strings.Cut(target, "?")
	if !some || parameterCount(query, name) == 0 {
		return target
	}
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		if parameterCount(pair, name) == 0 {
			kept = append(kept, pair)
		}
	}
	if len(kept) == 0 {
		return path
	}
	return path + "?" + strings.Join(kept, "&")
}

func parameterCount(query, name string) (n int) {
	for pair := range strings.SplitSeq(query, "&") {
		k, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(k); k == name || err == nil && plain == name {
			n++
		}
	}
	return n
}

// plainField normalises a field's name.
func plainField(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }
