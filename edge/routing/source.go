package routing

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Reading is what came of reading a source.
type Reading uint8

const (
	Absent     Reading = iota // the request does not have it
	Found                     //
	Unreadable                // it is not what it should be
	Unbuffered                // if the request has it, it is in a part of the body that is not read first
)

// Source is where a request has something: a header, a cookie, a part of its body, or a constant of the
// configuration. It is immutable.
type Source struct {
	read     func(in sourceInput) (string, Reading)
	ofBody   bool   // it reads the body
	constant string // it is this text, whatever the request; empty: it is no constant
	header   string // it is this field alone, in lower case; empty: it is not
}

// sourceInput is what sources read.
type sourceInput struct {
	*RequestInfo
	client    netip.Addr // address of the client
	noHeaders bool       // fields do not count, as their sender is not a trusted proxy
	once      bool       // a field that is there more than once does not count: one may be what the proxy's client has written
}

// field returns the first value of a field.
func (in *sourceInput) field(lower string) (string, Reading) {
	if in.noHeaders {
		return "", Absent
	}
	value := in.First(lower)
	switch {
	case value == "" && !in.once:
		return "", Absent
	case in.once && len(in.All(lower)) > 1:
		return "", Unreadable
	case value == "":
		return "", Absent
	}
	return value, Found
}

// Read returns the text that a request has there. It may share the memory of the request's buffer. A nil source reads
// nothing.
func (s *Source) Read(h *RequestInfo, client netip.Addr) (string, Reading) {
	if s == nil {
		return "", Absent
	}
	return s.read(sourceInput{RequestInfo: h, client: client})
}

// ReadsBody reports whether the source reads the request's body.
func (s *Source) ReadsBody() bool { return s != nil && s.ofBody }

// Words that stand before the colon of a source.
const (
	ofHeader  = "header"
	ofCookie  = "cookie"
	ofQuery   = "query"
	ofJSON    = "json"
	ofFormula = "expr"

	contentLength = "content-length"
)

// sourceExamples are sources by the word before the colon.
var sourceExamples = map[string]string{ofHeader: "header:X-Frames", ofCookie: "cookie:frames", ofQuery: "query:frames", ofJSON: "json:/frames", ofFormula: `expr:json("/frames") * 2`}

// newKeySource returns the source of a key or a tenant; nil: spec is empty.
func newKeySource(spec string) (*Source, error) {
	switch spec {
	case "":
		return nil, nil
	case "client":
		return newSource(func(in sourceInput) string { return Node(in.client) }), nil
	case "path":
		return newSource(func(in sourceInput) string { return in.Path }), nil
	}
	s, err := newRequestSource(spec, false)
	if s == nil && err == nil {
		err = fmt.Errorf("%q, want header:NAME, cookie:NAME, query:NAME, json:/POINTER, expr:FORMULA, client or path", spec)
	}
	return s, err
}

// newRequestSource returns the source that reads a request; nil: spec is of another form. number: it is to be a number.
func newRequestSource(spec string, number bool) (*Source, error) {
	kind, name, named := strings.Cut(spec, ":")
	switch {
	case !named:
		return nil, nil
	case name == "" && sourceExamples[kind] != "":
		return nil, fmt.Errorf("%q says nothing after the colon, want such as %s", spec, sourceExamples[kind])
	case name == "":
		return nil, nil
	case kind == ofHeader:
		if !IsToken(name) {
			return nil, fmt.Errorf("%q: %q is no header's name", spec, name)
		}
		name = plainField(name)
		return &Source{header: name, read: func(in sourceInput) (string, Reading) { return in.field(name) }}, nil
	case kind == ofCookie:
		return newSource(func(in sourceInput) string { return cookie(in.All("cookie"), name) }), nil
	case kind == ofQuery:
		return newSource(func(in sourceInput) string { return parameter(in.Query, name) }), nil
	case kind == ofJSON:
		pointer, err := parseJSONPointer(name)
		if err != nil {
			return nil, err
		}
		return &Source{ofBody: true, read: func(in sourceInput) (string, Reading) { return pointer.Read(in.Body) }}, nil
	case kind == ofFormula:
		f, err := newFormula(name, number)
		if err != nil {
			return nil, err
		}
		return &Source{ofBody: f.ofBody, read: f.evaluate}, nil
	}
	return nil, nil
}

// newSource returns a source that reads a text; empty: it is absent.
func newSource(read func(in sourceInput) string) *Source {
	return &Source{read: func(in sourceInput) (string, Reading) {
		text := read(in)
		if text == "" {
			return "", Absent
		}
		return text, Found
	}}
}

// newLengthSource returns the source that reads a request's Content-Length.
func newLengthSource() *Source {
	return newSource(func(in sourceInput) string { return lengthText(in.ContentLength) })
}

func lengthText(n int64) string {
	if n <= 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
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
