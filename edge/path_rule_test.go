package edge

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

// pathServer tells which pool a request came for, and with which target.
func pathServer(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintf(w, "%s %s", r.Header.Get(routing.HeaderPool), r.RequestURI)
}

// wantPaths sends requests for targets and wants as answers a pool and a target, or a status.
func wantPaths(t *testing.T, change func(*routing.Listener), want map[string]string) {
	t.Helper()
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, pathServer)))
	r := run(t, p, func(c *Config) {
		c.Listeners[0].Routes = []routing.Route{{Path: "/public", Pool: "public"}, {Path: "/admin", Pool: "admin"}, {Path: "/api", Pool: "api"}}
		change(&c.Listeners[0])
	})
	for target, want := range want {
		answer := r.raw("GET " + target + " HTTP/1.1\r\nHost: h.example\r\nConnection: close\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
		if err != nil {
			t.Fatalf("%s: %q, %v", target, answer, err)
		}
		body, _ := io.ReadAll(res.Body) // what was said is there
		got := string(body)
		if res.StatusCode != 200 {
			got = fmt.Sprint(res.StatusCode)
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", target, got, want)
		}
		if res.StatusCode == 400 && !strings.Contains(string(body), exchange.ReasonPath) {
			t.Errorf("%s: got %s, want the reason %s", target, body, exchange.ReasonPath)
		}
	}
}

func TestAPathIsOneRoutesHoweverItIsRead(t *testing.T) {
	eachPicker(t, func(t *testing.T) {
		want := map[string]string{
			"/public/x": "public /public/x", "/api/v4/projects/group%2Fproject/a;b=c//d?e=../f": "api /api/v4/projects/group%2Fproject/a;b=c//d?e=../f",
			"/public/a/../b": "public /public/a/../b", "/admin": "admin /admin", "/%61dmin": "admin /%61dmin", "/ADMIN": "404", "/public/%2e%2e": "400",
			"/public?/../admin": "public /public?/../admin", "/publicity": "404", "http://h.example/public/../admin": "400", "/other//x": "404",
		}
		for _, around := range []string{"/public/../admin", "/public/%2e%2e/admin", "/public/..%2fadmin", "/public/%2e%2e%2fadmin", "/public/.%2e/admin", "//admin", "/./admin", "/public/x/../../admin",
			"/public//../admin", "/public/..;/admin", "/public;/../admin", `/public\..\admin`, "/public%2f..%2fadmin", "/public/%252e%252e/admin", "/public%00/../admin", "/admin/../public/x", "/x/../public/y",
			"/public/../admin/..%2f..%2fpublic", "/admin;x/y", "/x%2f..%2fadmin", "/public/%c0%ae%c0%ae/admin"} {
			want[around] = "400"
		}
		wantPaths(t, func(*routing.Listener) {}, want)
	})
}

func TestWithoutRoutesByPathAllGoOnByteForByte(t *testing.T) {
	eachPicker(t, func(t *testing.T) {
		wantPaths(t, func(l *routing.Listener) { l.Routes = []routing.Route{{Pool: "all"}} }, map[string]string{
			"/a/..%2f..//;x": "all /a/..%2f..//;x", `/a\..\b?\`: `all /a\..\b?\`, "//x": "all //x",
		})
	})
}

func TestNormalisedPathsGoOn(t *testing.T) {
	all := map[string]string{
		"/public/../admin?a=/../b": "admin /admin?a=/../b", "//admin//%61/%2F%c3?": "admin /admin/a/%2F%C3?", "/public/%2e%2e/api/%7Ex": "api /api/~x", "/public/..%2fadmin": "400",
		"http://h.example/public/./x": "public /public/x",
	}
	eachPicker(t, func(t *testing.T) {
		wantPaths(t, func(l *routing.Listener) { l.Paths = routing.PathsNormalize }, all)
		wantPaths(t, func(l *routing.Listener) { l.Routes[2].Paths = routing.PathsNormalize }, map[string]string{
			"/api/a/../%62": "api /api/b", "/api/../public": "400", "/public/a/../%62": "public /public/a/../%62",
		})
	})
}

// A client that is redirected stays behind the path of its server's public address.
func TestRedirectsDoNotClimb(t *testing.T) {
	eachPicker(t, func(t *testing.T) {
		for target, want := range map[string]int{"/a/../b": 307, "/": 307, "/../x": 400, "/%2e%2e/x": 400, "/a/..%2f..%2fx": 400, `/..\x`: 400, "/%c0%ae%c0%ae/x": 400} {
			p := newFakePicker()
			p.pick = among(balance.Grant{Server: "s1", Address: "10.0.0.5:8000", Public: "https://s1.example/base"})
			r := run(t, p, func(c *Config) { c.Listeners[0].Routes[0].Link = balance.LinkRedirect })
			answer := r.raw("GET " + target + " HTTP/1.1\r\nHost: h.example\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(answer, fmt.Sprintf("HTTP/1.1 %d ", want)) {
				t.Errorf("%s: got %.60q, want %d", target, answer, want)
			}
		}
	})
}

func TestNormalisedPathsHaveNoOverlongCharacters(t *testing.T) {
	eachPicker(t, func(t *testing.T) {
		overlong := map[string]string{"/public/%c0%ae%c0%ae/admin": "400", "/public/caf%C3%A9": "public /public/caf%C3%A9"}
		wantPaths(t, func(l *routing.Listener) { l.Paths = routing.PathsNormalize }, overlong)
		wantPaths(t, func(l *routing.Listener) { l.Paths = routing.PathsStrict }, overlong)
	})
}

func TestStrictPaths(t *testing.T) {
	eachPicker(t, func(t *testing.T) {
		wantPaths(t, func(l *routing.Listener) { l.Routes[2].Paths = routing.PathsStrict }, map[string]string{
			"/api/a": "api /api/a", "/api/a%2Fb": "400", "/api/a//b": "400", "/api/a;b/c%20d": "api /api/a;b/c%20d", "/api/a%00": "400", "/public/a//b": "public /public/a//b",
		})
		wantPaths(t, func(l *routing.Listener) { l.Paths = routing.PathsStrict }, map[string]string{"/public/a//b": "400", "/public/a": "public /public/a"})
	})
}
