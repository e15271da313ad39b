package edge

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// lastAsk is what the master was asked last.
func lastAsk(t *testing.T, p *fakePicker) balance.Request {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.asks) == 0 {
		t.Fatal("the master was not asked")
	}
	return p.asks[len(p.asks)-1]
}

// A tenant that a header tells is believed of trusted proxies only, and what others write there reaches no server.
func TestTenantsOfTrustedProxies(t *testing.T) { eachPicker(t, testTenantsOfTrustedProxies) }

func testTenantsOfTrustedProxies(t *testing.T) {
	for _, c := range []struct {
		name    string
		from    tenants.From
		proxies string
		values  []string
		belief  balance.Belief
		asked   string // the tenant in the ask
		server  string // what the server is told, in the head and in trailers
	}{
		{"of no tenant in particular", tenants.Default, "", []string{"acme"}, balance.Told, "acme", `["acme"] ["late"]`},
		{"of a stranger", tenants.Default, "192.0.2.0/24", []string{"acme"}, balance.Disbelieved, "acme", `[] []`},
		{"of a stranger, which is all the same", tenants.Any, "192.0.2.0/24", []string{"acme"}, balance.Told, "acme", `["acme"] ["late"]`},
		{"of a proxy", tenants.Trusted, "127.0.0.0/8", []string{"acme"}, balance.Proven, "acme", `["acme"] []`},
		{"of a proxy and its client", tenants.Trusted, "127.0.0.0/8", []string{"victim", "acme"}, balance.Disbelieved, "victim", `["victim" "acme"] []`},
		{"none", tenants.Trusted, "192.0.2.0/24", nil, balance.Told, "", `[] []`},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			p := echoHead(t, "X-Tenant")
			r := run(t, p, func(cfg *Config) {
				l := &cfg.Listeners[0]
				l.Routes[0].Tenant, l.Routes[0].TenantFrom = "header:X-Tenant", c.from
				if c.proxies != "" {
					l.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(c.proxies)}
				}
			})
			req := r.request("POST", "/", "")
			req.Body, req.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader("body"))), -1
			req.Trailer = http.Header{"X-Tenant": {"late"}}
			for i, v := range c.values {
				if i == 0 && len(c.values) > 1 {
					req.Header["x_tenant"] = []string{v} // which servers take for the same
					continue
				}
				req.Header.Add("X-Tenant", v)
			}
			res, body := r.do(req)
			want := c.server
			if len(c.values) > 1 {
				want = `["acme"] []` // and the other under its own name
			}
			if res.StatusCode != 200 || body != want {
				t.Errorf("the server was told %d %s, want %s", res.StatusCode, body, want)
			}
			if ask := lastAsk(t, p); ask.Belief != c.belief || c.asked != "victim" && ask.Tenant != c.asked {
				t.Errorf("asked for tenant %q, %v; want %q, %v", ask.Tenant, ask.Belief, c.asked, c.belief)
			}
		})
	}
}

// The access log says whose request it was, or whose it claimed to be and why that is not believed.
func TestTheLogTellsTenantsApart(t *testing.T) {
	var mu sync.Mutex
	var lines bytes.Buffer
	p := echoHead(t, "X")
	r := run(t, p, func(c *Config) {
		c.AccessLog = slog.New(slog.NewJSONHandler(locked{&mu, &lines}, nil))
		l := &c.Listeners[0]
		l.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		l.Routes = []routing.Route{{Pool: "web", Tenant: "header:X-Tenant"}, {Path: "/any", Pool: "web", Tenant: "header:X-Tenant", TenantFrom: tenants.Any}}
	})
	want := []map[string]any{
		{"path": "/", "tenant": nil, "tenant_claimed": "acme", "tenant_err": "it was told by a peer that is no trusted proxy"},
		{"path": "/any", "tenant": "acme", "tenant_claimed": nil, "tenant_err": nil},
	}
	for _, w := range want {
		r.do(r.request("POST", w["path"].(string), strings.Repeat("b", 1<<20), "X-Tenant", "acme")) // which takes the place of the head
	}
	if page := metricsPage(t, r.Edge); !strings.Contains(page, `evenkeel_edge_tenants_disbelieved_total{pool="web"} 1`+"\n") {
		t.Error("the metric does not count one")
	}
	r.stop()
	<-r.stopped
	mu.Lock()
	defer mu.Unlock()
	for i, text := range strings.Split(strings.TrimSpace(lines.String()), "\n") {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		for field, value := range want[i] {
			if line[field] != value {
				t.Errorf("%s: %s is %v, want %v", text, field, line[field], value)
			}
		}
	}
}

// A client's verified certificate proves its tenant.
func TestTenantsOfCertificates(t *testing.T) { eachPicker(t, testTenantsOfCertificates) }

func testTenantsOfCertificates(t *testing.T) {
	own, authority := identity(t, "alice.example")
	for spec, want := range map[string]string{"cert:subject": "CN=alice.example", "cert:san": "alice.example"} {
		p := echoHead(t, "X")
		r := runSecure(t, p, func(c *Config) {
			c.Listeners[0].ClientCerts = routing.ClientCerts{Authorities: authority, Optional: true}
			c.Listeners[0].Routes[0].Tenant = spec
		})
		for _, shown := range []bool{true, false} {
			cfg := r.client.Transport.(*http.Transport).TLSClientConfig.Clone()
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if !shown {
					return new(tls.Certificate), nil
				}
				return &own, nil
			}
			transport := &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}
			res, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Get("https://" + r.address + "/")
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			transport.CloseIdleConnections()
			ask := lastAsk(t, p)
			if shown && (ask.Tenant != want || ask.Belief != balance.Proven) || !shown && (ask.Tenant != "" || ask.Belief != balance.Told) {
				t.Errorf("%s, shown %v: asked for tenant %q, %v", spec, shown, ask.Tenant, ask.Belief)
			}
		}
	}
}

// A signed token proves its tenant; one by another key proves nothing.
func TestTenantsOfTokens(t *testing.T) { eachPicker(t, testTenantsOfTokens) }

func testTenantsOfTokens(t *testing.T) {
	secret, other := bytes.Repeat([]byte("k"), 32), bytes.Repeat([]byte("o"), 32)
	text, err := json.Marshal(jose.JSONWebKey{Key: secret})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := tenants.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	token := func(key []byte) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.Signed(signer).Claims(map[string]any{"org": "acme", "exp": time.Now().Add(time.Hour).Unix()}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	p := echoHead(t, "Authorization")
	r := run(t, p, func(c *Config) {
		c.Listeners[0].Routes[0].Tenant = "jwt:org"
		c.Listeners[0].Routes[0].TenantTokens = &tenants.Verifier{Header: "authorization", Claim: "org", Keys: keys}
	})
	for _, c := range []struct {
		header, tenant string
		belief         balance.Belief
	}{
		{"Bearer " + token(secret), "acme", balance.Proven},
		{"Bearer " + token(secret), "acme", balance.Proven}, // once more, from memory
		{"Bearer " + token(other), "", balance.Disbelieved},
		{"Basic YTpi", "", balance.Disbelieved},
	} {
		if _, body := r.do(r.request("GET", "/", "", "Authorization", c.header)); body != fmt.Sprintf("%q []", []string{c.header}) {
			t.Errorf("the server was told %s, want the token as it came", body)
		}
		if ask := lastAsk(t, p); ask.Tenant != c.tenant || ask.Belief != c.belief {
			t.Errorf("asked for tenant %q, %v; want %q, %v", ask.Tenant, ask.Belief, c.tenant, c.belief)
		}
	}
}
