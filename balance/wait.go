package balance

import "time"

// This file says how long a request waits in the queue where nothing is configured. Ten seconds are an age for
// requests of a tenth of a second, and nothing for those of a minute.

const (
	leastWait    = 10 * time.Second
	waitServices = 30 // times as long as a request takes: that long waits where the load is .95 on a few servers
	mostWait     = time.Hour
)

// longestWait returns how long a request may wait. While nothing has ended, requests take as long at least as the
// first has been under way.
func (p *Pool) longestWait(now Instant) time.Duration {
	if p.cfg.QueueWait != 0 {
		return p.cfg.QueueWait
	}
	took := 0.
	switch {
	case p.times.weight > 0:
		took = p.times.usual * p.times.spread
	case p.placed > 0:
		took = seconds(now.Sub(p.placedFirst))
	}
	return min(max(leastWait, time.Duration(waitServices*took*float64(time.Second))), mostWait)
}

// giveUpAt returns when it is no use to serve a request any more that has waited since it joined.
func (p *Pool) giveUpAt(now, joined Instant, req *Request) Instant {
	giveUp := joined.Add(p.longestWait(now))
	if req.Deadline != 0 {
		giveUp = min(giveUp, req.Deadline.Add(-p.needed(req)))
	}
	if p.mayOverflow(req) {
		giveUp = min(giveUp, joined.Add(p.cfg.Overflow.Wait))
	}
	return giveUp
}

// givesUp reports whether it is no use to serve a waiter, whose time is over, any more. It was put down when less
// may have been known of how long requests take, and of where it may go on to.
func (p *Pool) givesUp(now Instant, w *waiter) bool {
	if p.cfg.QueueWait == 0 || p.cfg.Overflow.Pool != "" {
		if later := p.giveUpAt(now, w.joined, &w.req); later.Sub(now) > leastWait/8 { // else a mean that rises a little has all looked at again and again
			w.giveUp = later
		}
	}
	return w.giveUp <= now
}
