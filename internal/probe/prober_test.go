package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/evenkeel-lb/evenkeel/internal/selfsigned"
)

// proof is a certificate for back.test, and the client's side of it.
func proof(t *testing.T) (pair tls.Certificate, trusted *x509.CertPool) {
	t.Helper()
	cert, key, err := selfsigned.New("back.test")
	if err != nil {
		t.Fatal(err)
	}
	if pair, err = tls.X509KeyPair(cert, key); err != nil {
		t.Fatal(err)
	}
	trusted = x509.NewCertPool()
	trusted.AppendCertsFromPEM(cert)
	return pair, trusted
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// webServer speaks one version of HTTP only, and answers / with 200 and everything else with 404.
func webServer(t *testing.T, secure *tls.Config, protocols func(*http.Protocols)) (address string) {
	t.Helper()
	s := &http.Server{Protocols: new(http.Protocols), TLSConfig: secure, ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" || r.UserAgent() != "evenkeel-health" {
			w.WriteHeader(404)
		}
	})}
	protocols(s.Protocols)
	l := listen(t)
	go func() {
		if secure != nil {
			_ = s.ServeTLS(l, "", "") // until it is closed
		} else {
			_ = s.Serve(l)
		}
	}()
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String()
}

// grpcServer is grpc-go's, with its health service if h is not nil.
func grpcServer(t *testing.T, h *health.Server, options ...grpc.ServerOption) (address string) {
	t.Helper()
	s := grpc.NewServer(options...)
	if h != nil {
		grpc_health_v1.RegisterHealthServer(s, h)
	}
	l := listen(t)
	go func() { _ = s.Serve(l) }() // until it is stopped
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

// A check speaks to a server as edges do, and finds a server that does not answer so unhealthy.
func TestProbe(t *testing.T) {
	pair, trusted := proof(t)
	_, stranger := proof(t)
	secure := &tls.Config{Certificates: []tls.Certificate{pair}}
	only1 := func(p *http.Protocols) { p.SetHTTP1(true) }
	only2 := func(p *http.Protocols) { p.SetHTTP2(true); p.SetUnencryptedHTTP2(true) }
	plain1, plain2 := webServer(t, nil, only1), webServer(t, nil, only2)
	tls1, tls2 := webServer(t, secure, only1), webServer(t, secure.Clone(), only2)

	state := health.NewServer()
	state.SetServingStatus("render", grpc_health_v1.HealthCheckResponse_SERVING)
	state.SetServingStatus("sick", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	rpc, rpcTLS := grpcServer(t, state), grpcServer(t, state, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}})))
	mute := grpcServer(t, nil)

	nothing := listen(t)
	_ = nothing.Close()
	silent := listen(t)
	t.Cleanup(func() { _ = silent.Close() })

	trust := &tls.Config{RootCAs: trusted, ServerName: "back.test"}
	distrust := &tls.Config{RootCAs: stranger, ServerName: "back.test"}
	for _, c := range []struct {
		name    string
		address string
		how     Check
		want    string // part of the error; empty: it passes
	}{
		{"HTTP/1.1", plain1, Check{HTTP: "/"}, ""},
		{"HTTP/1.1, another status", plain1, Check{HTTP: "/x"}, "GET /x answered 404"},
		{"HTTP/1.1, the status it wants", plain1, Check{HTTP: "/x", Status: 404}, ""},
		{"h2c", plain2, Check{HTTP: "/", HTTP2: true}, ""},
		{"h2c, another status", plain2, Check{HTTP: "/x", HTTP2: true}, "answered 404"},
		{"h2c to HTTP/1.1", plain1, Check{HTTP: "/", HTTP2: true}, "http2: "}, // how far net/http comes before it notices is chance
		{"TLS", tls1, Check{HTTP: "/", TLS: trust}, ""},
		{"TLS, whatever the address says", "https://" + tls1, Check{HTTP: "/", TLS: trust}, ""},
		{"TLS by the address", "https://" + tls1, Check{HTTP: "/"}, ""},
		{"plain to TLS", tls1, Check{HTTP: "/"}, "answered 400"},
		{"a certificate of another authority", tls1, Check{HTTP: "/", TLS: distrust}, "unknown authority"},
		{"another name", tls1, Check{HTTP: "/", TLS: &tls.Config{RootCAs: trusted}}, "127.0.0.1"},
		{"h2", tls2, Check{HTTP: "/", HTTP2: true, TLS: trust}, ""},
		{"h2 to HTTP/1.1 by TLS", tls1, Check{HTTP: "/", HTTP2: true, TLS: trust}, "no application protocol"},
		{"TCP", plain1, Check{TCP: true}, ""},
		{"TCP with TLS", tls1, Check{TCP: true, TLS: trust}, ""},
		{"TCP with TLS of another authority", tls1, Check{TCP: true, TLS: distrust}, "unknown authority"},
		{"TCP with TLS to a plain server", plain1, Check{TCP: true, TLS: trust}, "TLS"},
		{"gRPC", rpc, Check{GRPC: true}, ""},
		{"gRPC, a service", rpc, Check{GRPC: true, Service: "render"}, ""},
		{"gRPC, a service that does not serve", rpc, Check{GRPC: true, Service: "sick"}, `service "sick" is NOT_SERVING`},
		{"gRPC, a service that is not there", rpc, Check{GRPC: true, Service: "none"}, `does not know service "none"`},
		{"gRPC by TLS", rpcTLS, Check{GRPC: true, TLS: trust}, ""},
		{"gRPC by TLS of another authority", rpcTLS, Check{GRPC: true, TLS: distrust}, "unknown authority"},
		{"gRPC without a health service", mute, Check{GRPC: true}, "no grpc.health.v1.Health"},
		{"gRPC to HTTP/1.1", plain1, Check{GRPC: true}, "grpc.health.v1.Health: Unavailable"},
		{"gRPC where nothing listens", nothing.Addr().String(), Check{GRPC: true}, "nothing listens at " + nothing.Addr().String()},
		{"HTTP where nothing listens", nothing.Addr().String(), Check{HTTP: "/"}, "nothing listens at " + nothing.Addr().String()},
		{"HTTP without an answer", silent.Addr().String(), Check{HTTP: "/", Timeout: Shortest}, "no answer within 100ms"},
		{"gRPC without an answer", silent.Addr().String(), Check{GRPC: true, Timeout: Shortest}, "no answer within 100ms"},
	} {
		how := c.how
		if how.Timeout == 0 {
			how.Timeout = 20 * time.Second // the machine may be busy
		}
		how = how.WithDefaults()
		err := New().Probe(context.Background(), c.address, "", &how)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v, want it passed", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
}
