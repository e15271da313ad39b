package routing

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
	"github.com/evenkeel-lb/evenkeel/http1"
)

var testClient = netip.MustParseAddr("192.0.2.1")

// readFacts binds facts and reads a request by them.
func readFacts(t *testing.T, f Facts, h *RequestInfo, trusted bool) (balance.Request, Deadline, FactFaults) {
	t.Helper()
	b, err := bindFacts(&f, false)
	if err != nil {
		t.Fatalf("%+v: %v", f, err)
	}
	var q balance.Request
	var text OwnedText
	d, faults := b.Read(h, testClient, trusted, &q, &text)
	return q, d, faults
}

func TestFactsAreRead(t *testing.T) {
	body := RequestBody{First: []byte(`{"frames":120,"kind":"long","deep":{"hold":"2m"}}`), Framing: http1.ByLength, Complete: true}
	h := RequestInfo{Method: "POST", Host: "h", Path: "/v1/render", Query: "p=-3", ContentLength: 48, Body: &body,
		Headers: lines{"x-size": {" 7.5 "}, "x-zone": {"b"}, "cookie": {"loc=eu"}, "x-until": {"2026-12-01T10:00:00Z"}}}
	q, d, faults := readFacts(t, Facts{Size: "json:/frames", Class: "json:/kind", Priority: "query:p", Labels: map[string]string{"zone": "header:X-Zone", "gpu": "a100", "rack": "header:X-Rack"},
		Location: "cookie:loc", Hold: "json:/deep/hold", Deadline: "header:X-Until"}, &h, true)
	if faults != (FactFaults{}) || q.Size != 120 || q.Class != "long" || q.Priority != -3 || q.Location != "eu" || q.Hold != 2*time.Minute {
		t.Errorf("got %+v with faults %v", q, faults)
	}
	if want := []balance.Label{{Key: "gpu", Value: "a100"}, {Key: "zone", Value: "b"}}; !slices.Equal(q.Labels, want) {
		t.Errorf("labels %v, want %v: a label without a value is not asked for", q.Labels, want)
	}
	if want := time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC); !d.At.Equal(want) || d.In != 0 {
		t.Errorf("deadline %+v, want at %v", d, want)
	}
	for spec, want := range map[string]float64{"2.5": 2.5, "header:X_Size": 7.5, "content-length": 48, "header:None": 0, "0": 0,
		`expr:json("/frames") * 2`: 240, `expr:content_length / 1000`: .048, `expr:float(trim(header("x-size")))`: 7.5, `expr:json("/none") ?? 3`: 3, `expr:json("/none")`: 0,
		`expr:path startsWith "/v1" ? 10 : 1`: 10, `expr:method == "POST" and host == "h" and cookie("loc") == "eu" and query("p") == "-3" ? 1 : 0`: 1} {
		if q, _, faults := readFacts(t, Facts{Size: spec}, &h, true); q.Size != want || faults != (FactFaults{}) {
			t.Errorf("size %s: got %v with faults %v, want %v", spec, q.Size, faults, want)
		}
	}
}

func TestFactsThatCannotBeReadAreNone(t *testing.T) {
	h := func(value string) *RequestInfo {
		return &RequestInfo{ContentLength: -1, Headers: lines{"x": {value}}, Body: &RequestBody{First: []byte(`{"n":1e999}`), Framing: http1.ByLength, Complete: true}}
	}
	for _, c := range []struct {
		facts Facts
		value string
		fact  Fact
	}{
		{Facts{Size: "header:x"}, "-1", FactSize}, {Facts{Size: "header:x"}, "many", FactSize}, {Facts{Size: "header:x"}, "NaN", FactSize},
		{Facts{Size: "header:x"}, "Inf", FactSize}, {Facts{Size: "header:x"}, "1e16", FactSize}, {Facts{Size: `expr:float(header("x"))`}, "many", FactSize},
		{Facts{Size: `expr:1 / float(header("x"))`}, "0", FactSize}, {Facts{Class: "header:x"}, strings.Repeat("c", 256), FactClass}, {Facts{Class: "header:x"}, "a\x01", FactClass},
		{Facts{Priority: "header:x"}, "1.5", FactPriority}, {Facts{Priority: "header:x"}, "1000001", FactPriority}, {Facts{Labels: map[string]string{"l": "header:x"}}, "\xff", FactLabels},
		{Facts{Location: "header:x"}, "\t\x00", FactLocation}, {Facts{Hold: "header:x"}, "0", FactHold}, {Facts{Hold: "header:x"}, "-1s", FactHold}, {Facts{Hold: "header:x"}, "721h", FactHold},
		{Facts{Deadline: "header:x"}, "soon", FactDeadline}, {Facts{Deadline: "header:x"}, "0s", FactDeadline}, {Facts{Deadline: "header:x"}, "1e99", FactDeadline},
		{Facts{Deadline: "header:grpc-timeout"}, "", FactDeadline},
		{Facts{Class: `expr:json("/n") ? "big" : "small"`}, "", FactClass},
	} {
		r := h(c.value)
		if c.facts.Deadline == "header:grpc-timeout" {
			r.Headers = lines{"grpc-timeout": {"5s"}}
		}
		q, d, faults := readFacts(t, c.facts, r, true)
		q.Labels = nil
		if faults.Unreadable != 1<<c.fact || d != (Deadline{}) || q.Size != 0 || q.Class+q.Location != "" || q.Priority != 0 || q.Hold != 0 {
			t.Errorf("%+v of %q: got %+v, deadline %v, faults %b, want none, and %s noted", c.facts, c.value, q, d, faults.Unreadable, c.fact)
		}
	}
}

func TestDeadlines(t *testing.T) {
	for _, c := range []struct {
		text string
		grpc bool
		want Deadline
	}{
		{"30s", false, Deadline{In: 30 * time.Second}}, {"1.5", false, Deadline{In: 1500 * time.Millisecond}}, {"250ms", false, Deadline{In: 250 * time.Millisecond}},
		{"1796032800", false, Deadline{At: time.Unix(1796032800, 0)}}, {"1796032800.5", false, Deadline{At: time.UnixMilli(1796032800500)}}, {"1796032800500", false, Deadline{At: time.UnixMilli(1796032800500)}},
		{"5m", false, Deadline{In: 5 * time.Minute}}, {"5m", true, Deadline{In: 5 * time.Millisecond}}, {"5M", true, Deadline{In: 5 * time.Minute}},
		{"99999999H", true, Deadline{In: maxHold}}, {"0n", true, Deadline{In: 1}}, {"0H", true, Deadline{In: 1}}, {"00000000m", true, Deadline{In: 1}},
	} {
		got, err := parseDeadline(c.text, c.grpc)
		if err != nil || got.In != c.want.In || !got.At.Equal(c.want.At) {
			t.Errorf("%s (gRPC %v): got %+v, %v, want %+v", c.text, c.grpc, got, err, c.want)
		}
	}
	for _, text := range []string{"", "S", "123456789S", "-5S", "5 S", "5x"} {
		if got, err := parseDeadline(text, true); err == nil {
			t.Errorf("gRPC's %q: got %+v, want an error", text, got)
		}
	}
}

// A sender that is not a trusted proxy raises no priority by a header where only proxies are believed. Constants and
// what is no header count all the same.
func TestHeadersCountFromTrustedProxies(t *testing.T) {
	h := RequestInfo{Query: "s=2", ContentLength: 9, Headers: lines{"x": {"5"}}}
	f := Facts{Priority: "header:x", Hold: `expr:header("x")`, Size: "query:s", Class: "batch", From: tenants.Trusted}
	if q, _, faults := readFacts(t, f, &h, false); q.Priority != 0 || q.Hold != 0 || q.Size != 2 || q.Class != "batch" || faults != (FactFaults{}) {
		t.Errorf("of a stranger: %+v, faults %v", q, faults)
	}
	if q, _, _ := readFacts(t, f, &h, true); q.Priority != 5 || q.Hold != 5*time.Second {
		t.Errorf("of a trusted proxy: %+v", q)
	}
	// A header that is there twice may be what the proxy's client has written, also under a name with an underscore.
	h.Headers = lines{"x": {"1000", "5"}}
	if q, _, faults := readFacts(t, f, &h, true); q.Priority != 0 || q.Hold != 0 || faults.Unreadable != 1<<FactPriority|1<<FactHold {
		t.Errorf("of a trusted proxy and its client: %+v, faults %+v, want none, and both noted", q, faults)
	}
	if q, _, faults := readFacts(t, Facts{Priority: "header:x"}, &h, true); q.Priority != 1000 || faults != (FactFaults{}) {
		t.Errorf("where all are believed: %+v, faults %+v, want the first", q, faults)
	}
	if b, err := bindFacts(&Facts{Priority: "header:x"}, true); err != nil || !b.fromTrusted {
		t.Errorf("with trusted proxies: %+v, %v, want that they alone are believed", b, err)
	}
}

func TestBodiesThatAreNotReadWhole(t *testing.T) {
	long := RequestBody{First: []byte(`{"a":1,"kind":"x","frames":12`), Framing: http1.ByLength}
	h := RequestInfo{ContentLength: 5000, Body: &long, Headers: lines{}}
	q, _, faults := readFacts(t, Facts{Size: "json:/frames", Class: "json:/kind", Priority: "json:/p"}, &h, true)
	if q.Size != 5000 || q.Class != "x" || q.Priority != 0 || faults.Unbuffered != 1<<FactSize|1<<FactPriority || faults.Unreadable != 0 {
		t.Errorf("got %+v, faults %+v, want the content length in place of a number that may be cut off", q, faults)
	}
	h.Body = nil
	if q, _, faults := readFacts(t, Facts{Size: "json:/frames"}, &h, true); q.Size != 0 || faults != (FactFaults{}) {
		t.Errorf("without a body: %v, %v", q.Size, faults)
	}
}

func TestLocationsByPrefix(t *testing.T) {
	b, err := bindFacts(&Facts{Location: "header:x", Locations: map[netip.Prefix]string{netip.MustParsePrefix("192.0.0.0/8"): "us", netip.MustParsePrefix("192.0.2.0/24"): "eu", netip.MustParsePrefix("::/0"): "six"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ client, header, want string }{{"192.0.2.9", "", "eu"}, {"192.1.0.1", "", "us"}, {"10.0.0.1", "", ""}, {"2001:db8::1", "", "six"}, {"::ffff:192.0.2.9", "", "eu"}, {"192.0.2.9", "asia", "asia"}} {
		var q balance.Request
		b.Read(&RequestInfo{Headers: lines{"x": {c.header}}}, netip.MustParseAddr(c.client), true, &q, new(OwnedText))
		if q.Location != c.want {
			t.Errorf("client %s with %q: location %q, want %q", c.client, c.header, q.Location, c.want)
		}
	}
}

func TestBadFacts(t *testing.T) {
	manyLabels := make(map[string]string)
	for i := range balance.MaxLabels + 1 {
		manyLabels[fmt.Sprint("l", i)] = "yes"
	}
	for _, c := range []struct {
		route       Route
		field, want string
	}{
		{Route{Facts: Facts{Size: "big"}}, "size", "want a number"},
		{Route{Facts: Facts{Size: "heder:X"}}, "size", "want a number"},
		{Route{Facts: Facts{Class: "heder:X"}}, "class", `"heder" is none of header`},
		{Route{Facts: Facts{Size: "header:a b"}}, "size", "no header's name"},
		{Route{Facts: Facts{Size: "header:"}}, "size", "says nothing after the colon, want such as header:X-Frames"},
		{Route{Facts: Facts{Class: "json:"}}, "class", "says nothing after the colon, want such as json:/frames"},
		{Route{Key: "expr:"}, "key", "says nothing after the colon"},
		{Route{Facts: Facts{Class: "content-length"}}, "class", "a source of size only"},
		{Route{Facts: Facts{Labels: manyLabels}}, "labels", "65, want at most 64"},
		{Route{Facts: Facts{Priority: "high"}}, "priority", "want a whole number"},
		{Route{Facts: Facts{Hold: "0s"}}, "hold", "want a time"},
		{Route{Facts: Facts{Deadline: "tomorrow"}}, "deadline", "want a time"},
		{Route{Facts: Facts{Labels: map[string]string{"gpu": ""}}}, "labels.gpu", "empty"},
		{Route{Facts: Facts{Size: "json:frames"}}, "size", "want a JSON pointer"},
		{Route{Facts: Facts{Size: "json:/a~2"}}, "size", "a ~ stands before"},
		{Route{Facts: Facts{Size: "json:/a"}, BufferRequest: -1}, "size", "buffer_request is 0"},
		{Route{Facts: Facts{Size: `expr:json("/a")`}, Link: balance.LinkRedirect}, "size", "link is redirect"},
		{Route{Facts: Facts{Size: "json:/a"}, ServerProtocol: HTTP2}, "size", "server_protocol is h2"},
		{Route{Key: "json:/a", BufferRequest: -1}, "key", "buffer_request is 0"},
		{Route{Facts: Facts{Size: "expr:frames * 2"}}, "size", `column 1, at "frames * 2": unknown name frames; known are header`},
		{Route{Facts: Facts{Size: `expr:1 +`}}, "size", "column"},
		{Route{Facts: Facts{Size: `expr:header("x")`}}, "size", "want a number: float"},
		{Route{Facts: Facts{Class: `expr:[1]`}}, "class", "want a number or a text"},
		{Route{Facts: Facts{Size: `expr:all([1], # > 0) ? 1 : 2`}}, "size", "column"},
		{Route{Facts: Facts{Size: `expr:len(1..9)`}}, "size", "no ranges"},
		{Route{Facts: Facts{Size: `expr:path matches header("x") ? 1 : 2`}}, "size", "want a pattern that is written"},
		{Route{Facts: Facts{Size: `expr:json(path)`}}, "size", "want a JSON pointer that is written"},
		{Route{Facts: Facts{Size: `expr:json("a")`}}, "size", `column 6, at "\"a\")"`},
		{Route{Facts: Facts{Class: "expr:" + strings.Repeat("1+", 500) + "1"}}, "class", "at most 1000"},
		{Route{Facts: Facts{Locations: map[netip.Prefix]string{netip.MustParsePrefix("10.0.0.0/8"): ""}}}, "locations", "10.0.0.0/8: location empty"},
	} {
		c.route.Pool = "p"
		var got []string
		c.route.Validate(func(field, problem string) { got = append(got, field+": "+problem) })
		if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, c.field+": ") && strings.Contains(g, c.want) }) {
			t.Errorf("%+v key %q: problems %q, want one of %s with %q", c.route.Facts, c.route.Key, got, c.field, c.want)
		}
	}
	var got []string
	l := Listener{Listen: ":80", Mode: ModeTCP, Routes: []Route{{Pool: "p", Facts: Facts{Size: "header:x", Class: "db", Location: "eu", From: tenants.Trusted}}}}
	l.Validate(func(field, problem string) { got = append(got, field+": "+problem) })
	if len(got) != 2 || !strings.Contains(fmt.Sprint(got), "routes[0].size: ") || !strings.Contains(fmt.Sprint(got), "routes[0].facts_from: ") {
		t.Errorf("a TCP listener's problems: %q, want those of the header and of facts_from", got)
	}
}

// onlyAccept is the fields of a request that has one, Accept.
type onlyAccept string

func (a onlyAccept) First(lower string) string {
	if lower == "accept" {
		return string(a)
	}
	return ""
}

func (a onlyAccept) All(lower string) []string { return []string{a.First(lower)} }

func TestDefaultClasses(t *testing.T) {
	rs, err := bindRoutes([]Route{{Host: "render.example", Path: "/v1/", Pool: "p"}, {Pool: "p"}}, false, func(string) int { return 0 })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		host string
		h    RequestInfo
		grpc bool
		want string
	}{
		{"render.example", RequestInfo{Method: "POST", Path: "/v1/x"}, false, "POST:render.example/v1"},
		{"other.example", RequestInfo{Method: "GET", Path: "/v1/x"}, false, "GET"},
		{"other.example", RequestInfo{Method: "PURGE"}, false, "OTHER"},
		{"render.example", RequestInfo{Method: "GET", Path: "/v1", Upgrade: true}, false, "upgrade:render.example/v1"},
		{"other.example", RequestInfo{Method: "POST", Path: "/pkg.Render/Frame"}, true, "/pkg.Render/Frame"},
		{"other.example", RequestInfo{Method: "POST", Path: "/pkg.Render/\x01"}, true, "POST"},
		{"other.example", RequestInfo{}, false, "tcp"},
		{"render.example", RequestInfo{Method: "GET", Path: "/v1/x", Headers: onlyAccept("text/event-stream")}, false, "stream:render.example/v1"},
		{"render.example", RequestInfo{Method: "GET", Path: "/v1/x", Headers: onlyAccept("text/html")}, false, "GET:render.example/v1"},
	} {
		r := rs.Match(c.host, c.h.Path)
		var got string
		if n := testing.AllocsPerRun(100, func() { got = r.DefaultClass(&c.h, c.grpc) }); n > 0 && !strings.Contains(c.h.Path, "\x01") || got != c.want {
			t.Errorf("%s %+v: class %q with %v allocations, want %q without", c.host, c.h, got, n, c.want)
		}
	}
}

func TestFactsOfRoutesThatSayNone(t *testing.T) {
	for _, c := range []struct {
		facts             Facts
		some, body, class bool
	}{
		{Facts{}, false, false, false},
		{Facts{From: tenants.Trusted}, false, false, false},
		{Facts{Size: "1"}, true, false, false},
		{Facts{Class: "json:/c"}, true, true, true},
		{Facts{Locations: map[netip.Prefix]string{netip.MustParsePrefix("::/0"): "eu"}}, true, false, false},
	} {
		b, err := bindFacts(&c.facts, false)
		if err != nil || (b != nil) != c.some || b.ReadsBody() != c.body || b.NamesClass() != c.class {
			t.Errorf("%+v: %v, %v, reads the body %v, names the class %v, want some %v, %v and %v", c.facts, b, err, b.ReadsBody(), b.NamesClass(), c.some, c.body, c.class)
		}
	}
	if b, err := bindFacts(&Facts{Class: "ok", Size: "big"}, false); b != nil || err == nil {
		t.Errorf("with a size that is none: %v, %v, want an error alone", b, err)
	}
}

// The bounds of each fact belong to what it may be; what is beyond them does not.
func TestBoundsOfFacts(t *testing.T) {
	size := func(text string) error { _, err := parseSize(text); return err }
	priority := func(text string) error { _, err := parsePriority(text); return err }
	hold := func(text string) error { _, err := parseHold(text); return err }
	deadline := func(text string) error { _, err := parseDeadline(text, false); return err }
	most := maxHold.String()
	for _, c := range []struct {
		parse func(string) error
		text  string
		want  bool
	}{
		{size, "0", true}, {size, fmt.Sprint(float64(balance.MaxSize)), true}, {size, fmt.Sprint(balance.MaxSize * 1.01), false},
		{priority, fmt.Sprint(maxPriority), true}, {priority, fmt.Sprint(-maxPriority), true}, {priority, fmt.Sprint(maxPriority + 1), false}, {priority, fmt.Sprint(-maxPriority - 1), false}, {priority, "NaN", false},
		{hold, most, true}, {hold, fmt.Sprint(maxHold.Seconds()), true}, {hold, fmt.Sprint(maxHold.Seconds() + 1), false}, {hold, "1e30", false}, {hold, "NaN", false}, {hold, "soon", false}, {hold, (maxHold + 1).String(), false},
		{deadline, most, true}, {deadline, (maxHold + 1).String(), false}, {deadline, "-1s", false}, {deadline, "-1", false}, {deadline, "1e14", false}, {deadline, "NaN", false},
	} {
		if err := c.parse(c.text); (err == nil) != c.want {
			t.Errorf("%q: %v, want that it may be so: %v", c.text, err, c.want)
		}
	}
	for text, want := range map[string]time.Time{"1e9": time.Unix(1e9, 0), "999999999999": time.Unix(999999999999, 0), "1e12": time.UnixMilli(1e12), "99999999999999": time.UnixMilli(99999999999999)} {
		if d, err := parseDeadline(text, false); err != nil || !d.At.Equal(want) || d.In != 0 {
			t.Errorf("%s: %+v, %v, want at %v", text, d, err, want)
		}
	}
	if d, err := parseDeadline("2026-12-01T10:00:00+01:00", false); err != nil || !d.At.Equal(time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)) {
		t.Errorf("a time with a zone: %+v, %v", d, err)
	}
}

// Who trusts no proxies in particular believes all, and reads the first of two headers.
func TestHeadersOfStrangersCountWhereAllDo(t *testing.T) {
	h := RequestInfo{ContentLength: -1, Headers: lines{"x": {"7", "8"}}}
	if q, _, faults := readFacts(t, Facts{Priority: "header:x"}, &h, false); q.Priority != 7 || faults != (FactFaults{}) {
		t.Errorf("a stranger's priority: %d, faults %v, want 7", q.Priority, faults)
	}
	h.Headers = lines{"x": {""}}
	if q, _, faults := readFacts(t, Facts{Priority: "header:x", From: tenants.Trusted}, &h, true); q.Priority != 0 || faults != (FactFaults{}) {
		t.Errorf("of an empty header: %d, faults %v, want none", q.Priority, faults)
	}
}

// What a formula is told of a request, and what becomes of its result.
func TestFormulas(t *testing.T) {
	whole := func(doc string) *RequestBody {
		return &RequestBody{First: []byte(doc), Framing: http1.ByLength, Complete: true}
	}
	part := &RequestBody{First: []byte(`{"a":1,"b":`), Framing: http1.ByLength}
	for _, c := range []struct {
		formula string
		body    *RequestBody
		length  int64
		text    string
		how     Reading
	}{
		{`json("/t")`, whole(`{"t":"x"}`), 0, "x", Found},
		{`json("/t") ? "yes" : "no"`, whole(`{"t":true}`), 0, "yes", Found},
		{`json("/t") ? "yes" : "no"`, whole(`{"t":false}`), 0, "no", Found},
		{`json("/t") == "true"`, whole(`{"t":"true"}`), 0, "true", Found},
		{`json("/t") == "1"`, whole(`{"t":1}`), 0, "false", Found},
		{`json("/t")`, whole(`{"t":1e999}`), 0, "", Unreadable},
		{`json("/t")`, whole(`{"t":{}}`), 0, "", Unreadable},
		{`json("/t")`, whole(`{"t"`), 0, "", Unreadable},
		{`json("/t")`, whole(`{}`), 0, "", Absent},
		{`json("/t") ?? 7`, whole(`nonsense`), 0, "7", Found},
		{`json("/b")`, part, 0, "", Unbuffered},
		{`json("/b") ?? json("/a")`, part, 0, "1", Found},
		{`json("/b") * 2`, part, 0, "", Unbuffered},
		{`content_length`, nil, 0, "0", Found},
		{`content_length`, nil, 12, "12", Found},
		{`content_length ?? "none"`, nil, -1, "none", Found},
		{`method + path + host`, nil, 0, "GET/ph", Found},
		{`header("None")`, nil, 0, "", Absent},
		{`header("X_One") + header("none")`, nil, 0, "1", Found},
		{`path matches "^/p$" ? 1 : 2`, nil, 0, "1", Found},
		{`len(header("x-one")) + 1`, nil, 0, "2", Found},
		{`1 / float(header("none"))`, nil, 0, "", Unreadable},
	} {
		f, err := newFormula(c.formula, false)
		if err != nil {
			t.Errorf("%s: %v", c.formula, err)
			continue
		}
		if f.ofBody != strings.Contains(c.formula, "json") {
			t.Errorf("%s reads the body: %v", c.formula, f.ofBody)
		}
		other := sourceInput{RequestInfo: &RequestInfo{Method: "PUT", Path: "/other", ContentLength: 99, Body: whole(`{"t":"other","b":3}`), Headers: lines{}}}
		in := sourceInput{RequestInfo: &RequestInfo{Method: "GET", Path: "/p", Host: "h", ContentLength: c.length, Body: c.body, Headers: lines{"x-one": {"1"}}}}
		for range 2 { // a run is used again, and knows nothing of the one before
			if text, how := f.evaluate(in); text != c.text || how != c.how {
				t.Errorf("%s: %q, %v, want %q, %v", c.formula, text, how, c.text, c.how)
			}
			f.evaluate(other)
		}
	}
	f, err := newFormula(`header("x") + header("y")`, false)
	if err != nil {
		t.Fatal(err)
	}
	in := sourceInput{RequestInfo: &RequestInfo{Headers: lines{"x": {"1", "2"}}}, once: true}
	if text, how := f.evaluate(in); how != Unreadable {
		t.Errorf("of a header that is there twice, and one that is not: %q, %v, want that it cannot be read", text, how)
	}
}

// An error of a formula names the place, on a line of several, too.
func TestErrorsOfFormulas(t *testing.T) {
	for text, want := range map[string]string{
		"1 +\n frames":  `line 2, column 2, at "frames": unknown name frames`,
		"frames":        `formula: column 1, at "frames": `,
		`json("/a", 1)`: "column",
	} {
		if _, err := newFormula(text, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := newFormula("1"+strings.Repeat(" ", maxFormula-1), true); err != nil {
		t.Errorf("a formula of as many bytes as may be: %v", err)
	}
	if _, err := newFormula(`json("/a") ?? header("x")`, false); err != nil {
		t.Errorf("a formula whose result is known when it runs: %v", err)
	}
}

func TestNamesOfLabels(t *testing.T) {
	most := make(map[string]string)
	for i := range balance.MaxLabels {
		most[fmt.Sprint("l", i)] = "yes"
	}
	for _, c := range []struct {
		facts Facts
		want  string
	}{
		{Facts{Labels: most}, ""},
		{Facts{Labels: map[string]string{"": "yes"}}, "labels: empty"},
		{Facts{Labels: map[string]string{"a.b": ""}}, `labels["a.b"]: empty`},
		{Facts{Labels: map[string]string{"a\x01": "yes"}}, "labels: "},
		{Facts{Locations: map[netip.Prefix]string{netip.MustParsePrefix("::ffff:0.0.0.0/95"): "eu"}}, "locations: "},
		{Facts{Class: "a:b"}, `class: "a:b": "a" is none of`},
		{Facts{Priority: `expr:header("x")`}, "priority: "},
		{Facts{Deadline: "2026-12-01T10:00:00Z"}, ""},
	} {
		if got := routeProblems(Route{Pool: "p", Facts: c.facts}); (got == "") != (c.want == "") || !strings.HasPrefix(got, c.want) {
			t.Errorf("%+v: problems %q, want %q", c.facts, got, c.want)
		}
	}
	for name, want := range map[string]string{"gpu": "labels.gpu", "": `labels[""]`, "a.b": `labels["a.b"]`, "a]": `labels["a]"]`} {
		if got := labelField(name); got != want {
			t.Errorf("label %q is at %s, want %s", name, got, want)
		}
	}
}
