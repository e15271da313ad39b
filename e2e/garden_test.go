package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
)

// reading is a request as an origin read it.
type reading struct {
	Method string `json:"method"`
	Target string `json:"target"`
	Body   int    `json:"body"` // bytes, without any framing
}

// book is where an origin's readings are written down.
type book struct {
	mu   sync.Mutex
	list []reading
}

func (b *book) add(r reading) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, r)
}

// take returns what was added since it was called last, once there are n at least.
func (b *book) take(n int) []reading {
	limit := time.Now().Add(2 * time.Minute)
	for {
		b.mu.Lock()
		if len(b.list) >= n || time.Now().After(limit) {
			list := b.list
			b.list = nil
			b.mu.Unlock()
			return list
		}
		b.mu.Unlock()
		<-time.After(time.Millisecond) // between two looks at what another process says
	}
}

// origin is a server whose HTTP/1 parser is another project's.
type origin struct {
	name    string
	address string
	book    *book
	edge    string // the address of the edge that sends everything there
	refuses int    // requests that it took for malformed, so that it read nothing else into them
}

// keeper is Go's HTTP server, which writes down what it reads. Alone it is an origin;
// behind another, which passes on what it has read, it keeps that one's book.
func keeper(t *testing.T) (address string, b *book) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b = &book{}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		read := reading{r.Method, r.RequestURI, int(n)}
		if line := r.Header.Get("X-Read"); line != "" { // of one who rewrites paths
			read.Method, line, _ = strings.Cut(line, " ")
			read.Target, _, _ = strings.Cut(line, " ")
		}
		if err == nil {
			b.add(read)
		}
		w.WriteHeader(http.StatusOK)
	}), ErrorLog: nil}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String(), b
}

// garden starts all origins.
func garden(t *testing.T) []*origin {
	programs := make(map[string]string)
	for _, name := range []string{"nginx", "node", "lighttpd", "apache2"} {
		programs[name] = peer(t, name)
	}
	address, b := keeper(t)
	origins := []*origin{{name: "go", address: address, book: b}, nodeOrigin(t, programs["node"])}
	dir := t.TempDir()
	for name, conf := range map[string]string{
		"nginx": `daemon off; master_process off; pid %[1]s/nginx.pid; error_log stderr crit;
events {}
http {
  access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  upstream keeper { server %[3]s; keepalive 4; }
  server { listen %[2]s; large_client_header_buffers 8 64k; merge_slashes off;
    location / { proxy_pass http://keeper; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Upgrade ""; } }
}`,
		"apache2": `ServerRoot %[1]s
ServerName garden
PidFile %[1]s/apache.pid
DefaultRuntimeDir %[1]s
Listen %[2]s
ErrorLog /dev/stderr
LogLevel crit
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
MaxKeepAliveRequests 0
AllowEncodedSlashes NoDecode
RequestHeader set X-Read "expr=%%{THE_REQUEST}"
ProxyPass / http://%[3]s/ nocanon
TraceEnable extended
`,
		"lighttpd": `server.document-root = "%[1]s"
server.bind = "%[4]s"
server.port = %[5]s
server.errorlog = "%[1]s/lighttpd.log"
server.modules = ( "mod_proxy" )
server.max-keep-alive-requests = 100000
server.http-parseopts = ( "url-normalize" => "disable", "method-get-body" => "enable" )
proxy.server = ( "" => ( ( "host" => "%[6]s", "port" => "%[7]s" ) ) )
`,
	} {
		behind, b := keeper(t)
		address := freeport.Address(t)
		host, port, _ := net.SplitHostPort(address)
		behindHost, behindPort, _ := net.SplitHostPort(behind)
		file := filepath.Join(dir, name+".conf")
		if err := os.WriteFile(file, fmt.Appendf(nil, conf+"%.0[7]s", dir, address, behind, host, port, behindHost, behindPort), 0o600); err != nil {
			t.Fatal(err)
		}
		args := map[string][]string{"nginx": {"-c", file, "-p", dir}, "apache2": {"-X", "-f", file}, "lighttpd": {"-D", "-f", file}}[name]
		background(t, address, programs[name], args...)
		origins = append(origins, &origin{name: name, address: address, book: b})
	}
	return origins
}

const nodeKeeper = `require('http').createServer((q, s) => {
  let n = 0;
  q.on('data', d => n += d.length);
  q.on('end', () => { console.log(JSON.stringify({method: q.method, target: q.url, body: n})); s.end(); });
}).listen(+process.argv[2], '127.0.0.1')`

// nodeOrigin is Node's HTTP server, which says on its output what it reads.
func nodeOrigin(t *testing.T, node string) *origin {
	t.Helper()
	script := filepath.Join(t.TempDir(), "keeper.js")
	if err := os.WriteFile(script, []byte(nodeKeeper), 0o600); err != nil {
		t.Fatal(err)
	}
	o := &origin{name: "node", address: freeport.Address(t), book: &book{}}
	_, port, _ := net.SplitHostPort(o.address)
	said, say, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer said.Close()
		for lines := json.NewDecoder(said); ; {
			var r reading
			if lines.Decode(&r) != nil {
				return
			}
			o.book.add(r)
		}
	}()
	backgroundTo(t, say, o.address, node, script, port)
	return o
}

// seed is one line of the parser's table of mutations: bytes, and what becomes of them.
type seed struct {
	name, in string
	refused  string   // the status that the edge answers by itself; empty: it is forwarded
	consumed int      // bytes of in that are the request
	want     *reading // as the edge forwards it
}

// seeds reads the table that the parser is held to.
func seeds(t *testing.T) (list []seed) {
	t.Helper()
	text, err := os.ReadFile("../http1/testdata/smuggling.golden")
	if err != nil {
		t.Fatal(err)
	}
	for entry := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		lines := strings.Split(entry, "\n")
		plain := func(quoted string) string {
			s, err := strconv.Unquote(quoted)
			if err != nil {
				t.Fatalf("%s: %v", lines[0], err)
			}
			return s
		}
		s := seed{name: lines[0], in: plain(lines[1])}
		verdict, rest, _ := strings.Cut(lines[2], " ")
		switch verdict {
		case "refuse":
			s.refused = rest[:3]
		case "forward":
			s.consumed = len(s.in) - len(plain(strings.TrimPrefix(lines[3], "leave ")))
			s.read(t, plain(rest))
		default:
			continue // half a request, which asks for nothing yet
		}
		list = append(list, s)
	}
	return list
}

// read makes of the canonical form what every parser should read.
func (s *seed) read(t *testing.T, canonical string) {
	method, rest, _ := strings.Cut(canonical, " ")
	target, _, _ := strings.Cut(rest, " ")
	switch {
	case method == "CONNECT":
		s.refused = "501"
		return
	case method == "OPTIONS" && target == "*":
		s.refused = "204" // the edge itself is meant
		return
	case !strings.HasPrefix(target, "/"):
		s.refused = "400"
		return
	}
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(canonical)))
	if err != nil { // Go is stricter about methods and targets than about bodies
		plain := "POST / " + strings.SplitN(canonical, " ", 3)[2]
		if req, err = http.ReadRequest(bufio.NewReader(strings.NewReader(plain))); err != nil {
			t.Fatalf("%s: %q: %v", s.name, canonical, err)
		}
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatalf("%s: %q: %v", s.name, canonical, err)
	}
	s.want = &reading{method, target, len(body)}
}

// sow sends a seed, and behind it another request unless the seed is to be refused, and
// returns the statuses of the answers, at least one.
func (o *origin) sow(s seed) (statuses []string, err error) {
	conn, err := net.Dial("tcp", o.edge)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	out := s.in
	if s.refused == "" {
		out = s.in[:s.consumed] + behind
	}
	if _, err := io.WriteString(conn, out); err != nil {
		return nil, err
	}
	in, err := io.ReadAll(conn)
	if err != nil && s.refused == "" {
		return nil, err
	}
	for line := range bytes.Lines(in) {
		if code, ok := bytes.CutPrefix(line, []byte("HTTP/1.1 ")); ok && len(code) > 3 && code[0] != '1' {
			statuses = append(statuses, string(code[:3]))
		}
	}
	if len(statuses) == 0 {
		return nil, fmt.Errorf("got %q, want an answer", in)
	}
	return statuses, nil
}

// behind is sent behind every seed that is forwarded: a parser that reads the seed's end elsewhere reads
// something else than this.
const behind = "GET /behind HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

// judge sows a seed and tells what is wrong with how it was read.
func (o *origin) judge(s seed) string {
	statuses, err := o.sow(s)
	if err != nil {
		return err.Error()
	}
	var want []reading
	switch first := statuses[0]; {
	case s.refused != "":
		if first != s.refused || len(statuses) > 1 {
			return fmt.Sprintf("the edge answered %v, want %s alone", statuses, s.refused)
		}
	case first == "200":
		want = append(want, *s.want)
	case first[0] == '4' || first == "501" || first == "505":
		o.refuses++
	default:
		return fmt.Sprintf("answered %v", statuses)
	}
	if len(statuses) > 1 && statuses[1] == "200" {
		want = append(want, reading{"GET", "/behind", 0})
	}
	got := o.book.take(len(want))
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Sprintf("read as %v, the edge meant %v (answered %v)", got, want, statuses)
	}
	return ""
}

// TestGarden sends every mutation of the smuggling table through one edge to servers
// of five makes. What the edge refuses reaches none; what it forwards each reads as
// the edge meant it: as many requests, of that method and target and so long a body.
func TestGarden(t *testing.T) {
	origins := garden(t)
	list := seeds(t)
	var yaml strings.Builder
	fmt.Fprintf(&yaml, "pools:\n")
	for _, o := range origins {
		fmt.Fprintf(&yaml, "  %s: { servers: [{ address: \"%s\", slots: 100 }] }\n", o.name, o.address)
	}
	fmt.Fprintf(&yaml, "edge:\n  listeners:\n")
	for _, o := range origins {
		o.edge = freeport.Address(t)
		fmt.Fprintf(&yaml, "    - { listen: \"%s\", routes: [{ pool: %s }] }\n", o.edge, o.name)
	}
	start(t, "run", "--config", file(t, yaml.String()), "--admin", "off")
	var growing sync.WaitGroup
	sown := make([]int, len(origins))
	for i, o := range origins {
		growing.Go(func() {
			for j, s := range list {
				if s.refused != "" && j%len(origins) != i {
					continue // one edge refuses for all
				}
				sown[i]++
				if problem := o.judge(s); problem != "" {
					t.Errorf("%s: %s: %q: %s", o.name, s.name, s.in, problem)
				}
			}
			if late := o.book.take(0); len(late) != 0 {
				t.Errorf("%s: read %v as well", o.name, late)
			}
		})
	}
	growing.Wait()
	if len(list) < 800 {
		t.Errorf("%d mutations, want 800 at least", len(list))
	}
	for i, o := range origins {
		t.Logf("%s: %d of %d sown, %d refused by itself", o.name, sown[i], len(list), o.refuses)
		if o.refuses > sown[i]/8 {
			t.Errorf("%s refused %d of %d itself: too many to mean anything", o.name, o.refuses, sown[i])
		}
	}
}
