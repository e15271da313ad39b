// Package grpc holds a real edge to what others wrote about HTTP/2: the interoperability
// cases of grpc-go, whose client and server are processes of their own, and h2spec. It is a
// module of its own, so that what it needs is no burden on the project's.
package grpc

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
	"github.com/evenkeel-lb/evenkeel/internal/selfsigned"
)

// programs are built once.
var programs struct{ evenkeel, client, server, h2spec string }

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "evenkeel-grpc-")
	if err != nil {
		panic(err)
	}
	code := 1
	if build(dir) {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func build(dir string) bool {
	for at, name := range map[*string]string{&programs.evenkeel: "evenkeel", &programs.client: "client", &programs.server: "server", &programs.h2spec: "h2spec"} {
		*at = filepath.Join(dir, name)
	}
	for _, args := range [][]string{
		{"build", "-C", "../..", "-o", programs.evenkeel, "./cmd/evenkeel"},
		{"build", "-o", programs.client, "google.golang.org/grpc/interop/client"},
		{"build", "-o", programs.server, "google.golang.org/grpc/interop/server"},
		{"build", "-o", programs.h2spec, "github.com/summerwind/h2spec/cmd/h2spec"},
	} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go %s: %v\n%s", strings.Join(args, " "), err, out)
			return false
		}
	}
	return true
}

// cases are those of the client that ask nothing of Google's cloud.
//
// Some that others may look for are not here. orca_per_rpc wants the server's load
// report to reach the client, and an edge consumes it: see TestReportsAreTaken.
// pick_first_unary wants a server's id that grpc-go's own server does not tell.
// rpc_soak and channel_soak are large_unary many times.
var cases = []string{
	"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
	"timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "status_code_and_message",
	"special_status_message", "custom_metadata", "unimplemented_method", "unimplemented_service", "orca_oob",
}

// system is an edge with a master, between clients and interop servers with and without TLS.
type system struct {
	*proc.Process
	ca      string
	listen  map[string]string // by what the client and the server speak
	other   string            // listens for clients of HTTP/2 too, but has only servers of HTTP/1
	reloads *atomic.Int64     // that the log has told of
}

// reloadsOf counts records of reloads in a log that is written to it, line by line.
type reloadsOf struct{ atomic.Int64 }

func (n *reloadsOf) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte(`"msg":"reloaded"`)) {
		n.Add(1)
	}
	return len(line), nil
}

func start(t *testing.T) *system {
	t.Helper()
	cert, key, err := selfsigned.Files(t.TempDir(), "front.test", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	backCert, backKey, err := selfsigned.Files(t.TempDir(), "back.test")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "evenkeel.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
pools:
  plain: { servers: [{ id: p, address: %q }] }
  secure: { servers: [{ id: s, address: %q }] }
  sample: { servers: [{ id: w, address: %q }] }
edge:
  listeners:
    - { listen: 127.0.0.1:0, h2c: true, routes: [{ path: /grpc.testing.TestService, pool: plain, server_protocol: h2 }, { path: /grpc.testing.UnimplementedService, pool: plain, server_protocol: h2 }, { path: /xds.service.orca.v3.OpenRcaService, pool: plain, server_protocol: h2 }, { pool: sample }] }
    - { listen: localhost:0, tls: { certificates: [{ cert: %s, key: %s }] }, routes: [{ pool: secure, server_protocol: h2, server_tls: { ca: %s, server_name: back.test } }] }
    - { listen: 127.0.0.2:0, h2c: true, routes: [{ pool: sample }] }
`, server(t), server(t, "--use_tls", "--tls_cert_file="+backCert, "--tls_key_file="+backKey), sample(t), cert, key, backCert), 0o600); err != nil {
		t.Fatal(err)
	}
	seen := new(reloadsOf)
	p, err := proc.Start(seen, programs.evenkeel, "run", "--config", file, "--admin", "127.0.0.1:0", "--log-format", "json")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("log of the edge:\n%s", p.Log())
		}
	})
	at := strings.Split(p.Addr("listen"), ",")
	return &system{p, cert, map[string]string{"plain": at[0], "TLS": at[1]}, at[2], &seen.Int64}
}

// sample starts a server of HTTP/1.1.
func sample(t *testing.T) (address string) {
	t.Helper()
	p, err := proc.Start(nil, programs.evenkeel, "sample-server", "--listen", "127.0.0.1:0", "--log-format", "json")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p.Addr("listen")
}

// server starts an interop server and returns where it listens.
func server(t *testing.T, more ...string) (address string) {
	t.Helper()
	address = freeport.Address(t) // the server has no way to tell which port it was given
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(programs.server, append([]string{"--port=" + port}, more...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	for limit := time.Now().Add(2 * time.Minute); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return address
		}
		if time.Now().After(limit) {
			t.Fatalf("interop server: %v", err)
		}
		<-time.After(10 * time.Millisecond) // between two looks at another process
	}
}

// interop runs a case and returns what the client said.
func (s *system) interop(front, name string) (string, error) {
	host, port, _ := net.SplitHostPort(s.listen[front])
	args := []string{"--server_host=" + host, "--server_port=" + port, "--test_case=" + name}
	if front == "TLS" {
		args = append(args, "--use_tls", "--use_test_ca", "--ca_file="+s.ca, "--server_host_override=front.test")
	}
	if strings.HasPrefix(name, "orca_") {
		args = append(args, `--service_config_json={"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}`)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, programs.client, args...).CombinedOutput()
	return string(out), err
}

func TestInterop(t *testing.T) {
	s := start(t)
	for front := range s.listen {
		for _, name := range cases {
			t.Run(front+"/"+name, func(t *testing.T) {
				if said, err := s.interop(front, name); err != nil {
					t.Errorf("%v\n%s\nrun again: cd e2e/grpc && go test -run 'TestInterop/%s/%s$'", err, said, front, name)
				}
			})
		}
	}
}

// A load report in a call's trailers goes to the master, and not to the client, whose
// case fails for that.
func TestReportsAreTaken(t *testing.T) {
	s := start(t)
	for front, pool := range map[string]string{"plain": "plain", "TLS": "secure"} {
		if said, err := s.interop(front, "orca_per_rpc"); err == nil || !strings.Contains(said, "ORCA") && !strings.Contains(said, "orca") && !strings.Contains(said, "metrics") {
			t.Errorf("the client of %s ended with %v and said\n%s", front, err, said)
		}
		resp, err := http.Get("http://" + s.Addr("admin") + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if want := fmt.Sprintf("evenkeel_reports_total{pool=%q,result=\"kept\"", pool); err != nil || !strings.Contains(string(page), want) {
			t.Errorf("the master's metrics have no %s…: %v\n%s", want, err, page)
		}
	}
}
