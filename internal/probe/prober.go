package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/redact"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// Prober makes checks. It is safe for concurrent use.
type Prober struct{ dialer resolve.Dialer }

// New returns a Prober. It keeps no connections: each check makes one, as a new client would.
func New() *Prober { return &Prober{} }

// Probe checks the server at an address, as balance.ServerSpec has it, once. at is where that leads, as
// balance.Grant.At has it; a name of which that does not say it is looked up now. Its error says what was wrong. How
// must have its defaults.
func (p *Prober) Probe(ctx context.Context, address, at string, how *Check) error {
	ctx, cancel := context.WithTimeoutCause(ctx, how.Timeout, fmt.Errorf("no answer within %v", how.Timeout))
	defer cancel()
	err := errors.New("nothing to check")
	switch to := p.target(address, at, how); {
	case how.HTTP != "":
		err = get(ctx, to, how)
	case how.GRPC:
		err = askHealth(ctx, to, how.Service)
	case how.TCP:
		err = connect(ctx, to, how)
	}
	if err != nil {
		if at == "" || at == balance.AtEdge {
			at = address
		}
		return plain(cmp.Or(context.Cause(ctx), err), at)
	}
	return nil
}

// target is the server of a check, and the protocol.
type target struct {
	hostPort string // as it is called, in TLS and HTTP
	dial     func(ctx context.Context) (net.Conn, error)
	tls      *tls.Config // nil: plain
}

func (p *Prober) target(address, at string, how *Check) target {
	secure, hostPort := balance.SplitAddress(address)
	if at == "" || at == balance.AtEdge {
		at = hostPort
	}
	to := target{hostPort: hostPort, dial: func(ctx context.Context) (net.Conn, error) { return p.dialer.DialContext(ctx, "", at) }}
	if balance.IsUnix(hostPort) {
		to.hostPort = "localhost" // which has no name
	}
	switch {
	case how.TLS != nil:
		to.tls = how.TLS.Clone() // net/http and grpc-go change theirs
	case secure:
		// The check gives the server nothing secret. Edges, which do, verify it.
		to.tls = &tls.Config{InsecureSkipVerify: true}
	}
	return to
}

// connect makes a connection as edges do: with TLS a server is also asked to prove who it is.
func connect(ctx context.Context, to target, how *Check) error {
	conn, err := to.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if how.TLS == nil {
		return nil
	}
	if to.tls.ServerName == "" {
		to.tls.ServerName = hostOf(to.hostPort)
	}
	return tls.Client(conn, to.tls).HandshakeContext(ctx)
}

// hostOf returns what a server that was connected to is called.
func hostOf(hostPort string) string {
	if host, _, err := net.SplitHostPort(hostPort); err == nil {
		return host
	}
	return hostPort
}

func get(ctx context.Context, to target, how *Check) error {
	scheme := "http://"
	if to.tls != nil {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+to.hostPort+how.HTTP, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "evenkeel-health")
	transport := transportTo(to, how.HTTP2)
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req) // which follows no redirect
	if err != nil {
		return err
	}
	_ = res.Body.Close() // the head says it all
	if how.HTTP2 && res.ProtoMajor != 2 {
		return fmt.Errorf("GET %s was answered by %s, want HTTP/2", redact.URL(how.HTTP), res.Proto)
	}
	if want := how.Status; want != 0 && res.StatusCode != want || want == 0 && (res.StatusCode < 200 || res.StatusCode > 399) {
		return fmt.Errorf("GET %s answered %d", redact.URL(how.HTTP), res.StatusCode)
	}
	return nil
}

// transportTo makes one for one request.
func transportTo(to target, http2 bool) *http.Transport {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return to.dial(ctx) }
	t := &http.Transport{DialContext: dial, DisableKeepAlives: true, DisableCompression: true, TLSClientConfig: to.tls, Protocols: new(http.Protocols)}
	switch {
	case !http2:
		t.Protocols.SetHTTP1(true)
	case to.tls != nil:
		t.Protocols.SetHTTP2(true)
	default:
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	return t
}

// plain says what people need to know of an error of the network.
func plain(err error, address string) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("nothing listens at %s (connection refused)", address)
	}
	return err
}
