package routing

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
)

// Facts are where a route finds what its requests say about their work: a source each, or a constant. Empty: they do
// not say it.
type Facts struct {
	Size      string                  // how much work it is, a number in the pool's own unit
	Class     string                  // requests of one class take alike long for their size; empty: see BoundRoute.DefaultClass
	Priority  string                  // a whole number; larger is served first from the queue
	Labels    map[string]string       // by the label's name: only servers that carry all of these
	Location  string                  // where the client is, in the pool's words
	Locations map[netip.Prefix]string // the location of requests without Location, by the client's address: the longest prefix counts
	Hold      string                  // time limit of the lease
	Deadline  string                  // when, or after how long, the answer is worthless
	From      tenants.From            // whose word counts in headers
}

// Believed returns whose word counts in headers. proxies: the listener has trusted ones.
func (f *Facts) Believed(proxies bool) tenants.From {
	switch {
	case f.From != tenants.Default:
		return f.From
	case proxies:
		return tenants.Trusted
	}
	return tenants.Any
}

// Fact is one of what a request says about its work, as metrics name it.
type Fact uint8

const (
	FactKey Fact = iota
	FactTenant
	FactSize
	FactClass
	FactPriority
	FactLabels
	FactLocation
	FactHold
	FactDeadline
	FactCount // how many there are
)

var factNames = [FactCount]string{"key", "tenant", "size", "class", "priority", "labels", "location", "hold", "deadline"}

func (f Fact) String() string { return factNames[f] }

// FactFaults are the facts of one request that could not be read, a bit for each Fact.
type FactFaults struct {
	Unreadable uint16 // malformed or out of range, or the formula has failed
	Unbuffered uint16 // in a part of the body that is not read first
}

// Note records how a fact was read.
func (f *FactFaults) Note(fact Fact, how Reading) {
	switch how {
	case Unreadable:
		f.Unreadable |= 1 << fact
	case Unbuffered:
		f.Unbuffered |= 1 << fact
	}
}

// Limits of facts. What exceeds them is not told.
const (
	maxPriority = 1_000_000
	maxHold     = 30 * 24 * time.Hour
)

// Deadline is when the answer to a request is worthless.
type Deadline struct {
	In time.Duration // after its head has come; zero: see At
	At time.Time     // zero: there is none
}

// BoundFacts are Facts prepared for use.
type BoundFacts struct {
	size, class, priority, location, hold, deadline *Source
	labels                                          []labelSource // by their names
	locations                                       prefixMap[string]
	fromTrusted                                     bool // headers count from trusted proxies only
	grpcTimeout                                     bool // deadline is written as gRPC's timeout
	ofBody                                          bool // some fact is in the request's body
}

type labelSource struct {
	name string
	*Source
}

// bindFacts returns nil if a route says nothing of facts. proxies: the listener has trusted ones.
func bindFacts(f *Facts, proxies bool) (*BoundFacts, error) {
	b := &BoundFacts{locations: newPrefixMap(f.Locations), fromTrusted: f.Believed(proxies) == tenants.Trusted}
	used := len(f.Locations) > 0
	err := f.each(func(field, spec string, parse factParser, to **Source) error {
		s, err := newFactSource(field, spec, parse)
		if s != nil {
			used, *to, b.ofBody = true, s, b.ofBody || s.ofBody
		}
		return err
	}, b)
	if err != nil || !used {
		return nil, err
	}
	b.grpcTimeout = b.deadline != nil && b.deadline.header == grpcTimeoutField
	return b, nil
}

// each calls visit for every fact that has a source, with the field's name, what is written, how its value is read and
// where its source goes in b. It ends with the first error.
func (f *Facts) each(visit func(field, spec string, parse factParser, to **Source) error, b *BoundFacts) error {
	for _, one := range []struct {
		field, spec string
		parse       factParser
		to          **Source
	}{
		{"size", f.Size, func(text string) error { _, err := parseSize(text); return err }, &b.size},
		{"class", f.Class, checkName, &b.class},
		{"priority", f.Priority, func(text string) error { _, err := parsePriority(text); return err }, &b.priority},
		{"location", f.Location, checkName, &b.location},
		{"hold", f.Hold, func(text string) error { _, err := parseHold(text); return err }, &b.hold},
		{"deadline", f.Deadline, func(text string) error { _, err := parseDeadline(text, false); return err }, &b.deadline},
	} {
		if one.spec == "" {
			continue
		}
		if err := visit(one.field, one.spec, one.parse, one.to); err != nil {
			return err
		}
	}
	b.labels = make([]labelSource, 0, len(f.Labels))
	for _, name := range slices.Sorted(maps.Keys(f.Labels)) {
		label := labelSource{name: name}
		if err := visit(labelField(name), f.Labels[name], checkName, &label.Source); err != nil {
			return err
		}
		b.labels = append(b.labels, label)
	}
	return nil
}

// factParser returns what is wrong with a fact's value.
type factParser func(text string) error

// newFactSource returns the source of a fact, which is a constant if it is written as none. Its error says what is
// wrong with it.
func newFactSource(field, spec string, check factParser) (*Source, error) {
	number := field == "size" || field == "priority"
	switch {
	case spec == contentLength && field == "size":
		return newLengthSource(), nil
	case spec == contentLength:
		return nil, fmt.Errorf("%q is a source of size only; a formula has it as content_length", spec)
	}
	s, err := newRequestSource(spec, number)
	if s != nil || err != nil {
		return s, err
	}
	if err := check(spec); err != nil {
		return nil, err
	}
	if kind, _, colon := strings.Cut(spec, ":"); colon && field != "deadline" {
		return nil, fmt.Errorf("%q: %q is none of header, cookie, query, json and expr; a constant with a colon is written expr:%q", spec, kind, spec)
	}
	return &Source{constant: spec, read: func(sourceInput) (string, Reading) { return spec, Found }}, nil
}

// ReadsBody reports whether some of the facts are in the request's body.
func (b *BoundFacts) ReadsBody() bool { return b != nil && b.ofBody }

// NamesClass reports whether the route says where the class is.
func (b *BoundFacts) NamesClass() bool { return b != nil && b.class != nil }

// Read stores what a request says about its work in q, and returns its deadline. trusted: the peer is a trusted proxy.
// Texts are copied into text.
func (b *BoundFacts) Read(h *RequestInfo, client netip.Addr, trusted bool, q *balance.Request, text *OwnedText) (d Deadline, faults FactFaults) {
	r := factReader{in: sourceInput{RequestInfo: h, client: client, noHeaders: b.fromTrusted && !trusted, once: b.fromTrusted}, faults: &faults}
	q.Size = readFact(&r, FactSize, b.size, parseSize)
	q.Priority = readFact(&r, FactPriority, b.priority, parsePriority)
	q.Hold = readFact(&r, FactHold, b.hold, parseHold)
	q.Class = text.Clone(readFact(&r, FactClass, b.class, parseName))
	q.Location = text.Clone(readFact(&r, FactLocation, b.location, parseName))
	if q.Location == "" {
		q.Location, _ = b.locations.find(client)
	}
	for _, l := range b.labels {
		if value := readFact(&r, FactLabels, l.Source, parseName); value != "" {
			q.Labels = append(q.Labels, balance.Label{Key: l.name, Value: text.Clone(value)})
		}
	}
	d = readFact(&r, FactDeadline, b.deadline, func(text string) (Deadline, error) { return parseDeadline(text, b.grpcTimeout) })
	return d, faults
}

// factReader reads the facts of one request.
type factReader struct {
	in     sourceInput
	faults *FactFaults
}

// readFact returns a fact's value; zero: the request does not say it, or it cannot be read, which is noted.
func readFact[T any](r *factReader, fact Fact, s *Source, parse func(text string) (T, error)) (value T) {
	if s == nil {
		return value
	}
	text, how := s.read(r.in)
	if how == Unbuffered && fact == FactSize {
		r.faults.Note(fact, how)
		if text = lengthText(r.in.ContentLength); text != "" {
			how = Found
		}
	}
	if how == Found {
		v, err := parse(strings.TrimSpace(text))
		if err == nil {
			return v
		}
		how = Unreadable
	}
	r.faults.Note(fact, how)
	return value
}

// parseSize reads a size. Zero is none.
func parseSize(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= 0 && v <= balance.MaxSize) {
		return 0, fmt.Errorf("%q, want a number from 0 to %g", text, balance.MaxSize)
	}
	return v, nil
}

func parsePriority(text string) (int, error) {
	v, err := strconv.ParseFloat(text, 64) // a formula may give 2 as 2e+00
	if err != nil || !(v >= -maxPriority && v <= maxPriority) || v != float64(int(v)) {
		return 0, fmt.Errorf("%q, want a whole number from -%d to %d", text, maxPriority, maxPriority)
	}
	return int(v), nil
}

func parseName(text string) (string, error) { return text, checkName(text) }

func checkName(text string) error {
	if problem := balance.BadName(text); problem != "" {
		return fmt.Errorf("%s", problem)
	}
	return nil
}

func parseHold(text string) (time.Duration, error) {
	d, err := parseSeconds(text)
	if err != nil || d <= 0 || d > maxHold {
		return 0, fmt.Errorf("%q, want a time, such as 90s, of at most %v", text, maxHold)
	}
	return d, nil
}

// parseSeconds reads a time with its unit, or a number of seconds.
func parseSeconds(text string) (time.Duration, error) {
	if v, err := strconv.ParseFloat(text, 64); err == nil {
		if !(v >= 0 && v <= maxHold.Seconds()) {
			return 0, strconv.ErrRange
		}
		return time.Duration(v * float64(time.Second)), nil
	}
	return time.ParseDuration(text)
}

// Numbers from which on a deadline is a point in time: seconds, and milliseconds, since 1970.
const (
	leastUnix       = 1e9
	leastUnixMillis = 1e12
)

// parseDeadline reads a time of RFC 3339, seconds or milliseconds since 1970, or how long from now, as gRPC writes it or
// as other times are written.
func parseDeadline(text string, grpc bool) (Deadline, error) {
	if grpc {
		in, err := parseGRPCTimeout(text)
		return Deadline{In: in}, err
	}
	switch v, err := strconv.ParseFloat(text, 64); {
	case err != nil:
	case v >= leastUnixMillis && v < leastUnixMillis*100:
		return Deadline{At: time.UnixMilli(int64(v))}, nil
	case v >= leastUnix && v < leastUnixMillis:
		return Deadline{At: time.UnixMilli(int64(v * 1000))}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return Deadline{At: at}, nil
	}
	in, err := parseSeconds(text)
	if err != nil || in <= 0 || in > maxHold {
		return Deadline{}, fmt.Errorf("%q, want a time from now, such as 30s, of at most %v, or one of RFC 3339 or in seconds since 1970", text, maxHold)
	}
	return Deadline{In: in}, nil
}

// grpcTimeoutField is the field in which gRPC clients say how long they wait
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
const grpcTimeoutField = "grpc-timeout"

var grpcUnits = map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond}

// parseGRPCTimeout reads at most eight digits and a unit.
func parseGRPCTimeout(text string) (time.Duration, error) {
	n := len(text) - 1
	if n < 1 || n > 8 || grpcUnits[text[n]] == 0 {
		return 0, fmt.Errorf("%q, want up to eight digits and one of H, M, S, m, u and n", text)
	}
	v, err := strconv.ParseUint(text[:n], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q, want digits before the unit", text)
	}
	unit := grpcUnits[text[n]]
	return max(1, time.Duration(min(v, uint64(maxHold/unit)))*unit), nil // the client has given up on zero
}
