package exchange

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/preface"
)

// OpenTunnel begins the exchange of a tunnel to a name.
func (x *Exchange) OpenTunnel(d *Deps, l *routing.BoundListener, client netip.Addr, name string, r *Cancellation) {
	x.renew(d, l, r)
	x.ClientAddr, x.Head = client, routing.RequestInfo{Host: name, Peer: client}
	x.setRoute(l.BoundRoutes.Match(name, ""))
}

// ProxyHeader returns the PROXY header for the server; nil: it gets none.
func (x *Exchange) ProxyHeader(proxied preface.Proxy) []byte {
	switch x.Route.SendProxy {
	case 1:
		return proxied.AppendV1(nil)
	case 2:
		return proxied.AppendV2(nil, x.Head.Host)
	}
	return nil
}

// CloseTunnel ends the exchange, counts it and writes the access log. reason says why it was not linked; in
// and out are the bytes sent to the server and to the client.
func (x *Exchange) CloseTunnel(reason string, in, out int64) {
	if x.Started && !x.Flight.Over() {
		x.ClientGone()
	}
	x.countOpen(-1)
	took, name := x.now().Sub(x.startedAt), ""
	if x.Route != nil {
		name = x.Pool.Name
		x.stats.addInFlight(-1)
	}
	ended := reason
	if ended == "" {
		ended = x.result.String()
	}
	x.deps.Metrics.tunnel(name, ended, in, out, took)
	if log := x.deps.AccessLog; log != nil {
		x.logTunnel(log, ended, in, out, took)
	}
}

func (x *Exchange) logTunnel(log *slog.Logger, ended string, in, out int64, took time.Duration) {
	lease, pool := "", ""
	if x.Grant.Lease != 0 {
		lease = x.Grant.Lease.String()
	}
	if x.Route != nil {
		pool = x.AskedPool()
	}
	log.LogAttrs(context.Background(), slog.LevelInfo, "connection",
		slog.String("listen", x.listener.Listen), slog.String("host", x.Head.Host), slog.Int64("bytes_in", in), slog.Int64("bytes_out", out),
		slog.Float64("duration_ms", milliseconds(took)), x.pickTimeAttr(),
		slog.String("pool", pool), slog.String("server", string(x.Grant.Server)), slog.String("lease", lease),
		slog.String("edge", string(x.deps.ID)), slog.String("client", routing.Node(x.ClientAddr)), slog.Int("attempts", x.attempts), slog.String("ended", ended))
}
