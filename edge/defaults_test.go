package edge

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/upstream"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// documented returns the default of each key in a section of docs/config.md.
func documented(t *testing.T, section string) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n## `"+section+"`\n")
	rest, _, _ = strings.Cut(rest, "\n## ")
	defaults := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| [^|]+ \\| ([^|]+) \\|").FindAllStringSubmatch(rest, -1) {
		defaults[m[1]] = m[2]
	}
	return defaults
}

// size is a number of bytes as documents write it.
func size(n int) string {
	if n%(1<<10) == 0 && n > 0 {
		return strconv.Itoa(n>>10) + "KiB"
	}
	return strconv.Itoa(n)
}

// mebibytes is a size of whole MiB.
func mebibytes(n int64) string { return strconv.FormatInt(n>>20, 10) + "MiB" }

// shortly is a time as documents write it: 75s, 1h.
func shortly(d time.Duration) string {
	if d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

func TestDefaultsAreThoseDocumented(t *testing.T) {
	c := Config{}.withDefaults()
	bind := func(m routing.Mode) *routing.BoundListener {
		l, err := routing.Bind(routing.Listener{Mode: m, Routes: []routing.Route{{Pool: "web"}}}, func(string) int { return 0 })
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	k := RespondAsync{Spool: "/spool"}.withDefaults()
	k.Spool = c.RespondAsync.Spool
	http, tcp := bind(routing.ModeHTTP), bind(routing.ModeTCP)
	rs := http.BoundRoutes
	none := func(zero bool) string {
		if zero {
			return "none"
		}
		return "some"
	}
	for section, want := range map[string]map[string]string{
		"edge": {
			"buffer_memory":   "`" + mebibytes(c.BufferMemory) + "`",
			"connect_timeout": "`" + shortly(c.ConnectTimeout) + "`", "response_timeout": none(c.ResponseTimeout == 0), "drain_time": "`" + shortly(c.DrainTime) + "`",
		},
		"edge.tcp": {
			"keepalive_idle": "`" + shortly(c.TCP.KeepaliveIdle) + "`", "keepalive_interval": "`" + shortly(c.TCP.KeepaliveInterval) + "`",
			"keepalive_count": fmt.Sprintf("`%d`", c.TCP.KeepaliveCount), "user_timeout": "`" + shortly(c.TCP.UserTimeout) + "`",
		},
		"edge.respond_async": {
			"requests": fmt.Sprintf("`%d`", k.Requests), "per_client": fmt.Sprintf("`%d`", k.PerClient), "memory": "`" + mebibytes(k.Memory) + "`", "body": "`" + mebibytes(k.Body) + "`",
			"answer": "`" + mebibytes(k.Answer) + "`", "keep": fmt.Sprintf("`%.0fm`", k.Keep.Minutes()), "spool": none(k.Spool == ""), "spool_size": "`" + strconv.FormatInt(k.SpoolSize>>30, 10) + "GiB`",
		},
		"edge.listeners[]": {
			"mode": "`" + http.Mode.String() + "`", "header_limit": "`" + size(http.HeaderLimit) + "`", "header_count": fmt.Sprintf("`%d`", http.HeaderCount),
			"header_timeout": "`" + shortly(http.HeaderTimeout) + "`", "idle_timeout": "`" + shortly(http.IdleTimeout) + "`; with `mode: tcp` `" + shortly(tcp.IdleTimeout) + "`",
			"body_limit": none(http.BodyLimit == 0), "trusted_proxies": none(http.TrustedProxies == nil), "proxy_protocol": none(http.ProxyTrusted == nil),
			"allow": map[bool]string{true: "all"}[http.Allow == nil], "deny": none(http.Deny == nil),
			"half_closed": "`" + http.HalfClosed.String() + "`",
			"h2c":         fmt.Sprintf("`%v`", http.H2C), "server_timing": fmt.Sprintf("`%v`", http.ServerTiming),
		},
		"edge.listeners[].tls":                     {"policy": "`" + http.TLSPolicy.String() + "`", "client_certificates": none(http.ClientCerts.Authorities == nil)},
		"edge.listeners[].tls.client_certificates": {"optional": fmt.Sprintf("`%v`", http.ClientCerts.Optional)},
		"edge.listeners[].routes[]": {
			"upgrade": "`" + strings.Join(rs[0].Upgrades, "`, `") + "`",
			"timeout": "`" + shortly(rs[0].Timeout) + "`", "link": "`" + rs[0].Link.String() + "`", "host": "any", "path": "any",
			"key": none(rs[0].Key == ""), "tenant": none(rs[0].Tenant == ""), "tenant_from": "`" + rs[0].TenantRule.From.String() + "`; `trusted` with `header:` where the listener has `trusted_proxies`", "facts_from": "`" + rs[0].Facts.Believed(false).String() + "`; `" + rs[0].Facts.Believed(true).String() + "` where the listener has `trusted_proxies`", "lease_param": none(rs[0].LeaseParam == ""), "send_proxy": none(rs[0].SendProxy == 0),
			"respond_async": fmt.Sprintf("`%v`", rs[0].RespondAsync), "server_protocol": "`" + rs[0].ServerProtocol.String() + "`", "buffer_request": "`" + mebibytes(rs[0].BufferRequest) + "`", "body_rate": "`" + size(int(rs[0].BodyRate)) + "`",
		},
	} {
		got := documented(t, section)
		for key, w := range want {
			if got[key] != w {
				t.Errorf("docs/config.md, %s: default of %s is %q, want %q as in the code", section, key, got[key], w)
			}
		}
		for key, d := range got {
			if _, held := want[key]; !held && section != "edge" && strings.HasPrefix(d, "`") {
				t.Errorf("docs/config.md, %s: default %s of %s is held against no code", section, d, key)
			}
		}
	}
	text, err := os.ReadFile("../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(string(text)), " ")
	for _, want := range []string{
		fmt.Sprintf("a connection to a server waits %d s for its next request", upstream.IdleTimeout/time.Second), fmt.Sprintf("%d of them are kept for each server", upstream.MaxIdleConns),
		fmt.Sprintf("heads of responses may be %d KiB with 1,000 lines", h2conn.MaxResponseHead>>10), fmt.Sprintf("buffers of %d KiB", exchange.BodyRoom>>10),
		fmt.Sprintf("may have %d requests open in a connection, with %d KiB of each request's body and %d MiB of all of them", h2conn.MaxStreams, h2conn.StreamWindow>>10, h2conn.ConnectionWindow>>20),
		fmt.Sprintf("%.0f,000 a second, %d,000 at once, and one more for each %d bytes", h2conn.IdleFramesRate/1000, h2conn.IdleFramesAtOnce/1000, h2conn.BytesPerFrame),
	} {
		if !strings.Contains(words, want) || (http1.Limits{Head: h2conn.MaxResponseHead, Fields: h2conn.MaxResponseFields}) != exchange.ResponseLimits {
			t.Errorf("docs/config.md does not say: %s", want)
		}
	}
}
