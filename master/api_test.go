package master

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// api calls a master's handler and holds every call against openapi.yaml.
type api struct {
	t      *testing.T
	server *httptest.Server
	router routers.Router
}

func newAPI(t *testing.T, m *Master) *api {
	t.Helper()
	openapi3filter.RegisterBodyDecoder("application/problem+json", openapi3filter.JSONBodyDecoder)
	s := httptest.NewServer(m.Handler())
	t.Cleanup(s.Close)
	doc := specification(t)
	doc.Servers = openapi3.Servers{{URL: s.URL}}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return &api{t, s, router}
}

func specification(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openAPI)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil { // examples too
		t.Fatal(err)
	}
	return doc
}

// call sends a request, which openapi.yaml must allow unless the answer is a 4xx,
// and returns the answer, which it must describe.
func (a *api) call(method, path, body string) (status int, answer map[string]any, header http.Header) {
	a.t.Helper()
	newRequest := func() *http.Request {
		r, err := http.NewRequest(method, a.server.URL+path, strings.NewReader(body))
		if err != nil {
			a.t.Fatal(err)
		}
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		return r
	}
	res, err := a.server.Client().Do(newRequest())
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	a.describes(newRequest(), res, raw)
	if strings.HasSuffix(res.Header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(raw, &answer); err != nil {
			a.t.Fatalf("%s %s: %q: %v", method, path, raw, err)
		}
	}
	return res.StatusCode, answer, res.Header
}

func (a *api) describes(r *http.Request, res *http.Response, raw []byte) {
	a.t.Helper()
	route, params, err := a.router.FindRoute(r)
	if err != nil {
		if res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusMethodNotAllowed {
			a.t.Errorf("%s %s: %s, but openapi.yaml has no such operation", r.Method, r.URL.Path, res.Status)
		}
		return
	}
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route}
	if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil && res.StatusCode < 300 {
		a.t.Errorf("%s %s: answered %s, but openapi.yaml forbids the request: %v", r.Method, r.URL.Path, res.Status, err)
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: res.StatusCode, Header: res.Header}
	out.SetBodyBytes(raw)
	out.Options = &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: strings.HasPrefix(res.Header.Get("Content-Type"), "application/yaml")}
	if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
		a.t.Errorf("%s %s: %s: openapi.yaml does not describe the answer: %v\n%s", r.Method, r.URL.Path, res.Status, err, raw)
	}
}

// problem calls and wants a problem document of that status and reason.
func (a *api) problem(method, path, body string, status int, reason string) (detail string) {
	a.t.Helper()
	got, answer, header := a.call(method, path, body)
	if got != status || answer["reason"] != reason || header.Get("Content-Type") != "application/problem+json" ||
		answer["status"] != float64(status) || answer["title"] == "" || answer["type"] != "/openapi.yaml#"+reason {
		a.t.Errorf("%s %s %.80s: got %d %v, want %d %s", method, path, body, got, answer, status, reason)
	}
	if !bytes.Contains(openAPI, []byte("| "+reason+" | "+fmt.Sprint(status)+" |")) {
		a.t.Errorf("openapi.yaml's table does not explain %s with %d", reason, status)
	}
	detail, _ = answer["detail"].(string)
	return detail
}

func TestRoutesAndOpenAPIAreTheSame(t *testing.T) {
	var served, described []string
	for _, r := range newMaster(t, Config{}).routes() {
		served = append(served, r.method+" "+r.path)
	}
	for path, item := range specification(t).Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if !slices.Equal(served, described) {
		t.Errorf("served    %q\ndescribed %q", served, described)
	}
}

func TestPickAndDoneByAPI(t *testing.T) {
	cfg := web("a")
	cfg.Pools[0].Servers[0].Labels = []balance.Label{{Key: "zone", Value: "b"}}
	r := start(t, cfg)
	a := newAPI(t, r.Master)
	for _, body := range []string{"", "{}", `{"key":"k","client":"192.0.2.7","priority":-1,"tenant":"t","deadline_ms":5000,"link":"redirect","labels":{"zone":"b"},
		"exclude":["z"],"location":"l","method":"GET","host":"h","path":"/","hold_ms":1500,"reports":[{"server":"a","metrics":{"cpu_utilization":0.5,"eps":null}}]}`} {
		status, g, _ := a.call("POST", "/v1/pools/web/pick", body)
		if status != 200 || g["server"] != "a" || g["address"] != "a.test:80" || g["public"] != "http://a.test:80" {
			t.Fatalf("pick %q: got %d %v, want server a", body, status, g)
		}
		most := 60000.
		if body != "" && body != "{}" {
			most = 1500
		}
		if left, _ := g["expires_ms"].(float64); left <= 0 || left > most {
			t.Errorf("pick %q: expires in %v ms, want more than 0 and at most %v", body, left, most)
		}
		path, done := "/v1/pools/web/done", fmt.Sprintf(`{"lease":%q,"result":"ok","duration_ms":1.5}`, g["lease"])
		if body == "{}" {
			path, done = fmt.Sprintf("/v1/leases/%s/done", g["lease"]), ""
		}
		if status, answer, _ := a.call("POST", path, done); status != http.StatusNoContent || r.open() != 0 {
			t.Errorf("done: got %d %v and %d open leases, want 204 and 0", status, answer, r.open())
		}
		a.problem("POST", path, done, 404, "unknown-lease")
	}
	if v := r.view("a"); len(v.Metrics) != 1 || v.Metrics[0].Value != .5 {
		t.Errorf("got %+v, want the report that rode in the ask, without what was null", v.Metrics)
	}
}

func TestReportAndPoolsByAPI(t *testing.T) {
	r := start(t, Config{ID: "m1", Pools: []PoolConfig{web("a", "b").Pools[0], {Name: "rr", Policy: "round-robin", Servers: []balance.ServerSpec{spec("c")}}}})
	a := newAPI(t, r.Master)
	if status, answer, _ := a.call("POST", "/v1/pools/web/report", `{"server":"a","age_ms":20,"metrics":{"cpu_utilization":0.5,"named_metrics.in_flight":4}}`); status != 200 || len(answer) != 0 {
		t.Errorf("report: got %d %v, want 200 {}", status, answer)
	}
	if status, answer, _ := a.call("POST", "/v1/pools/web/report", `{"server":"a","metrics":{"cpu_utilization":1e308,"eps":-1,"rps_fractional":3}}`); status != 200 || answer["problem"] == nil {
		t.Errorf("impossible report: got %d %v, want 200 and what was dropped", status, answer)
	}
	status, pool, _ := a.call("GET", "/v1/pools/web", "")
	servers, _ := pool["servers"].([]any)
	if status != 200 || len(servers) != 2 {
		t.Fatalf("got %d %v, want 2 servers", status, pool)
	}
	s := servers[0].(map[string]any)
	metrics := s["metrics"].(map[string]any)
	cpu := metrics["cpu_utilization"].(map[string]any)
	if s["id"] != "a" || s["score"] == nil || cpu["value"] != .5 || cpu["age_ms"].(float64) < 20 || len(metrics) != 3 || s["external_load"].(float64) <= 0 {
		t.Errorf("got %v, want a with its score, external load and three metrics, cpu at .5", s)
	}
	if _, rr, _ := a.call("GET", "/v1/pools/rr", ""); rr["servers"].([]any)[0].(map[string]any)["score"] != nil {
		t.Errorf("round robin has a score: %v", rr)
	}
	if _, all, _ := a.call("GET", "/v1/pools", ""); len(all["pools"].([]any)) != 2 {
		t.Errorf("got %v, want 2 pools", all)
	}
}

func TestDrainByAPI(t *testing.T) {
	r := start(t, web("a"))
	a := newAPI(t, r.Master)
	status, told, _ := a.call("POST", "/v1/pools/web/servers/a/drain", `{"by": "ann", "reason": "disk"}`)
	if out := r.view("a").Outages; status != 200 || r.view("a").State != balance.Draining || out[0].By != "ann" || out[0].What != `"disk"` {
		t.Errorf("drain: got %d, a is %v, %+v, want it draining by ann: disk", status, r.view("a").State, out)
	}
	if kept := told["kept_by"].(map[string]any); told["draining"] != true || kept["edges"] != 0. || kept["agent"] != false || kept["file"] != nil {
		t.Errorf("drain: got %v, want it draining, and that no other knows it", told)
	}
	for _, body := range []string{`{"by": "a\nb"}`, `{"reason": "` + strings.Repeat("x", 1025) + `"}`, `{"why": "disk"}`} {
		a.problem("POST", "/v1/pools/web/servers/a/undrain", body, 400, "bad-request")
	}
	_, _, header := a.call("POST", "/v1/pools/web/pick", "{}")
	if detail := a.problem("POST", "/v1/pools/web/pick", "{}", 503, "no-server"); !strings.Contains(detail, "draining") || header.Get("Retry-After") != "1" {
		t.Errorf("detail %q, Retry-After %q, want that it is draining, and 1", detail, header.Get("Retry-After"))
	}
	if status, _, _ := a.call("POST", "/v1/pools/web/servers/a/undrain", ""); status != 200 || r.view("a").State != balance.Up {
		t.Errorf("undrain: got %d, a is %v", status, r.view("a").State)
	}
	a.problem("POST", "/v1/pools/web/servers/zz/drain", "", 404, "unknown-server")
	a.problem("POST", "/v1/pools/zz/servers/a/drain", "", 404, "no-such-pool")
}

func TestDeclinedByAPI(t *testing.T) {
	cfg := web("a")
	cfg.Pools[0].Dispatch = true
	a := newAPI(t, start(t, cfg).Master)
	a.problem("POST", "/v1/pools/web/pick", "{}", 503, "declined")
}

func TestBadInputByAPI(t *testing.T) {
	a := newAPI(t, start(t, web("a")).Master)
	for _, c := range []struct {
		path, body string
		status     int
		reason     string
		tell       string
	}{
		{"/v1/pools/zz/pick", "{}", 503, "unknown-pool", `"zz"`},
		{"/v1/pools/zz/done", `{"lease":"00000000000000010000000000000002"}`, 404, "no-such-pool", `"zz"`},
		{"/v1/pools/zz/report", `{"server":"a"}`, 404, "no-such-pool", `"zz"`},
		{"/v1/pools/web/report", `{"server":"zz"}`, 404, "unknown-server", `"zz"`},
		{"/v1/pools/web/report", `{}`, 400, "bad-request", "server"},
		{"/v1/pools/web/report", `{"server":"a","age_ms":-1}`, 400, "bad-request", "age_ms"},
		{"/v1/pools/web/report", `{"server":"a","window_ms":3600001}`, 400, "bad-request", "window_ms"},
		{"/v1/pools/web/report", `{"server":"a","metrics":{"eps":NaN}}`, 400, "bad-request", "N"},
		{"/v1/pools/web/report", `{"server":"a","metrics":{"eps":"1"}}`, 400, "bad-request", "a number is wanted"},
		{"/v1/pools/web/report", `{"server":"a","metrics":{"eps":1e999}}`, 400, "bad-request", "metrics"},
		{"/v1/pools/web/pick", `{"colour":1}`, 400, "bad-request", `"colour"`},
		{"/v1/pools/web/pick", `{"key":1}`, 400, "bad-request", "key: a JSON number where a string is wanted"},
		{"/v1/pools/web/pick", `[]`, 400, "bad-request", "the body: a JSON array where an object is wanted"},
		{"/v1/pools/web/pick", `{"key":`, 400, "bad-request", "cut off"},
		{"/v1/pools/web/pick", `{} {}`, 400, "bad-request", "follows"},
		{"/v1/pools/web/pick", `{"client":"me"}`, 400, "bad-request", "client"},
		{"/v1/pools/web/pick", `{"link":"tunnel"}`, 400, "bad-request", "link"},
		{"/v1/pools/web/pick", `{"hold_ms":1e300}`, 400, "bad-request", "hold_ms"},
		{"/v1/pools/web/pick", `{"deadline_ms":-1}`, 400, "bad-request", "deadline_ms"},
		{"/v1/pools/web/pick", `{"reports":[{"server":"a"},{}]}`, 400, "bad-request", "reports[1]: server"},
		{"/v1/pools/web/pick", `{"key":"` + strings.Repeat("x", maxBody) + `"}`, 413, "too-large", "1048576"},
		{"/v1/pools/web/done", `{"lease":"zz"}`, 400, "bad-request", "32 hexadecimal digits"},
		{"/v1/pools/web/done", `{"lease":"0000000000000001"}`, 400, "bad-request", "the tag is missing"},
		{"/v1/pools/web/done", `{"lease":"00000000000000010000000000000002","result":"splendid"}`, 400, "bad-request", "splendid"},
		{"/v1/leases/zz/done", `{}`, 400, "bad-request", "32 hexadecimal digits"},
		{"/v1/nothing", `{}`, 404, "no-such-path", "/v1/nothing"},
		{"/v1/pools", `{}`, 405, "wrong-method", "GET"},
	} {
		if detail := a.problem("POST", c.path, c.body, c.status, c.reason); !strings.Contains(detail, c.tell) {
			t.Errorf("%s %.80s: detail %q does not tell %q", c.path, c.body, detail, c.tell)
		}
	}
}

func TestOtherSitesPagesAreRefused(t *testing.T) {
	r := httptest.NewRequest("POST", "/v1/pools/web/servers/a/drain", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w := httptest.NewRecorder()
	newMaster(t, web("a")).Handler().ServeHTTP(w, r)
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), admin.CrossOrigin) {
		t.Fatalf("got %d %s, want 403", w.Code, w.Body)
	}
}

func TestEveryReasonIsExplained(t *testing.T) {
	reasons := slices.Concat(slices.Collect(maps.Keys(titles)), slices.Collect(maps.Keys(admin.Reasons())))
	slices.Sort(reasons)
	for _, reason := range reasons {
		if !bytes.Contains(openAPI, []byte("| "+reason+" | ")) {
			t.Errorf("openapi.yaml does not explain %s", reason)
		}
	}
}

func TestHealth(t *testing.T) {
	m := newMaster(t, web("a"))
	a := newAPI(t, m)
	a.problem("GET", "/readyz", "", 503, "not-ready")
	a = newAPI(t, start(t, web("a")).Master)
	eventually(t, "ready", func() bool { status, _, _ := a.call("GET", "/readyz", ""); return status == 200 })
	for _, path := range []string{"/healthz", "/openapi.yaml", "/metrics"} {
		if status, _, _ := a.call("GET", path, ""); status != 200 {
			t.Errorf("%s: got %d, want 200", path, status)
		}
	}
}

func TestClientOfTheAPIGoesAwayDuringADispatch(t *testing.T) {
	r := start(t, dispatching(time.Minute))
	a := r.dialAgent("s1")
	ctx, cancel := context.WithCancel(context.Background())
	req := httptest.NewRequestWithContext(ctx, "POST", "/v1/pools/web/pick", strings.NewReader("{}"))
	w := httptest.NewRecorder()
	go func() { a.want(wire.TDispatch, new(wire.Dispatch)); cancel() }()
	r.Handler().ServeHTTP(w, req)
	if w.Code != 503 || !strings.Contains(w.Body.String(), gaveUp) || r.open() != 0 {
		t.Fatalf("got %d %s and %d open leases, want 503 gave-up and 0", w.Code, w.Body, r.open())
	}
}
