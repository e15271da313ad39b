package edge

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/preface"
)

var errLongHello = errors.New("a ClientHello longer than header_limit")

// serverName finds the server name in the first bytes, once they suffice. Without TLS there is none.
func (l *boundListener) serverName(early []byte) (name string, known bool, err error) {
	name, whole, err := preface.ServerName(early)
	switch {
	case err == preface.ErrNoTLS:
		return "", true, nil
	case !whole && err == nil && len(early) >= l.HeaderLimit:
		return "", false, errLongHello
	}
	return name, whole, err
}

// openTunnel begins the exchange of a tunnel to a name.
func (x *exchange) openTunnel(e *Edge, l *boundListener, client netip.Addr, name string, r *cancellation) {
	*x = exchange{edge: e, listener: l, startedAt: clock.Now(), cancel: r, client: client}
	x.head = requestInfo{host: name, peer: client}
	x.setRoute(l.routes.match(name, ""))
}

// proxyHeader returns the PROXY header for the server; nil: it gets none.
func (x *exchange) proxyHeader(proxied preface.Proxy) []byte {
	switch x.route.SendProxy {
	case 1:
		return proxied.AppendV1(nil)
	case 2:
		return proxied.AppendV2(nil, x.head.host)
	}
	return nil
}

// closeTunnel ends the exchange, counts it and writes the access log. reason says why it was not linked; in
// and out are the bytes sent to the server and to the client.
func (x *exchange) closeTunnel(reason string, in, out int64) {
	if x.started && !x.flight.Over() {
		x.clientGone()
	}
	x.countOpen(-1)
	took, name := clock.Now().Sub(x.startedAt), ""
	if x.route != nil {
		name = x.route.pool.name
		x.stats.addInFlight(-1)
	}
	ended := reason
	if ended == "" {
		ended = x.result.String()
	}
	x.edge.metrics.tunnel(name, ended, in, out, took)
	if log := x.edge.cfg.AccessLog; log != nil {
		x.logTunnel(log, ended, in, out, took)
	}
}

func (x *exchange) logTunnel(log *slog.Logger, ended string, in, out int64, took time.Duration) {
	lease, pool := "", ""
	if x.grant.Lease != 0 {
		lease = x.grant.Lease.String()
	}
	if x.route != nil {
		pool = x.route.pool.name
	}
	log.LogAttrs(context.Background(), slog.LevelInfo, "connection",
		slog.String("listen", x.listener.Listen), slog.String("host", x.head.host), slog.Int64("bytes_in", in), slog.Int64("bytes_out", out),
		slog.Float64("duration_ms", milliseconds(took)), x.pickTime(),
		slog.String("pool", pool), slog.String("server", string(x.grant.Server)), slog.String("lease", lease),
		slog.String("edge", string(x.edge.cfg.ID)), slog.String("client", node(x.client)), slog.Int("attempts", x.attempts), slog.String("ended", ended))
}
