package admin

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// pki is an authority with certificates of some identities.
type pki struct {
	t         *testing.T
	dir       string
	authority *trust.Authority
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	p := &pki{t: t, dir: t.TempDir()}
	var err error
	if p.authority, err = trust.NewAuthority(p.dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pki) ca() string {
	ca, _ := trust.AuthorityFiles(p.dir)
	return ca
}

func (p *pki) issue(role trust.Role, name string, life time.Duration) (cert, key string) {
	p.t.Helper()
	cert, key = filepath.Join(p.dir, string(role)+"-"+name+".crt"), filepath.Join(p.dir, string(role)+"-"+name+".key")
	if err := p.authority.Issue(trust.Subject{Identity: trust.Identity{Role: role, Name: name}}, time.Now(), life, cert, key); err != nil {
		p.t.Fatal(err)
	}
	return cert, key
}

// serve serves a surface on a listener for the length of a test.
func serve(t *testing.T, s *Surface, l net.Listener) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestCertificatesSayWhoAsks(t *testing.T) {
	p, other := newPKI(t), newPKI(t)
	cert, key := p.issue(trust.Master, "m1", time.Hour)
	tokens := filepath.Join(p.dir, "tokens")
	secret, err := AddToken(tokens, "prometheus", "read")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := OpenKeys(Files{Cert: cert, Key: key, CA: p.ca(), Tokens: tokens}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, "tcp", "127.0.0.1:0")
	serve(t, New(Config{Keys: keys}, endpoints()), l)
	url := "https://" + l.Addr().String()
	client := func(certFile, keyFile string) *http.Client {
		c := &tls.Config{InsecureSkipVerify: true} // who serves is another test's subject
		if certFile != "" {
			pair, err := tls.LoadX509KeyPair(certFile, keyFile)
			if err != nil {
				t.Fatal(err)
			}
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		return &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}, Timeout: 2 * time.Minute}
	}
	call := func(c *http.Client, method, path, token string) int {
		r, err := http.NewRequest(method, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := c.Do(r)
		if err != nil {
			return 0
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	for _, who := range []struct {
		role                    trust.Role
		name                    string
		by                      *pki
		read, operate, pick, hz int
	}{
		{trust.Operator, "alice", p, 200, 200, 403, 200},
		{trust.Reader, "bob", p, 200, 403, 403, 200},
		{trust.Edge, "e1", p, 403, 403, 403, 200},
		{trust.Agent, "r1", p, 403, 403, 403, 200},
		{trust.Operator, "mallory", other, 0, 0, 0, 0}, // the handshake fails
	} {
		c := client(who.by.issue(who.role, who.name, time.Hour))
		for _, ask := range []struct {
			method, path string
			want         int
		}{{"GET", "/metrics", who.read}, {"POST", drainPath, who.operate}, {"POST", "/v1/pools/web/pick", who.pick}, {"GET", "/healthz", who.hz}} {
			if got := call(c, ask.method, ask.path, ""); got != ask.want {
				t.Errorf("%s %s asks %s %s: got %d, want %d", who.role, who.name, ask.method, ask.path, got, ask.want)
			}
		}
	}
	none := client("", "")
	if got := call(none, "GET", "/metrics", ""); got != 401 {
		t.Errorf("without a certificate: got %d, want 401", got)
	}
	if got := call(none, "GET", "/metrics", secret); got != 200 {
		t.Errorf("with a token: got %d, want 200", got)
	}
	if _, err := http.Get("http://" + l.Addr().String() + "/healthz"); err == nil {
		// Go's server answers 400 to plain HTTP.
		t.Log("plain HTTP is answered by the TLS library, not by the surface")
	}
	if _, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 was spoken")
	}
}

// A certificate that ends while its connection lives is good for nothing from then on.
func TestACertificateThatHasEndedIsNoProof(t *testing.T) {
	p := newPKI(t)
	certFile, keyFile := p.issue(trust.Operator, "alice", time.Hour)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	r := &http.Request{TLS: &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{pair.Leaf}}}, RemoteAddr: "192.0.2.1:1"}
	if who, problem := fromCertificate(r, nil); problem != "" || !who.Roles.Has(Operate) {
		t.Fatalf("a good one: got %+v %s", who, problem)
	}
	denied, err := trust.ReadDenylist([]byte("operator alice"))
	if err != nil {
		t.Fatal(err)
	}
	if who, problem := fromCertificate(r, denied); problem == "" || who.Roles.Has(Read) {
		t.Errorf("one that is denied: got %+v, want a problem", who)
	}
	pair.Leaf.NotAfter = time.Now().Add(-time.Second)
	if who, problem := fromCertificate(r, nil); problem == "" || who.Roles.Has(Read) {
		t.Errorf("one that has ended: got %+v, want a problem", who)
	}
}

func TestAUnixSocketIsItsOwnProof(t *testing.T) {
	lab := newLab(t)
	dir, err := os.MkdirTemp("", "admin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	serve(t, lab.Surface, listen(t, "unix", path))
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	res, err := c.Post("http://any.example"+drainPath, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if all := lab.entries(); res.StatusCode != 200 || len(all) != 1 || all[0].Proof != "socket" || all[0].Actor != "local user" {
		t.Errorf("got %d and entries %+v, want 200 and one, by the socket", res.StatusCode, all)
	}
}

func TestKeysThatDoNotGoTogether(t *testing.T) {
	p := newPKI(t)
	cert, key := p.issue(trust.Master, "m1", time.Hour)
	for want, files := range map[string]Files{
		"cert and key go together":     {Cert: cert},
		"client certificates need TLS": {CA: p.ca()},
		"which need ca":                {Cert: cert, Key: key, Denied: key},
		"no such file":                 {Tokens: filepath.Join(p.dir, "none")},
		"no certificate in it":         {Cert: cert, Key: key, CA: key},
		"certificate":                  {Cert: key, Key: cert},
	} {
		if _, err := OpenKeys(files, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", files, err, want)
		}
	}
	if k, err := OpenKeys(Files{}, nil); k != nil || err != nil {
		t.Errorf("no files: got %v %v, want nothing", k, err)
	}
	for secure, files := range map[bool]Files{true: {Cert: "c", Key: "k", Tokens: "t"}, false: {Cert: "c", Key: "k"}} {
		if files.Secure() != secure {
			t.Errorf("%+v: secure is %v", files, !secure)
		}
	}
}

// pipeListener hands out the ends of pipes, so that time is the bubble's.
type pipeListener struct {
	conns chan net.Conn
	over  chan struct{}
	close sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), over: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.close.Do(func() { close(l.over) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7480} }

// inBubble serves a surface inside a bubble and calls with a connection to it.
func inBubble(t *testing.T, s func() *Surface, call func(t *testing.T, c net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s().Serve(ctx, l) }()
		here, there := net.Pipe()
		l.conns <- there
		call(t, here)
		_ = here.Close()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// endsWithin waits until the other side closes, which must be within a time.
func endsWithin(t *testing.T, c net.Conn, most time.Duration) {
	t.Helper()
	began := time.Now()
	_, _ = io.Copy(io.Discard, c)
	if took := time.Since(began); took > most {
		t.Errorf("the connection ended after %v, want at most %v", took, most)
	}
}

func TestSlowCallersAreCutOff(t *testing.T) {
	surface := func() *Surface { return New(Config{}, endpoints()) }
	for name, sent := range map[string]string{
		"nothing":       "",
		"half a head":   "GET /healthz HTTP/1.1\r\nHo",
		"a body of GET": "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\nhalf",
		"half a body":   "POST " + drainPath + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf",
		"chunked, half": "POST " + drainPath + " HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, surface, func(t *testing.T, c net.Conn) {
				_, _ = io.WriteString(c, sent)
				endsWithin(t, c, requestTime+time.Second)
			})
		})
	}
	t.Run("idle after an answer", func(t *testing.T) {
		inBubble(t, surface, func(t *testing.T, c net.Conn) {
			_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
			in := bufio.NewReader(c)
			if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 200 {
				t.Fatalf("got %v %v", res, err)
			}
			began := time.Now()
			_, _ = io.Copy(io.Discard, in)
			if took := time.Since(began); took < idleTime/2 || took > idleTime+time.Second {
				t.Errorf("an idle connection ended after %v, want %v", took, idleTime)
			}
		})
	})
	t.Run("takes no answer", func(t *testing.T) {
		var written chan error // of the bubble
		large := Endpoint{"GET", "/large", Read, "", func(w http.ResponseWriter, _ *http.Request) {
			_, err := w.Write(make([]byte, 1<<20))
			written <- err
		}}
		inBubble(t, func() *Surface { return New(Config{}, []Endpoint{large}) }, func(t *testing.T, c net.Conn) {
			written = make(chan error, 1)
			began := time.Now()
			_, _ = io.WriteString(c, "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if err := <-written; err == nil || time.Since(began) > writeTime+time.Second {
				t.Errorf("the write ended after %v with %v, want an error after %v", time.Since(began), err, writeTime)
			}
		})
	})
}

// What a handler waits for may take longer than a request may take to come, and a client
// that leaves meanwhile is noticed.
func TestAHandlerMayThinkForLong(t *testing.T) {
	for name, leaves := range map[string]bool{"answered": false, "the client leaves": true} {
		t.Run(name, func(t *testing.T) {
			var ended chan error // of the bubble
			waits := Endpoint{"POST", "/wait", Pick, "", func(w http.ResponseWriter, r *http.Request) {
				text, _ := io.ReadAll(r.Body)
				select {
				case <-time.After(10 * requestTime):
				case <-r.Context().Done():
				}
				ended <- r.Context().Err()
				_, _ = w.Write(text)
			}}
			inBubble(t, func() *Surface { return New(Config{}, []Endpoint{waits}) }, func(t *testing.T, c net.Conn) {
				ended = make(chan error, 1)
				_, _ = io.WriteString(c, "POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nhey")
				if leaves {
					synctest.Wait()
					_ = c.Close()
					if err := <-ended; err == nil {
						t.Error("the handler did not notice that the client has left")
					}
					return
				}
				res, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(res.Body)
				if err := <-ended; err != nil || res.StatusCode != 200 || string(text) != "hey" {
					t.Errorf("got %d %q, and the handler was ended by %v", res.StatusCode, text, err)
				}
			})
		})
	}
}

// What callers send before anything is known of them takes little memory, and what all others send is bounded.
func TestBodiesAreBoundedTogether(t *testing.T) {
	inside, over := make(chan struct{}), make(chan struct{})
	waits := Endpoint{"POST", "/wait", Pick, "", func(_ http.ResponseWriter, r *http.Request) {
		if n, _ := io.Copy(io.Discard, r.Body); n > smallBody {
			inside <- struct{}{}
			<-over
		}
	}}
	s := New(Config{}, append(endpoints(), waits, Endpoint{"POST", "/login", Anyone, "", func(http.ResponseWriter, *http.Request) {}}))
	large := strings.Repeat("x", smallBody+1)
	for _, path := range []string{"/healthz", "/metrics"} {
		if w := ask(s, "GET", path, "x"); w.Code != 413 || reasonOf(w) != TooLarge || w.Header().Get("Connection") != "close" {
			t.Errorf("GET %s with a body: got %d %s", path, w.Code, w.Body)
		}
	}
	if w := ask(s, "POST", "/login", large); w.Code != 413 || reasonOf(w) != TooLarge {
		t.Errorf("a large body of anyone: got %d %s", w.Code, w.Body)
	}
	var done sync.WaitGroup
	for range mostBodies / maxGathered {
		done.Go(func() {
			if w := ask(s, "POST", "/wait", large); w.Code != 200 {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		})
		<-inside
	}
	if w := ask(s, "POST", "/wait", large); w.Code != 503 || reasonOf(w) != Busy || w.Header().Get("Retry-After") != "1" {
		t.Errorf("one body more: got %d %s", w.Code, w.Body)
	}
	if w := ask(s, "POST", "/wait", large[:smallBody]); w.Code != 200 {
		t.Errorf("a small body: got %d %s", w.Code, w.Body)
	}
	close(over)
	done.Wait()
	if n := s.bodies.held.Load(); n != 0 {
		t.Errorf("%d bytes are held when all has been answered", n)
	}
}

func TestLargeBodiesReachTheirHandler(t *testing.T) {
	for _, n := range []int{0, 1, maxGathered, maxGathered + 1, 3 * maxGathered} {
		got := -1
		counts := Endpoint{"POST", "/count", Pick, "", func(_ http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				t.Error(err)
			}
			got = int(n)
		}}
		if w := ask(New(Config{}, []Endpoint{counts}), "POST", "/count", strings.Repeat("x", n)); got != n || w.Code != 200 {
			t.Errorf("got %d bytes and %s, want %d", got, fmt.Sprint(w.Code), n)
		}
	}
}

// A connection that was accepted before the end gets its answer, though its request comes only then.
func TestWhatWasAcceptedBeforeTheEndIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })
		go func() { ended <- ServeUntil(ctx, &http.Server{Handler: handler}, l) }()
		here, there := net.Pipe()
		l.conns <- there
		synctest.Wait()
		stop()
		synctest.Wait()
		go func() { _, _ = io.WriteString(here, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") }()
		if got, err := io.ReadAll(here); err != nil || !strings.HasSuffix(string(got), "here") {
			t.Errorf("got %q, %v", got, err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
