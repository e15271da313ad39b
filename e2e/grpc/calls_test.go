package grpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
	"github.com/evenkeel-lb/evenkeel/internal/selfsigned"
)

// fleet is a master and an edge, processes of their own that know each other by certificates.
type fleet struct {
	master, edge *proc.Process
	records      *records // of the edge's access log
}

// records keeps the records of requests in a log that is written to it, line by line.
type records struct {
	mu    sync.Mutex
	lines []map[string]any
}

func (r *records) Write(line []byte) (int, error) {
	var record map[string]any
	if json.Unmarshal(line, &record) == nil && record["msg"] == "request" {
		r.mu.Lock()
		r.lines = append(r.lines, record)
		r.mu.Unlock()
	}
	return len(line), nil
}

// count returns how many requests suit.
func (r *records) count(suits func(record map[string]any) bool) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range r.lines {
		if suits(record) {
			n++
		}
	}
	return n
}

// startFleet takes what stands under pools, and in the edge's only listener beside its address.
func startFleet(t *testing.T, pools, listener string) *fleet {
	t.Helper()
	dir := t.TempDir()
	f := &fleet{records: new(records)}
	certs := func(args ...string) {
		if out, err := exec.Command(programs.evenkeel, append(append([]string{"certs"}, args...), "--dir", dir)...).CombinedOutput(); err != nil {
			t.Fatalf("certs %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	certs("init")
	role := func(to io.Writer, role, id, text string, args ...string) *proc.Process {
		certs("issue", role, id)
		own := filepath.Join(dir, role+"-"+id)
		file := filepath.Join(dir, role+".yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := proc.Start(to, programs.evenkeel, append(args, "--config", file, "--log-format", "json", "--admin", "127.0.0.1:0",
			"--tls-ca", filepath.Join(dir, "ca.crt"), "--tls-cert", own+".crt", "--tls-key", own+".key")...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			p.Kill()
			if t.Failed() {
				t.Logf("log of the %s:\n%s", role, p.Log())
			}
		})
		return p
	}
	f.master = role(nil, "master", "m1", "master: { id: m1 }\npools:\n"+pools, "master", "--listen", "127.0.0.1:0")
	f.edge = role(f.records, "edge", "e1", "edge:\n  id: e1\n  listeners:\n    - { listen: 127.0.0.1:0, h2c: true, "+listener+" }\n",
		"edge", "--master", f.master.Addr("listen"))
	return f
}

// client makes a gRPC client of the edge.
func (f *fleet) client(t *testing.T) grpc_testing.TestServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+f.edge.Addr("listen"), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return grpc_testing.NewTestServiceClient(conn)
}

// page returns what an admin address has at a path.
func page(t *testing.T, p *proc.Process, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + p.Addr("admin") + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(90 * time.Second); !holds(); {
		if time.Now().After(limit) {
			t.Fatalf("still not so after 90 s: %s", what)
		}
		<-time.After(10 * time.Millisecond) // between two looks at another process
	}
}

// tester is grpc-go's server, with a service that does as a test wants.
type tester struct {
	grpc_testing.UnimplementedTestServiceServer
	calls atomic.Int64
	do    func(ctx context.Context) error // nil: nothing
}

func (s *tester) EmptyCall(ctx context.Context, _ *grpc_testing.Empty) (*grpc_testing.Empty, error) {
	s.calls.Add(1)
	if s.do != nil {
		if err := s.do(ctx); err != nil {
			return nil, err
		}
	}
	return &grpc_testing.Empty{}, nil
}

func serve(t *testing.T, s *tester, h *health.Server, options ...grpc.ServerOption) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(options...)
	grpc_testing.RegisterTestServiceServer(g, s)
	if h != nil {
		grpc_health_v1.RegisterHealthServer(g, h)
	}
	go func() { _ = g.Serve(l) }() // until it is stopped
	t.Cleanup(g.Stop)
	return l.Addr().String()
}

// nginx passes gRPC on to a server, and ends each connection to it after so many requests.
func nginx(t *testing.T, server string, requests int) (address string) {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/nginx")
	}
	if err != nil {
		if os.Getenv("EVENKEEL_PEERS") == "required" {
			t.Fatal("nginx is not installed; run: make peers")
		}
		t.Skip("SKIPPED: nginx is not installed. To run this test too: make peers")
	}
	address = freeport.Address(t) // nginx has no way to tell which port it was given
	dir := t.TempDir()
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, `daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  client_max_body_size 0; keepalive_requests %[4]d;
  upstream server { server %[3]s; keepalive 200; }
  server { listen %[2]s http2; location / { grpc_pass grpc://server; } }
}`, dir, address, server, requests), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(program, "-c", file, "-p", dir)
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("nginx: %s", said.String())
		}
	})
	eventually(t, "nginx listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return address
}

// Unary calls by way of a real nginx that takes only 50 on a connection: none fails, and each answer is
// its own call's.
func TestCallsNotTaken(t *testing.T) {
	const clients, calls = 50, 60
	for n := 1; n <= 2; n++ {
		t.Run(fmt.Sprintf("%d servers", n), func(t *testing.T) {
			var servers []string
			for i := range n {
				servers = append(servers, fmt.Sprintf("{ id: s%d, address: %q, slots: 1000 }", i, nginx(t, server(t), 50)))
			}
			f := startFleet(t, fmt.Sprintf("  calls: { servers: [%s] }", strings.Join(servers, ", ")), "routes: [{ pool: calls, server_protocol: h2 }]")
			client := f.client(t)
			var calling sync.WaitGroup
			for i := range clients {
				calling.Go(func() {
					for k := range calls {
						id := fmt.Sprintf("call %d of client %d", k, i)
						ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "x-grpc-test-echo-initial", id), time.Minute)
						size := 1 + (k*clients+i)%2000
						var head metadata.MD
						got, err := client.UnaryCall(ctx, &grpc_testing.SimpleRequest{ResponseSize: int32(size), Payload: &grpc_testing.Payload{Body: make([]byte, k*1000)}}, grpc.Header(&head))
						cancel()
						if err != nil {
							t.Errorf("%s: %v", id, err)
							return
						}
						if echoed := head.Get("x-grpc-test-echo-initial"); len(echoed) != 1 || echoed[0] != id || len(got.GetPayload().GetBody()) != size {
							t.Errorf("%s got the answer of %q with %d bytes, want %d", id, echoed, len(got.GetPayload().GetBody()), size)
							return
						}
					}
				})
			}
			calling.Wait()
			metrics := page(t, f.edge, "/metrics")
			if want := fmt.Sprintf(`evenkeel_edge_grpc_requests_total{grpc_status="0",pool="calls"} %d`, clients*calls); !strings.Contains(metrics, want) {
				t.Errorf("want %s in the metrics:\n%s", want, metrics)
			}
			if strings.Contains(metrics, `evenkeel_edge_resends_total{pool="calls"} 0`) {
				t.Error("no call was sent again, so this test shows nothing")
			}
			for i := range n {
				if want := fmt.Sprintf(`evenkeel_server_success_ratio{pool="calls",server="s%d"} 1`, i); !strings.Contains(page(t, f.master, "/metrics"), want+"\n") {
					t.Errorf("want %s: the server is not at fault", want)
				}
			}
		})
	}
}

// What the edge itself has to say comes to grpc-go as a status, and not as a broken call.
func TestAnswersAreGRPC(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	busy := &tester{do: func(ctx context.Context) error {
		held <- struct{}{}
		select {
		case <-hold:
		case <-ctx.Done():
		}
		return nil
	}}
	pools := fmt.Sprintf(`
  full: { queue: { wait: 20ms }, servers: [{ id: busy, address: %q, slots: 1 }] }
  gone: { servers: [{ id: "50%%", address: %q }] }
  none: {}`, serve(t, busy, nil), freeport.Address(t))
	host := func(name string) string {
		return fmt.Sprintf("{ host: %s, pool: %s, server_protocol: h2, timeout: 5s }", name, name)
	}
	f := startFleet(t, pools, fmt.Sprintf("routes: [%s, %s, %s]", host("full"), host("gone"), host("none")))
	call := func(authority string, trailer *metadata.MD) error {
		conn, err := grpc.NewClient("passthrough:///"+f.edge.Addr("listen"), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(authority), grpc.WithDisableRetry())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err = grpc_testing.NewTestServiceClient(conn).EmptyCall(ctx, &grpc_testing.Empty{}, grpc.Trailer(trailer))
		return err
	}
	var holding sync.WaitGroup
	holding.Go(func() {
		var trailer metadata.MD
		if err := call("full", &trailer); err != nil {
			t.Errorf("the call that fills the server: %v", err)
		}
	})
	<-held
	for _, c := range []struct {
		authority string
		code      codes.Code
		message   string
		pushback  bool
	}{
		{"nowhere", codes.Unimplemented, "no route matches the request's host and path (no-route)", false},
		{"gone", codes.Unavailable, "the server could not be reached (unreachable, server 50%)", false},
		{"none", codes.Unavailable, "no server is ready for the request (no-server)", true},
		{"full", codes.ResourceExhausted, "no server became free while the request could wait (shed)", true},
	} {
		var trailer metadata.MD
		got := status.Convert(call(c.authority, &trailer))
		if got.Code() != c.code || got.Message() != c.message {
			t.Errorf("%s: got %v %q, want %v %q", c.authority, got.Code(), got.Message(), c.code, c.message)
		}
		if told := trailer.Get("grpc-retry-pushback-ms"); (len(told) == 1) != c.pushback {
			t.Errorf("%s: got pushback %q, want one: %t", c.authority, told, c.pushback)
		}
	}
	close(hold)
	holding.Wait()
}

// A server that fails calls at once looks idle. It is known by its status, and draws no more than its
// share.
func TestFailingServerDrawsNoCalls(t *testing.T) {
	slow := func(context.Context) error {
		<-time.After(20 * time.Millisecond) // the server's work
		return nil
	}
	testers := []*tester{{do: slow}, {do: slow}, {do: func(context.Context) error { return status.Error(codes.Unavailable, "out of order") }}}
	var servers []string
	for i, s := range testers {
		servers = append(servers, fmt.Sprintf("{ id: s%d, address: %q }", i, serve(t, s, nil)))
	}
	f := startFleet(t, fmt.Sprintf("  calls: { servers: [%s] }", strings.Join(servers, ", ")), "routes: [{ pool: calls, server_protocol: h2 }]")
	client := f.client(t)
	const all = 120
	failed := 0
	for range all {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if _, err := client.EmptyCall(ctx, &grpc_testing.Empty{}); status.Code(err) == codes.Unavailable {
			failed++
		} else if err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	t.Logf("%d of %d calls failed", failed, all)
	if n := testers[2].calls.Load(); n == 0 || n > all/3 || int64(failed) != n {
		t.Errorf("the server that fails got %d of %d calls, of which clients saw %d fail; want at most a third, and all of those", n, all, failed)
	}
	eventually(t, "all calls are in the access log, and those that failed as a fault with their status", func() bool {
		faults := f.records.count(func(r map[string]any) bool {
			return r["server"] == "s2" && r["grpc_status"] == 14. && r["result"] == "fault"
		})
		good := f.records.count(func(r map[string]any) bool {
			return r["server"] != "s2" && r["grpc_status"] == 0. && r["result"] == "ok"
		})
		return faults == failed && good == all-failed
	})
}

// The master asks grpc.health.v1 of servers that speak TLS, as edges do, and takes its word.
func TestHealthOfGRPCServers(t *testing.T) {
	cert, key, err := selfsigned.Files(t.TempDir(), "back.test")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	creds := grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}}))
	state := health.NewServer()
	state.SetServingStatus("render", grpc_health_v1.HealthCheckResponse_SERVING)
	secure := fmt.Sprintf("{ ca: %s, server_name: back.test }", cert)
	f := startFleet(t, fmt.Sprintf(`
  calls:
    servers: [{ id: a, address: %q }]
    health: { grpc: true, service: render, interval: 100ms, server_tls: %s }
  other: { servers: [{ id: b, address: %q }], health: { grpc: true, interval: 100ms, server_tls: %s } }`,
		serve(t, &tester{}, state, creds), secure, serve(t, &tester{}, nil, creds), secure),
		fmt.Sprintf("routes: [{ pool: calls, server_protocol: h2, server_tls: %s }]", secure))
	metric := func(name string, args ...any) func() bool {
		return func() bool { return strings.Contains(page(t, f.master, "/metrics"), fmt.Sprintf(name, args...)+"\n") }
	}
	call := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := f.client(t).EmptyCall(ctx, &grpc_testing.Empty{})
		return err
	}
	eventually(t, "checks have passed", func() bool {
		metrics := page(t, f.master, "/metrics")
		const passed = `evenkeel_health_checks_total{pool="calls",result="passed"} `
		return strings.Contains(metrics, passed) && !strings.Contains(metrics, passed+"0\n")
	})
	if failed := metric(`evenkeel_health_checks_total{pool="calls",result="failed"} 0`); !failed() {
		t.Error("checks of a server that serves failed")
	}
	if err := call(); err != nil {
		t.Errorf("a call to a server that serves: %v", err)
	}
	state.SetServingStatus("render", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	eventually(t, "the server that does not serve is out", metric(`evenkeel_server_up{pool="calls",server="a"} 0`))
	state.SetServingStatus("render", grpc_health_v1.HealthCheckResponse_SERVING)
	eventually(t, "the server is back", metric(`evenkeel_server_up{pool="calls",server="a"} 1`))
	if err := call(); err != nil {
		t.Errorf("a call to a server that serves again: %v", err)
	}
	eventually(t, "the server without a health service is out, and why is told", func() bool {
		return strings.Contains(page(t, f.master, "/v1/pools/other"), "no grpc.health.v1.Health")
	})
}
