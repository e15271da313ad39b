package agent

import (
	"context"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/probe"
)

// Health says how the agent checks its server, before it registers the server and regularly afterwards. The agent reports a failing server
// to the masters as down, with the reason.
type Health struct {
	Address string      // as balance.ServerSpec has it; empty: nothing is checked
	Check   probe.Check // zero: whether a connection can be made
}

func (h *Health) enabled() bool { return h.Address != "" }

// check returns the check, which without another wish is whether a connection can be made.
func (h *Health) check() probe.Check {
	c := h.Check
	c.TCP = c.TCP || !c.Enabled()
	return c
}

// Checked is closed when the first check of the server has ended, or when there is no check: the server must not be registered before.
func (a *Agent) Checked() <-chan struct{} { return a.checked }

// checkHealth checks the server until ctx ends and tells the masters when the result changes. The
// first check alone decides: there is nothing to compare it with.
func (a *Agent) checkHealth(ctx context.Context) {
	prober, how := probe.New(), a.cfg.Health.Check
	var verdict probe.Verdict
	first := how
	first.Fall = 1
	a.judge(ctx, &verdict, &first, prober.Probe(ctx, a.cfg.Health.Address, "", &how))
	close(a.checked)
	tick := time.NewTicker(how.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.judge(ctx, &verdict, &how, prober.Probe(ctx, a.cfg.Health.Address, "", &how))
		}
	}
}

func (a *Agent) judge(ctx context.Context, verdict *probe.Verdict, how *probe.Check, err error) {
	if ctx.Err() != nil {
		return
	}
	if err == nil && how.Answers() {
		a.sender.Report(balance.Report{Server: a.cfg.Server}) // without metrics: it only shows that the server is alive
	}
	if !verdict.Add(err == nil, how) {
		return
	}
	if verdict.Healthy() {
		a.problem.Store(nil)
		a.returned.Store(true)
		a.sender.Serving("")
		a.log.Info("the server works again; masters were told", "address", a.cfg.Health.Address)
		return
	}
	problem := err.Error()
	a.problem.Store(&problem)
	a.sender.Serving(problem)
	a.log.Warn("the server is down; masters were told", "address", a.cfg.Health.Address, "err", err)
}
