package edge

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
)

// Requests are counted by class and tenant where the route says where they are, and by nothing that a client may not say.
func TestRequestsByClassAndTenant(t *testing.T) { eachPicker(t, testRequestsByClassAndTenant) }

func testRequestsByClassAndTenant(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, echo)))
	r := run(t, p, func(c *Config) {
		c.Listeners[0].TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		c.Listeners[0].Routes = []routing.Route{
			{Path: "/named", Pool: "web", Facts: routing.Facts{Class: "header:X-Class", From: tenants.Any}, Tenant: "header:X-Tenant", TenantFrom: tenants.Any},
			{Path: "/trusted", Pool: "web", Tenant: "header:X-Tenant", TenantFrom: tenants.Trusted},
			{Path: "/other", Pool: "web"},
		}
	})
	for _, path := range []string{"/named", "/trusted", "/other"} {
		r.do(r.request("GET", path, "", "X-Class", "batch", "X-Tenant", "acme"))
	}
	r.do(r.request("GET", "/named", "")) // a class by method and route, and no tenant
	r.stop()
	<-r.stopped
	page := metricsPage(t, r.Edge)
	for _, want := range []string{
		`class_requests_total{class="batch",code="2xx",pool="web"} 1`, `class_request_duration_seconds_count{class="batch",pool="web"} 1`, `class_first_byte_seconds_count{class="batch",pool="web"} 1`,
		`tenant_requests_total{code="2xx",pool="web",tenant="acme"} 1`, `tenant_request_duration_seconds_count{pool="web",tenant="acme"} 1`, `tenant_first_byte_seconds_count{pool="web",tenant="acme"} 1`,
		`first_byte_seconds_count{pool="web"} 4`,
	} {
		if !strings.Contains(page, "\nevenkeel_edge_"+want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if n := strings.Count(page, "\nevenkeel_edge_tenant_requests_total{"); n != 1 {
		t.Errorf("%d tenants are counted, want 1", n)
	}
}
