package exchange

import (
	"io"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/internal/logs"
)

// promptAsker grants every ask at once.
type promptAsker struct{ leases balance.LeaseID }

func (a *promptAsker) Ask(x *Exchange) (bool, error) {
	a.leases++
	x.Pending = balance.Grant{Server: "s1", Address: "192.0.2.9:80", Lease: a.leases}
	return true, nil
}

// nullPicker is told of the ends of leases.
type nullPicker struct{ Picker }

func (nullPicker) Done(string, balance.LeaseID, balance.Outcome) {}

// benched returns what takes one request from its head to the log.
func benched(tb testing.TB, change func(*Settings)) func() {
	s := Settings{ID: "e1", Via: "evenkeel", MaxHops: 3, Log: slog.New(slog.DiscardHandler)}
	change(&s)
	d := NewDeps(s, nullPicker{})
	l, err := routing.Bind(routing.Listener{Listen: "127.0.0.1:0", Routes: []routing.Route{{Pool: "web"}}}, d.PoolNumber)
	if err != nil {
		tb.Fatal(err)
	}
	const request = "GET /some/path?a=b HTTP/1.1\r\nHost: www.example\r\nUser-Agent: curl/8\r\nReferer: https://www.example/\r\nAccept: */*\r\n\r\n"
	const response = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"
	w, asker, clock := new(ForwardState), new(promptAsker), balance.Instant(1)
	loop := LoopStats{Pools: make([]PoolStats, 1)}
	w.In = append(w.In[:0], response...)
	w.Exchange.Loop, w.Exchange.Clock, w.Exchange.Asker = &loop, &clock, asker
	peer := netip.MustParseAddr("192.0.2.1")
	w.Req.Limits = l.HeadLimits
	return func() {
		x := &w.Exchange
		n, err := w.Req.Parse([]byte(request))
		if err != nil || n != len(request) {
			tb.Fatal(n, err)
		}
		w.SetHead([]byte(request), n)
		if a := w.OpenExchange(d, l, peer); a.Status != 0 {
			tb.Fatal(a)
		}
		x.Asker = asker
		if step := w.Start(nil, true); step.Do != flight.Link {
			tb.Fatal(step)
		}
		w.Compose()
		w.AwaitResponse()
		if w.W, err = w.Resp.Parse([]byte(response), w.Req.Asked(false)); err != nil {
			tb.Fatal(err)
		}
		w.In = append(w.In[:0], response...)
		w.BeginResponse()
		x.Bytes = 12
		x.LinkDone()
		x.Finish()
		w.Req.Reset()
	}
}

// What a request costs without its bytes, with and without what is configured for it.
func BenchmarkExchange(b *testing.B) {
	for _, c := range []struct {
		name   string
		change func(*Settings)
	}{
		{"plain", func(*Settings) {}},
		{"combined", func(s *Settings) {
			format, err := logs.ParseAccessFormat("combined")
			if err != nil {
				b.Fatal(err)
			}
			s.AccessLog, s.LogClient = slog.New(format.Handler(io.Discard)), true
		}},
		{"traced", func(s *Settings) { s.Trace.From = tenants.Any }},
		{"logged", func(s *Settings) { s.AccessLog = slog.New(slog.NewJSONHandler(io.Discard, nil)) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			one := benched(b, c.change)
			b.ReportAllocs()
			for b.Loop() {
				one()
			}
		})
	}
}
