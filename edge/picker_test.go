package edge

import (
	"context"
	"sync"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
)

// What an Edge is given when the master is another process.
var (
	_ exchange.Picker         = (*client.Client)(nil)
	_ exchange.SnapshotPicker = (*client.Client)(nil)
	_ connectedPicker         = (*client.Client)(nil)
)

// drivenPicker tells a loop its answers, as client.Masters does.
type drivenPicker struct {
	*fakePicker

	mu   sync.Mutex
	open map[*client.Ask]context.CancelFunc
}

func (p *drivenPicker) Ask(pool string, req *balance.Request, a *client.Ask) error {
	ctx, cancel := context.WithCancel(context.Background())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[a] = cancel
	kept := p.note(pool, req)
	go func() {
		g, err := p.answer(ctx, &kept)
		p.mu.Lock()
		wanted := ctx.Err() == nil
		if wanted {
			delete(p.open, a)
		}
		p.mu.Unlock()
		switch {
		case wanted:
			a.To.Answered(g, err)
		case err == nil:
			p.Done(pool, g.Lease, balance.Outcome{Result: balance.Canceled})
		}
	}()
	return nil
}

func (p *drivenPicker) Withdraw(a *client.Ask) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	cancel := p.open[a]
	if cancel == nil {
		return false
	}
	cancel()
	delete(p.open, a)
	return true
}

func (p *drivenPicker) ReturnLease(_ balance.Instant, pool string, lease balance.LeaseID, o balance.Outcome) {
	p.Done(pool, lease, o)
}

func (p *drivenPicker) Flush(balance.Instant, bool) {}

func (p *drivenPicker) Poll(client.ConnPoller) {}

func (p *drivenPicker) Unpoll(client.ConnPoller) {}
