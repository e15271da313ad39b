package edge

import (
	"io"
	"net/http"
	"sync/atomic"

	"github.com/evenkeel-lb/evenkeel/flight"
)

// respond makes a server's response watched: its end is the link's.
func (c *carried) respond(res *http.Response) *http.Response {
	x := c.exchange
	x.status = res.StatusCode
	x.reported(res.Header)
	if conn, ok := res.Body.(io.ReadWriteCloser); ok && res.StatusCode == http.StatusSwitchingProtocols {
		res.Body = &tunnel{ReadWriteCloser: conn, read: &x.tunnelled}
		return res
	}
	stripReports(res.Trailer) // of what is announced
	res.Body = &download{ReadCloser: res.Body, carried: c, res: res}
	return res
}

// download is the body of a server's response. Whoever reads it to its end finishes
// the link; whoever closes it before leaves that to exchange.close.
type download struct {
	io.ReadCloser
	carried *carried
	res     *http.Response // its request's context ends when the client leaves
}

func (d *download) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	x := d.carried.exchange
	x.bytes += int64(n)
	d.carried.patience.awaitWrite() // of what has just been read
	switch err {
	case nil:
	case io.EOF:
		if len(d.res.Trailer) > 0 {
			x.reported(d.res.Trailer)
			stripReports(d.res.Trailer)
		}
		x.finished()
	default:
		x.failed(d.res.Request.Context(), flight.Failure{Sent: true, Begun: true}, err)
	}
	return n, err
}

// tunnel is the server's side of an upgraded connection. It counts what comes out,
// maybe even after the exchange has been closed.
type tunnel struct {
	io.ReadWriteCloser
	read *atomic.Int64
}

func (t *tunnel) Read(p []byte) (int, error) {
	n, err := t.ReadWriteCloser.Read(p)
	t.read.Add(int64(n))
	return n, err
}

// CloseWrite ends one direction.
func (t *tunnel) CloseWrite() error {
	if half, ok := t.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}
