package edge

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/preface"
)

// openTunnel begins the exchange of a tunnel to a name.
func (x *exchange) openTunnel(d *deps, l *routing.BoundListener, client netip.Addr, name string, r *cancellation) {
	x.renew(d, l, r)
	x.client, x.head = client, routing.RequestInfo{Host: name, Peer: client}
	x.setRoute(l.BoundRoutes.Match(name, ""))
}

// proxyHeader returns the PROXY header for the server; nil: it gets none.
func (x *exchange) proxyHeader(proxied preface.Proxy) []byte {
	switch x.route.SendProxy {
	case 1:
		return proxied.AppendV1(nil)
	case 2:
		return proxied.AppendV2(nil, x.head.Host)
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
	took, name := x.now().Sub(x.startedAt), ""
	if x.route != nil {
		name = x.pool.name
		x.stats.addInFlight(-1)
	}
	ended := reason
	if ended == "" {
		ended = x.result.String()
	}
	x.deps.metrics.tunnel(name, ended, in, out, took)
	if log := x.deps.AccessLog; log != nil {
		x.logTunnel(log, ended, in, out, took)
	}
}

func (x *exchange) logTunnel(log *slog.Logger, ended string, in, out int64, took time.Duration) {
	lease, pool := "", ""
	if x.grant.Lease != 0 {
		lease = x.grant.Lease.String()
	}
	if x.route != nil {
		pool = x.pool.name
	}
	log.LogAttrs(context.Background(), slog.LevelInfo, "connection",
		slog.String("listen", x.listener.Listen), slog.String("host", x.head.Host), slog.Int64("bytes_in", in), slog.Int64("bytes_out", out),
		slog.Float64("duration_ms", milliseconds(took)), x.pickTimeAttr(),
		slog.String("pool", pool), slog.String("server", string(x.grant.Server)), slog.String("lease", lease),
		slog.String("edge", string(x.deps.ID)), slog.String("client", routing.Node(x.client)), slog.Int("attempts", x.attempts), slog.String("ended", ended))
}
