package process

import (
	"context"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
	"github.com/evenkeel-lb/evenkeel/internal/version"
)

// Overview is what a role says of itself: to the person who starts it at a terminal, and to
// one who opens its admin address in a browser.
type Overview struct {
	Role  string
	Facts []Fact
	Admin string // the URL of the admin address; empty: it has none
	Pages []Page // of the admin address, beside those of every role
}

// Fact is one thing to know: where it listens, whom it speaks to.
type Fact struct {
	Name    string
	Values  []string
	Servers bool // the values are addresses at which a server should answer

	Resolvers []string // that are asked for the names among these; nil: the machine's
}

// Page is a page of the admin address.
type Page struct{ Path, About string }

// Pages of every role.
var CommonPages = []Page{
	{"/metrics", "metrics for Prometheus"},
	{"/healthz", "whether the process is alive"},
	{"/readyz", "whether it is ready for work"},
}

// Pages of a master.
var MasterPages = []Page{
	{"/ui", "every server alive, what changed, and why a request went where it went"},
	{"/v1/status", "servers, edges, agents and masters (evenkeel status shows it as a table)"},
	{"/v1/pools", "pools"},
	{"/openapi.yaml", "the API"},
}

// Pages of the edge in run.
var InnerEdgePages = []Page{{"/edge/metrics", "metrics of the edge"}, {"/edge/readyz", "whether the edge is ready for work"}}

// ListenerURLs returns where clients reach an edge whose listeners got these addresses.
func ListenerURLs(listeners []routing.Listener, addresses string) (urls []string) {
	for i, at := range strings.Split(addresses, ",") {
		scheme := "http"
		switch l := listeners[min(i, len(listeners)-1)]; {
		case l.Mode == routing.ModeTCP:
			scheme = "tcp"
		case l.Certificate != nil:
			scheme = "https"
		}
		urls = append(urls, dialURL(scheme, at))
	}
	return urls
}

// dialURL makes an address that is listened on a URL that can be opened from this machine.
func dialURL(scheme, at string) string {
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return at // unix:/path
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// probeTimeout is how long a server may take to answer before the banner says that it does not.
const probeTimeout = 500 * time.Millisecond

// maxProbed is how many servers the banner asks.
const maxProbed = 32

// text returns the lines for a terminal.
func (w *Overview) text(ctx context.Context, paint terminal.Painter) string {
	var b strings.Builder
	b.WriteString("evenkeel " + w.Role + " " + version.String() + "\n")
	width := len("admin")
	for _, f := range w.Facts {
		width = max(width, len(f.Name))
	}
	line := func(name, value string) { fmt.Fprintf(&b, "  %-*s  %s\n", width, name, value) }
	for _, f := range w.Facts {
		values := slices.Clone(f.Values)
		if f.Servers {
			values = probeServers(ctx, values, f.Resolvers, paint)
		}
		for i, value := range values {
			name := f.Name
			if i > 0 {
				name = ""
			}
			line(name, value)
		}
	}
	if w.Admin != "" {
		line("admin", w.Admin+"  metrics, health")
	}
	return b.String()
}

// probeServers says behind each address whether a connection can be made to it.
func probeServers(ctx context.Context, addresses, resolvers []string, paint terminal.Painter) []string {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	said := make([]string, min(len(addresses), maxProbed))
	var asking sync.WaitGroup
	for i := range said {
		asking.Go(func() {
			where, note := lookUp(ctx, addresses[i], resolvers)
			conn, err := new(resolve.Dialer).DialContext(ctx, "", where)
			if err != nil {
				said[i] = addresses[i] + "  " + paint(terminal.Yellow, "does not answer now") + note
				return
			}
			_ = conn.Close() // nothing was said
			said[i] = addresses[i] + "  answers" + note
		})
	}
	asking.Wait()
	if rest := len(addresses) - len(said); rest > 0 {
		said = append(said, fmt.Sprintf("and %d more", rest))
	}
	return said
}

// lookUp returns where a server's address leads, and what is to be said of that.
func lookUp(ctx context.Context, address string, resolvers []string) (at, note string) {
	name, port, named := resolve.Host(address)
	if !named {
		_, at = balance.SplitAddress(address)
		return at, ""
	}
	var known resolve.Name
	a := resolve.Lookup(ctx, resolve.NewQuery(name, resolvers))
	known.Take(1, a)
	place, ok := known.One()
	if !ok {
		return balance.NowhereFor(a.Err.Error()), ", " + a.Err.Error()
	}
	if known.Several() {
		note = fmt.Sprintf(", %d addresses", len(known.Addresses()))
	}
	return place.At(port), note
}

// ServeHTTP shows the front page: HTML to browsers, text to others.
func (w *Overview) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	title := "evenkeel " + w.Role + " " + version.String()
	paths := append(slices.Clone(w.Pages), CommonPages...)
	out.Header().Set("Cache-Control", "no-store")
	var b strings.Builder
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		b.WriteString(title + "\n\n")
		for _, f := range w.Facts {
			fmt.Fprintf(&b, "%s: %s\n", f.Name, strings.Join(f.Values, ", "))
		}
		b.WriteString("\n")
		for _, p := range paths {
			fmt.Fprintf(&b, "%-16s %s\n", p.Path, p.About)
		}
		out.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(out, b.String()) // the client may be gone
		return
	}
	esc := html.EscapeString
	fmt.Fprintf(&b, "<!doctype html><meta charset=utf-8><title>%s</title><style>body{font:16px sans-serif;margin:2em;max-width:50em}td{padding:.2em 1em .2em 0;vertical-align:top}</style><h1>%[1]s</h1>\n<table>\n", esc(title))
	for _, f := range w.Facts {
		fmt.Fprintf(&b, "<tr><td>%s<td>%s\n", esc(f.Name), esc(strings.Join(f.Values, ", ")))
	}
	b.WriteString("</table>\n<table>\n")
	for _, p := range paths {
		fmt.Fprintf(&b, "<tr><td><a href=\"%s\">%[1]s</a><td>%s\n", esc(p.Path), esc(p.About))
	}
	b.WriteString("</table>\n")
	out.Header().Set("Content-Type", "text/html; charset=utf-8")
	out.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_, _ = io.WriteString(out, b.String()) // the client may be gone
}
