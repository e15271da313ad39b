package agent

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
)

func TestHook(t *testing.T) {
	release := make(chan struct{})
	var got map[string]any
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/yes":
			said, _ := io.ReadAll(r.Body)
			if err := json.Unmarshal(said, &got); err != nil || r.Header.Get("Evenkeel-Lease") != "0003f00000000017" || r.Method != "POST" {
				t.Errorf("%s with %v: %s: %v", r.Method, r.Header, said, err)
			}
			w.WriteHeader(http.StatusAccepted)
		case "/busy":
			http.Error(w, "too busy\nreally", http.StatusServiceUnavailable)
		case "/problem":
			w.WriteHeader(http.StatusConflict)
			io.WriteString(w, `{"detail": "disk is full"}`)
		case "/moved":
			http.Redirect(w, r, "/yes", http.StatusTemporaryRedirect)
		case "/silent":
			<-release
		}
	}))
	defer app.Close()
	defer close(release)
	closed := httptest.NewServer(nil)
	closed.Close()
	d := client.Dispatch{Lease: 0x3f00000000017, Pool: "p", Edge: "e", Limit: 5 * time.Second, Request: balance.Request{
		Key: "k", Client: netip.MustParseAddr("10.1.2.3"), Method: "GET", Host: "h", Path: "/x?y=1", Tenant: "t", Priority: 2}}
	for _, test := range []struct {
		url, refusal string // empty refusal: accepted
		limit        time.Duration
	}{
		{"", "", 0},
		{app.URL + "/yes", "", 0},
		{app.URL + "/busy", "503 Service Unavailable: too busy", 0},
		{app.URL + "/problem", "409 Conflict: disk is full", 0},
		{app.URL + "/moved", "307", 0},
		{app.URL + "/silent", "did not answer within 20ms", 20 * time.Millisecond},
		{closed.URL, "refused", 0},
	} {
		h, err := NewHook(test.url)
		if err != nil {
			t.Fatal(err)
		}
		one := d
		if test.limit > 0 {
			one.Limit = test.limit
		}
		err = h.Dispatch(t.Context(), one)
		if (err != nil) != (test.refusal != "") || err != nil && !strings.Contains(err.Error(), test.refusal) {
			t.Errorf("%s: got %v, want %q", test.url, err, test.refusal)
		}
		if h.accepted.Load()+h.refused.Load() != 1 || (err == nil) != (h.accepted.Load() == 1) {
			t.Errorf("%s: counts %d accepted, %d refused", test.url, h.accepted.Load(), h.refused.Load())
		}
		h.Close()
	}
	want := map[string]any{"lease": "0003f00000000017", "pool": "p", "edge": "e", "key": "k", "client": "10.1.2.3", "method": "GET",
		"host": "h", "path": "/x?y=1", "tenant": "t", "priority": 2., "deadline_ms": 5000.}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the application got\n %v, want\n %v", got, want)
	}
	if _, err := NewHook("nonsense"); err == nil {
		t.Error("NewHook took nonsense")
	}
}

// FuzzHandlerReport holds that nothing an application pushes harms the agent.
func FuzzHandlerReport(f *testing.F) {
	f.Add("application/json", `{"in_flight": 3, "metrics": {"a": 1}}`)
	f.Add("text/plain", "TEXT eps=1")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		a, err := New(Config{Server: "s"}, &recorder{})
		if err != nil {
			t.Fatal(err)
		}
		if status, said := call(a, "POST", "/v1/report", contentType, body); status != 204 && !json.Valid([]byte(said)) {
			t.Fatalf("status %d, %q", status, said)
		}
		if status, said := call(a, "GET", "/metrics", "", ""); status != 200 {
			t.Fatalf("/metrics after it: %d %s", status, said)
		}
	})
}
