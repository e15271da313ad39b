package edge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

// dropping takes a request, reads it, and closes the connection without an answer.
func dropping(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

func TestRetry(t *testing.T) { eachServer(t, testRetry) }

func testRetry(t *testing.T) {
	alive, drops := server(t, echo), server(t, dropping)
	large := strings.Repeat("x", 4*exchange.MaxReplay) // more than is kept in any case
	for _, c := range []struct {
		name   string
		first  balance.Grant
		method string
		body   string
		status int
		reason string
		want   []balance.Result
	}{
		{"dead, GET", dead(t, "s0"), "GET", "", 200, "", []balance.Result{balance.Unreachable, balance.OK}},
		{"dead, POST", dead(t, "s0"), "POST", "body", 200, "", []balance.Result{balance.Unreachable, balance.OK}},
		{"dead, large POST", dead(t, "s0"), "POST", large, 200, "", []balance.Result{balance.Unreachable, balance.OK}},
		{"drops, GET", granted("s0", drops), "GET", "", 200, "", []balance.Result{balance.Broken, balance.OK}},
		{"drops, PUT", granted("s0", drops), "PUT", "body", 200, "", []balance.Result{balance.Broken, balance.OK}},
		{"drops, large PUT", granted("s0", drops), "PUT", large, 502, "broken", []balance.Result{balance.Broken}},
		{"drops, POST", granted("s0", drops), "POST", "body", 502, "broken", []balance.Result{balance.Broken}},
		{"drops, POST without body", granted("s0", drops), "POST", "", 502, "broken", []balance.Result{balance.Broken}},
	} {
		p := newFakePicker()
		p.pick = among(c.first, granted("s1", alive))
		r := run(t, p, streamed)
		res, body := r.do(r.request(c.method, "/p", c.body))
		if c.status == 200 {
			if want := c.method + " /p " + c.body; res.StatusCode != 200 || body != want {
				t.Errorf("%s: got %d %.60q, want 200 %.60q", c.name, res.StatusCode, body, want)
			}
		} else {
			wantStatus(t, res, body, c.status, c.reason)
			if !strings.Contains(body, `"server":"s0"`) || strings.Contains(body, "127.0.0.1") {
				t.Errorf("%s: %s, want the server's id and no address", c.name, body)
			}
		}
		p.wantResults(t, c.want...)
	}
}

func TestAllServersDead(t *testing.T) { eachServer(t, testAllServersDead) }

func testAllServersDead(t *testing.T) {
	p := newFakePicker()
	p.pick = among(dead(t, "a"), dead(t, "b"), dead(t, "c"), dead(t, "d"))
	r := run(t, p, nil)
	res, body := r.do(r.request("GET", "/", ""))
	wantStatus(t, res, body, 502, "unreachable")
	p.wantResults(t, balance.Unreachable, balance.Unreachable, balance.Unreachable)
	p = newFakePicker()
	p.pick = among(dead(t, "a"))
	r = run(t, p, nil)
	res, body = r.do(r.request("GET", "/", ""))
	wantStatus(t, res, body, 502, "unreachable")
}

func TestResponseBrokenOff(t *testing.T) { eachServer(t, testResponseBrokenOff) }

func testResponseBrokenOff(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "a part")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})))
	r := run(t, p, nil)
	res, err := r.client.Do(r.request("GET", "/", ""))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err == nil || string(body) != "a part" {
		t.Errorf("got %q, %v; want the part and an error", body, err)
	}
	p.wantResults(t, balance.Broken)
}

func TestClientLeaves(t *testing.T) { eachServer(t, testClientLeaves) }

func testClientLeaves(t *testing.T) {
	arrived := make(chan struct{})
	waits := server(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	streams := server(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, "more")
			w.(http.Flusher).Flush()
		}
	})
	t.Run("before the answer", func(t *testing.T) {
		p := newFakePicker()
		p.pick = among(granted("s1", waits))
		r := run(t, p, nil)
		ctx, leave := context.WithCancel(context.Background())
		go func() { <-arrived; leave() }()
		if _, err := r.client.Do(r.request("GET", "/", "").WithContext(ctx)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		p.wantResults(t, balance.Canceled)
	})
	t.Run("within the answer", func(t *testing.T) {
		p := newFakePicker()
		p.pick = among(granted("s1", streams))
		r := run(t, p, nil)
		res, err := r.client.Do(r.request("GET", "/", ""))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = res.Body.Read(make([]byte, 4))
		_ = res.Body.Close()
		p.wantResults(t, balance.Canceled)
	})
	t.Run("within its own body", func(t *testing.T) {
		p := newFakePicker()
		reading := make(chan struct{})
		p.pick = among(granted("s1", server(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = r.Body.Read(make([]byte, 1))
			close(reading)
			_, _ = io.Copy(io.Discard, r.Body)
		})))
		r := run(t, p, streamed)
		conn, err := net.Dial("tcp", r.address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\na part")
		<-reading
		_ = conn.Close()
		p.wantResults(t, balance.Canceled)
	})
	t.Run("during the pick", func(t *testing.T) {
		p := newFakePicker()
		asked := make(chan struct{})
		p.pick = func(ctx context.Context, _ *balance.Request) (balance.Grant, error) {
			close(asked)
			<-ctx.Done()
			return granted("s1", waits), nil // the grant and the leaving cross
		}
		r := run(t, p, nil)
		ctx, leave := context.WithCancel(context.Background())
		go func() { <-asked; leave() }()
		_, _ = r.client.Do(r.request("GET", "/", "").WithContext(ctx))
		r.stop()
		<-r.stopped
		p.wantResults(t, balance.Canceled)
	})
}

// tunnelling upgrades and then echoes lines in capitals.
func tunnelling(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "tcp" {
		http.Error(w, "want an upgrade", 400)
		return
	}
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	for {
		line, err := rw.ReadString('\n')
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, strings.ToUpper(line))
	}
}

func openTunnel(t *testing.T, r *running) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	reader := bufio.NewReader(conn)
	res, err := http.ReadResponse(reader, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("got %+v, %v", res, err)
	}
	return conn, reader
}

func TestTunnel(t *testing.T) { eachServer(t, testTunnel) }

func testTunnel(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, tunnelling)))
	r := run(t, p, func(c *Config) { c.Listeners[0].Routes[0].Link = balance.LinkRedirect })
	conn, reader := openTunnel(t, r)
	for _, line := range []string{"hello\n", "there\n"} {
		_, _ = io.WriteString(conn, line)
		if got, err := reader.ReadString('\n'); err != nil || got != strings.ToUpper(line) {
			t.Errorf("got %q, %v", got, err)
		}
	}
	p.mu.Lock()
	if len(p.done) != 0 || p.asks[0].Link != balance.LinkRoute {
		t.Errorf("done %v, asked %+v; want a routed lease for as long as the tunnel", p.done, p.asks[0])
	}
	p.mu.Unlock()
	_ = conn.Close()
	p.wantResults(t, balance.OK)
}

func TestUnwantedTunnel(t *testing.T) { eachServer(t, testUnwantedTunnel) }

func testUnwantedTunnel(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: whisper\r\n\r\n")
	})
	for name, headers := range map[string]string{"none asked for": "", "another asked for": "Upgrade: tcp\r\n", "another HTTP": "Upgrade: h2c\r\n"} {
		p := newFakePicker()
		p.pick = among(granted("s1", s))
		r := run(t, p, nil)
		if answer := r.raw("POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\n" + headers + "\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 502 ") {
			t.Errorf("%s: got %q, want 502", name, answer)
		}
		p.wantResults(t, balance.Broken)
	}
}

func TestDrain(t *testing.T) { eachServer(t, testDrain) }

func testDrain(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "slow but whole")
	})))
	r := run(t, p, nil)
	type answer struct {
		res  *http.Response
		body string
	}
	answered := make(chan answer, 1)
	go func() {
		res, body := r.do(r.request("GET", "/", ""))
		answered <- answer{res, body}
	}()
	<-arrived
	r.stop()
	for { // until the socket is closed
		conn, err := net.Dial("tcp", r.address)
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	select {
	case <-r.stopped:
		t.Fatal("Run returned before its request was over")
	default:
	}
	close(release)
	if a := <-answered; a.body != "slow but whole" || !a.res.Close {
		t.Errorf("got %q, close %v", a.body, a.res.Close)
	}
	if err := <-r.stopped; err != nil {
		t.Errorf("run: %v", err)
	}
	p.wantResults(t, balance.OK)
}

func TestDrainEnds(t *testing.T) { eachServer(t, testDrainEnds) }

func testDrainEnds(t *testing.T) {
	arrived := make(chan struct{}, 1)
	waits := server(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	shouts := server(t, tunnelling)
	p := newFakePicker()
	p.pick = func(_ context.Context, req *balance.Request) (balance.Grant, error) {
		if req.Path == "/" {
			return granted("shouts", shouts), nil
		}
		return granted("waits", waits), nil
	}
	r := run(t, p, func(c *Config) { c.DrainTime = 20 * time.Millisecond })
	conn, reader := openTunnel(t, r)
	defer func() { _ = conn.Close() }()
	failed := make(chan error, 1)
	go func() {
		res, err := r.client.Do(r.request("GET", "/waits", ""))
		if err == nil {
			_ = res.Body.Close()
		}
		failed <- err
	}()
	<-arrived
	r.stop()
	if err := <-r.stopped; err != nil {
		t.Errorf("run: %v", err)
	}
	if err := <-failed; err == nil {
		t.Errorf("the request got an answer, want it cut")
	}
	if _, err := reader.ReadByte(); err == nil {
		t.Errorf("the tunnel lives on")
	}
	if got := p.results(t); len(got) != 2 || got[1] != balance.Canceled {
		t.Errorf("leases ended as %v", got)
	}
}

func TestListenFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	e, err := New(Config{ID: "e1", Listeners: []routing.Listener{
		{Listen: "127.0.0.1:0", Routes: []routing.Route{{Pool: "web"}}}, {Listen: taken.Addr().String(), Routes: []routing.Route{{Pool: "web"}}}}}, newFakePicker())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(context.Background()); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("got %v, want an error that names the address", err)
	}
	if err := e.Run(context.Background(), taken); err == nil {
		t.Errorf("one network listener for two configured ones is no error")
	}
}

func TestEveryLeaseOnceUnderLoad(t *testing.T) { eachServer(t, testEveryLeaseOnceUnderLoad) }

func testEveryLeaseOnceUnderLoad(t *testing.T) {
	var served atomic.Int64
	alive := server(t, func(w http.ResponseWriter, r *http.Request) { served.Add(1); echo(w, r) })
	drops := server(t, dropping)
	cuts := server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write(make([]byte, 500))
		panic(http.ErrAbortHandler)
	})
	grants := []balance.Grant{granted("alive", alive), granted("drops", drops), granted("cuts", cuts), dead(t, "dead")}
	p := newFakePicker()
	p.pick = func(_ context.Context, req *balance.Request) (balance.Grant, error) {
		switch n := rand.IntN(20); {
		case n == 0:
			return balance.Grant{}, &balance.Refusal{Reason: balance.Saturated}
		case n == 1:
			return balance.Grant{}, errors.New("no master")
		default:
			return grants[n%len(grants)], nil
		}
	}
	p.snap = &balance.Snapshot{Servers: []balance.SnapshotServer{{ID: "alive", Address: alive.Listener.Addr().String()}}}
	r := run(t, p, nil)
	var clients sync.WaitGroup
	for i := range 16 {
		clients.Go(func() {
			for j := range 30 {
				ctx, leave := context.WithCancel(context.Background())
				if j%5 == 4 {
					time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, leave)
				}
				method := []string{"GET", "POST", "PUT"}[(i+j)%3]
				body := ""
				if method != "GET" {
					body = fmt.Sprint("body ", i, j)
				}
				if res, err := r.client.Do(r.request(method, "/", body).WithContext(ctx)); err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
				leave()
			}
		})
	}
	clients.Wait()
	r.stop()
	if err := <-r.stopped; err != nil {
		t.Errorf("run: %v", err)
	}
	results := p.results(t)
	if len(results) < 400 || served.Load() == 0 {
		t.Errorf("%d leases, %d served: too few to mean anything", len(results), served.Load())
	}
	if n := r.deps.Pools[0].OpenLinks(); n != 0 {
		t.Errorf("%d links still count as under way", n)
	}
}
