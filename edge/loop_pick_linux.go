package edge

import (
	"context"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// prompt is a Picker that need not make those wait whose answer is there.
type prompt interface {
	// Prompt is Pick, but does not wait: if the answer is still to come, wait is not nil
	// and waits for it as Pick would have. It must be called then. The request must stay
	// as it is until there is an answer.
	Prompt(pool string, req *balance.Request) (g balance.Grant, wait func(context.Context) (balance.Grant, error), err error)
}

// asking is a goroutine that waits for answers in the place of a loop. One that has
// nothing to do waits for the next ask, so that none has to be started for each.
type asking struct {
	inbound *inbound
	wait    func(context.Context) (balance.Grant, error) // nil: ask the picker
	next    chan struct{}
}

// mostAsking is how many of them are kept.
const mostAsking = 64

// ask implements asker.
func (f *inbound) ask(x *exchange) (balance.Grant, error, bool) {
	var wait func(context.Context) (balance.Grant, error)
	if p := f.service.engine.prompt; p != nil {
		g, later, err := p.Prompt(x.route.pool.name, &x.request)
		if later == nil {
			return g, err, true
		}
		wait = later
	}
	l := f.loop
	f.stage = lent
	l.wheel.set(&f.timer, x.request.Deadline.Add(askGrace))
	f.watchClient()
	if n := len(l.askers); n > 0 {
		a := l.askers[n-1]
		l.askers = l.askers[:n-1]
		a.inbound, a.wait = f, wait
		a.next <- struct{}{}
		return balance.Grant{}, nil, false
	}
	a := &asking{inbound: f, wait: wait, next: make(chan struct{}, 1)}
	e := l.engine
	e.aside.Go(func() { a.run(l) })
	return balance.Grant{}, nil, false
}

// run asks until there is nobody to ask for.
func (a *asking) run(l *loop) {
	for {
		x := &a.inbound.task.exchange
		var grant balance.Grant
		var err error
		if a.wait != nil {
			grant, err = a.wait(x.recall.context())
		} else {
			grant, err = l.engine.edge.picker.Pick(x.recall.context(), x.route.pool.name, &x.request)
		}
		l.post(letter{asker: a.inbound, by: a, grant: grant, err: err})
		if _, more := <-a.next; !more {
			return
		}
	}
}

// answered goes on with the answer to an ask.
func (f *inbound) answered(a *asking, grant balance.Grant, err error) {
	l := f.loop
	a.inbound, a.wait = nil, nil
	if len(l.askers) < mostAsking {
		l.askers = append(l.askers, a)
	} else {
		close(a.next)
	}
	f.stage = linking
	f.until(0)
	f.follow(f.task.exchange.resume(grant, err))
}
