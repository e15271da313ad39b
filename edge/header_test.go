package edge

import (
	"bufio"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// seen runs one request through an edge and returns what the server got.
func seen(t *testing.T, change func(*Config), headers ...string) http.Header {
	t.Helper()
	var got http.Header
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(_ http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		got.Set("Host", r.Host)
	})))
	r := run(t, p, change)
	if res, body := r.do(r.request("GET", "/", "", headers...)); res.StatusCode != 200 {
		t.Fatalf("got %d %s", res.StatusCode, body)
	}
	return got
}

func TestHeadersToServer(t *testing.T) {
	got := seen(t, nil,
		"Evenkeel-Lease", "00000000000000ff", "Evenkeel-Anything", "x", "Evenkeel_Pool", "x",
		"X-Gateway-Destination-Endpoint", "10.0.0.1:1", "X-Gateway-Destination-Endpoint-Subset", "x",
		"Endpoint-Load-Metrics", "TEXT eps=1", "Endpoint-Load-Metrics-Bin", "x", "Endpoint_Load_Metrics", "x", "Endpoint-Load-Metrics-Format", "JSON",
		"X-Forwarded-For", "6.6.6.6", "X-Forwarded-Proto", "https", "X-Forwarded-Port", "1", "X_Forwarded_For", "6.6.6.6", "X-Real-Ip", "6.6.6.6", "Forwarded", "for=6.6.6.6",
		"Connection", "X-Hop", "X-Hop", "x", "Keep-Alive", "x", "Proxy-Authorization", "x", "Te", "gzip",
		"Via", "1.0 first", "X-Own", "kept", "X-Request-Id", "bad id", "Cookie", "a=b")
	for name, want := range map[string]string{
		"Evenkeel-Lease": "0000000000000001", "Evenkeel-Edge": "e1", "Evenkeel-Pool": "web", "Endpoint-Load-Metrics-Format": "TEXT",
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": got.Get("Host"),
		"Forwarded": `for=127.0.0.1;host="` + got.Get("Host") + `";proto=http`,
		"Via":       "1.0 first, 1.1 evenkeel", "X-Own": "kept", "Cookie": "a=b",
	} {
		if values := got.Values(name); len(values) != 1 || values[0] != want {
			t.Errorf("%s: the server got %q, want %q", name, values, want)
		}
	}
	if id := got.Get("X-Request-Id"); len(id) != 32 {
		t.Errorf("X-Request-Id: the server got %q, want a new one", id)
	}
	for _, name := range []string{"Evenkeel-Anything", "Evenkeel_pool", "X-Gateway-Destination-Endpoint", "X-Gateway-Destination-Endpoint-Subset",
		"Endpoint-Load-Metrics", "Endpoint-Load-Metrics-Bin", "Endpoint_load_metrics", "X-Forwarded-Port", "X_forwarded_for", "X-Real-Ip",
		"X-Hop", "Keep-Alive", "Proxy-Authorization", "Te", "Connection", "Accept-Encoding"} {
		if values := got.Values(name); len(values) != 0 {
			t.Errorf("%s: the server got %q, want none", name, values)
		}
	}
}

func TestTrustedProxy(t *testing.T) {
	trust := func(c *Config) {
		c.Listeners[0].TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	got := seen(t, trust, "X-Forwarded-For", "192.0.2.7", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "www.example",
		"Forwarded", "for=192.0.2.7", "X-Request-Id", "id-1", "Evenkeel-Lease", "00000000000000ff")
	for name, want := range map[string]string{
		"X-Forwarded-For": "192.0.2.7, 127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "www.example", "X-Request-Id": "id-1",
		"Forwarded": `for=192.0.2.7, for=127.0.0.1;host="` + got.Get("Host") + `";proto=http`, "Evenkeel-Lease": "0000000000000001",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: the server got %q, want %q", name, got.Get(name), want)
		}
	}
}

func TestHeadersToClient(t *testing.T) { eachPicker(t, testHeadersToClient) }

func testHeadersToClient(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Own: kept\r\nEndpoint-Load-Metrics-Json: {}\r\nVia: 1.1 inner\r\nContent-Length: 2\r\n\r\nok"))
	})))
	r := run(t, p, nil)
	res, body := r.do(r.request("GET", "/", "", "X-Request-Id", "id-2"))
	if body != "ok" {
		t.Errorf("got %q", body)
	}
	for name, want := range map[string]string{"X-Own": "kept", "Via": "1.1 inner, 1.1 evenkeel", "X-Request-Id": "id-2",
		"X-Hop": "", "Keep-Alive": "", "Connection": "", "Endpoint-Load-Metrics-Json": ""} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: the client got %q, want %q", name, got, want)
		}
	}
}

func TestUpgradeToAnotherHTTPIsIgnored(t *testing.T) {
	eachPicker(t, testUpgradeToAnotherHTTPIsIgnored)
}

func testUpgradeToAnotherHTTPIsIgnored(t *testing.T) {
	var got http.Header
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() })))
	r := run(t, p, nil)
	answer := r.raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil); err != nil || res.StatusCode != 200 {
		t.Errorf("got %q", answer)
	}
	if got.Get("Upgrade") != "" || got.Get("Connection") != "" || got.Get("Http2-Settings") != "" {
		t.Errorf("the server got %v", got)
	}
}
