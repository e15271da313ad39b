package orca

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Parse reads the load report among the headers or trailers of one response. get
// returns the values of a header by its lower-case name, nil if there are none, as
// http.Header.Values does. The binary header goes first; the other is read if there is
// none or nothing could be read from it.
//
// Metrics are nil if there was no report. They are worth using even beside an error,
// which names what was dropped. Their names may share memory with the header values.
func Parse(get func(name string) []string) ([]balance.Metric, error) {
	var r report
	if values := get(HeaderBin); len(values) > 0 {
		r.one(HeaderBin, values, r.base64)
	}
	if values := get(Header); len(values) > 0 && len(r.metrics) == 0 {
		r.one(Header, values, r.value)
	}
	return r.metrics, r.err()
}

// RequestSize returns what a report says the request has cost: request_cost.size, or the only request_cost that it has.
// Zero: it does not say.
func RequestSize(metrics []balance.Metric) (size float64) {
	costs := 0
	for i := range metrics {
		if !inMap(metrics[i].Name, requestCost) {
			continue
		}
		if metrics[i].Name == requestCost+"size" {
			return within(metrics[i].Value)
		}
		costs, size = costs+1, metrics[i].Value
	}
	if costs != 1 {
		return 0
	}
	return within(size)
}

// within returns a size, zero if it is none.
func within(size float64) float64 {
	if size > balance.MaxSize {
		return 0
	}
	return size
}

// report is what has been read so far.
type report struct {
	metrics  []balance.Metric
	problems []string
	dropped  int // problems beyond those that are told
}

const mostProblems = 8

func (r *report) bad(format string, args ...any) {
	if len(r.problems) == mostProblems {
		r.dropped++
		return
	}
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	if r.dropped > 0 {
		r.problems = append(r.problems, fmt.Sprintf("and %d more", r.dropped))
	}
	return errors.New("load report: " + strings.Join(r.problems, "; "))
}

func (r *report) one(header string, values []string, read func(string)) {
	if len(values) > 1 {
		r.bad("%s: %d values, only the first is read", header, len(values))
	}
	if len(values[0]) > maxValue {
		r.bad("%s: %d bytes, at most %d are read", header, len(values[0]), maxValue)
		return
	}
	read(values[0])
}

// add takes one figure, unless its key or value cannot be.
func (r *report) add(name string, v float64) {
	switch {
	case !known(name) || !utf8.ValidString(name):
		r.bad("%s is not a key of a load report", quote(name))
	case len(name) > balance.MaxMetricName:
		r.bad("key of %d bytes, at most %d", len(name), balance.MaxMetricName)
	case math.IsNaN(v) || math.IsInf(v, 0) || v < 0:
		r.bad("%s is %v, want a number from 0", quote(name), v)
	case slices.ContainsFunc(r.metrics, func(m balance.Metric) bool { return m.Name == name }):
		r.bad("%s is there twice, the first counts", quote(name))
	case len(r.metrics) == balance.MaxMetrics:
		r.bad("%s is one more than the %d metrics that are read", quote(name), balance.MaxMetrics)
	default:
		r.metrics = append(r.metrics, balance.Metric{Name: name, Value: v})
	}
}

func known(name string) bool {
	switch name {
	case balance.CPUUtilization, balance.MemUtilization, balance.ApplicationUtilization, balance.RPS, balance.EPS:
		return true
	}
	return inMap(name, namedMetrics) || inMap(name, utilization) || inMap(name, requestCost)
}

func inMap(name, prefix string) bool {
	return len(name) > len(prefix) && strings.HasPrefix(name, prefix)
}

func quote(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return strconv.Quote(s)
}

// value reads a format word and what follows it.
func (r *report) value(v string) {
	v = strings.TrimSpace(v)
	word, rest := v, ""
	if i := strings.IndexAny(v, " \t"); i >= 0 {
		word, rest = v[:i], strings.TrimSpace(v[i:])
	}
	switch {
	case strings.EqualFold(word, "TEXT"):
		r.text(rest)
	case strings.EqualFold(word, "JSON"):
		r.json(rest)
	case strings.EqualFold(word, "BIN"):
		r.base64(rest)
	default:
		r.bad("format %s, want TEXT, JSON or BIN", quote(word))
	}
}

// text reads key=value,key=value; older writers put a colon for the equals sign.
func (r *report) text(list string) {
	if list == "" {
		return
	}
	r.metrics = make([]balance.Metric, 0, min(strings.Count(list, ",")+1, balance.MaxMetrics))
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		// A key of the newer form may itself have colons (vllm:num_requests_waiting).
		at := cmp.Or(strings.IndexByte(entry, '=')+1, strings.LastIndexByte(entry, ':')+1) - 1
		if at < 0 {
			r.bad("%s is not key=value", quote(entry))
			continue
		}
		key, figure := strings.TrimSpace(entry[:at]), strings.TrimSpace(entry[at+1:])
		v, err := strconv.ParseFloat(figure, 64)
		if err != nil {
			r.bad("%s is %s, want a number", quote(key), quote(figure))
			continue
		}
		r.add(key, v)
	}
}

// json reads the JSON form of the message, by its own or by lowerCamelCase names.
func (r *report) json(object string) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(object), &fields); err != nil {
		r.bad("JSON: %v", err)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		name := underscored(key)
		switch prefix := name + "."; prefix {
		case namedMetrics, utilization, requestCost:
			r.jsonMap(prefix, fields[key])
		default:
			r.jsonFigure(name, fields[key])
		}
	}
}

func (r *report) jsonMap(prefix string, object json.RawMessage) {
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(object, &entries); err != nil {
		r.bad("%s is not an object of numbers", quote(strings.TrimSuffix(prefix, ".")))
		return
	}
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		r.jsonFigure(prefix+key, entries[key])
	}
}

func (r *report) jsonFigure(name string, raw json.RawMessage) {
	var v *float64 // null says nothing, as in the JSON form of any message
	if err := json.Unmarshal(raw, &v); err != nil {
		r.bad("%s is %s, want a number", quote(name), quote(string(raw)))
	} else if v != nil {
		r.add(name, *v)
	}
}

func underscored(key string) string {
	switch key {
	case "cpuUtilization":
		return balance.CPUUtilization
	case "memUtilization":
		return balance.MemUtilization
	case "applicationUtilization":
		return balance.ApplicationUtilization
	case "rpsFractional":
		return balance.RPS
	case "namedMetrics":
		return "named_metrics"
	case "requestCost":
		return "request_cost"
	}
	return key
}

// base64 reads the serialized message; gRPC for Go leaves the padding out.
func (r *report) base64(s string) {
	var room [512]byte // of most reports
	src := strings.TrimRight(strings.TrimSpace(s), "=")
	message, err := base64.RawStdEncoding.AppendDecode(room[:0], []byte(src))
	if err != nil {
		r.bad("base64: %v", err)
		return
	}
	r.message(message)
}
