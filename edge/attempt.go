package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/flight"
)

// replayMost is the largest body, in bytes, that is read before the request is sent
// so that it can be sent again. Only idempotent requests' bodies are.
const replayMost = 64 << 10

// RoundTrip takes the exchange from its first ask until a server has begun to answer.
// Its error is an ended: what to do instead of passing on a response.
func (s *standard) RoundTrip(out *http.Request) (*http.Response, error) {
	c, ctx := carriedOf(out), out.Context()
	x := c.exchange
	body, err := newUpload(out)
	if err != nil {
		return nil, ended{x.badUpload(err)}
	}
	step := x.start(ctx)
	for step.Do == flight.Link {
		try := &attempt{body: body}
		res, err := try.send(s.transport, out, x)
		switch {
		case err != nil:
		case res.StatusCode != http.StatusSwitchingProtocols || x.head.upgrade && strings.EqualFold(res.Header.Get("Upgrade"), out.Header.Get("Upgrade")):
			return c.respond(res), nil
		default:
			_ = res.Body.Close() // nothing of it was wanted
			err = fmt.Errorf("the server switched to protocol %q, want %q", res.Header.Get("Upgrade"), out.Header.Get("Upgrade"))
		}
		spent, broken := body.detach()
		if broken != nil {
			return nil, ended{x.badUpload(broken)}
		}
		step = x.failed(ctx, try.failure(err, spent), err)
	}
	return nil, ended{step}
}

// badUpload ends the exchange because the request's body could not be read.
func (x *exchange) badUpload(err error) flight.Step {
	step := flight.Step{Do: flight.Abort}
	if x.flight != nil {
		x.gone()
	}
	var limit *http.MaxBytesError
	switch {
	case errors.As(err, &limit):
		step = flight.Step{Do: flight.Respond, Answer: flight.Answer{Status: http.StatusRequestEntityTooLarge, Reason: reasonBodyTooBig}}
	case errors.Is(err, os.ErrDeadlineExceeded):
		step = flight.Step{Do: flight.Respond, Answer: flight.Answer{Status: http.StatusRequestTimeout, Reason: reasonBodySlow}}
	}
	return step
}

// attempt is one sending of a request to one server.
type attempt struct {
	body *upload
	conn *countedConn // nil: none was got
	base int64        // what had been written to it before
	sent bool         // to a connection before this one: the transport itself sends again if an idle one breaks
}

func (a *attempt) send(t *http.Transport, out *http.Request, x *exchange) (*http.Response, error) {
	ctx := httptrace.WithClientTrace(out.Context(), &httptrace.ClientTrace{GotConn: a.got})
	req := out.Clone(ctx)
	req.URL.Host = x.grant.Address
	if x.grant.Lease != 0 {
		req.Header.Set(HeaderLease, x.grant.Lease.String())
	}
	a.body.attach(req)
	return t.RoundTrip(req)
}

func (a *attempt) got(info httptrace.GotConnInfo) {
	a.sent = a.anySent()
	a.conn = info.Conn.(*countedConn)
	a.base = a.conn.written.Load()
}

func (a *attempt) anySent() bool {
	return a.sent || a.conn != nil && a.conn.written.Load() > a.base
}

func (a *attempt) failure(err error, spent bool) flight.Failure {
	var op *net.OpError
	dialing := errors.As(err, &op) && op.Op == "dial"
	var slow net.Error
	return flight.Failure{
		Unreachable: dialing || a.conn == nil,
		Sent:        a.anySent(),
		Spent:       spent,
		Late:        a.conn != nil && !dialing && errors.As(err, &slow) && slow.Timeout(),
		Ours:        exhausted(err),
	}
}

// exhausted tells whether the edge's own machine has run out of something. That says
// nothing about the server, and another one would not help.
func exhausted(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// countedConn counts what is written, to tell whether a server may have got a part of
// a request.
type countedConn struct {
	net.Conn
	written atomic.Int64
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

// CloseWrite ends one direction of a tunnel.
func (c *countedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

// upload is the request's body through all attempts: kept whole if it is small and may
// have to be sent again, else streamed, once.
type upload struct {
	whole  []byte        // nil: not kept
	stream io.ReadCloser // nil: no body, or kept

	mu      sync.Mutex
	reader  *uploadReader // of the attempt under way
	touched bool          // some of stream was read
	err     error         // other than io.EOF, from the client's side
}

func newUpload(out *http.Request) (*upload, error) {
	switch {
	case out.Body == nil || out.Body == http.NoBody:
		return &upload{}, nil
	case flight.Idempotent(out.Method) && out.ContentLength > 0 && out.ContentLength <= replayMost:
		whole, err := io.ReadAll(out.Body)
		return &upload{whole: whole}, err
	}
	return &upload{stream: out.Body}, nil
}

// attach gives req a body to send.
func (u *upload) attach(req *http.Request) {
	switch {
	case u.whole != nil:
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(u.whole)), nil }
		req.Body, _ = req.GetBody()
		req.Header.Del("Expect") // the client has sent it all already
	case u.stream != nil:
		u.mu.Lock()
		defer u.mu.Unlock()
		u.reader = &uploadReader{u}
		req.Body = u.reader
	}
}

// detach takes the stream away from the attempt, which may not have noticed yet that it
// has failed. It tells whether any of it is gone, and why it could not be read.
func (u *upload) detach() (spent bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reader = nil
	return u.touched, u.err
}

type uploadReader struct{ upload *upload }

func (r *uploadReader) Read(p []byte) (int, error) {
	u := r.upload
	u.mu.Lock()
	if u.reader != r {
		u.mu.Unlock()
		return 0, context.Canceled
	}
	u.touched = true
	u.mu.Unlock()
	n, err := u.stream.Read(p)
	if err != nil && err != io.EOF {
		u.mu.Lock()
		u.err = err
		u.mu.Unlock()
	}
	return n, err
}

// Close leaves the stream open: another attempt may need it.
func (r *uploadReader) Close() error { return nil }
