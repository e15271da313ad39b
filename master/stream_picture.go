package master

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// This file is what the stream's producer sees: how each pool stood at the last tick, and the differences since.

const (
	rowsATick      = 500 // servers of a pool of which all figures are sent in a tick; those whose state has changed come besides
	turnsATick     = 2000
	samplesATick   = 6   // decisions of a pool that are sampled in a tick
	keptSamples    = 600 // decisions
	shownSamples   = 60  // of these in a snapshot
	eventsAtFirst  = 200 // in a snapshot
	significantFig = 3   // digits of a figure: what differs less is not sent
)

// poolPicture is a pool as its viewers see it.
type poolPicture struct {
	name     string
	rows     []serverRow
	free     []int // rows that no server has
	places   map[balance.ServerID]int
	cursor   int // the row with which the next tick begins
	total    poolTotal
	present  bool            // at the tick that is being made
	sampled  balance.Instant // decisions up to then were sampled
	problems []string
}

// poolTotal is what is told of the pool as a whole in each tick.
type poolTotal struct {
	Name         string      `json:"name"`
	Policy       string      `json:"policy"`
	Leading      bool        `json:"leading"`
	Leader       string      `json:"leader,omitempty"`
	Fence        uint64      `json:"fence,omitempty"`
	FenceRefused uint64      `json:"fence_refused_by,omitempty"`
	Removed      bool        `json:"removed,omitempty"`
	Open         int         `json:"open"`
	Waiting      int         `json:"waiting"`
	Rate         float64     `json:"rate"` // requests that ended a second
	Failures     float64     `json:"failures"`
	P50MS        *float64    `json:"p50_ms"`
	P99MS        *float64    `json:"p99_ms"`
	Requests     uint64      `json:"requests"` // in the last minute
	Refused      uint64      `json:"refused"`  // of these
	Reason       string      `json:"reason,omitempty"`
	Classes      []classBody `json:"classes,omitempty"`
}

// classBody is how the requests of a class fared lately.
type classBody struct {
	Name     string   `json:"name"` // empty: all beyond the first classes
	Rate     float64  `json:"rate"`
	Failures float64  `json:"failures"`
	P50MS    *float64 `json:"p50_ms"`
	P99MS    *float64 `json:"p99_ms"`
}

// serverRow is a server as its viewers were told of it. A free row has no id.
type serverRow struct {
	id       balance.ServerID
	fixed    facts // what rarely changes
	inFlight int
	granted  uint64
	told     shownFigures
	state    standing
	seen     bool   // in the tick that is being made
	since    int64  // Unix seconds since the state began
	outages  []byte // JSON; nil: none
	now      shownFigures
	nowState standing
	arrived  uint64 // requests since the last tick
	moved    bool   // inFlight has changed, or something arrived
}

// facts are what rarely changes of a server.
type facts struct {
	spec  balance.ServerSpec
	at    string
	fixed bool
	agent bool
	set   string // JSON: what operators have set; empty: nothing
}

func (a *facts) equal(b *facts) bool {
	return a.at == b.at && a.set == b.set && a.fixed == b.fixed && a.agent == b.agent && a.spec.Address == b.spec.Address && a.spec.Location == b.spec.Location && a.spec.Backup == b.spec.Backup &&
		slices.Equal(a.spec.Labels, b.spec.Labels)
}

// standing is why a server gets nothing, or less.
type standing struct {
	kind balance.OutageKind
	err  string
}

// shownFigures are rounded, so that noise is not sent.
type shownFigures struct {
	slots, load, rate, failures, p50, p99, success float64
	limit                                          int
	known                                          bool
}

// round keeps a few significant digits.
func round(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	scale := math.Pow(10, significantFig-1-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

func newShownFigures(v *balance.View) shownFigures {
	f := shownFigures{slots: round(v.Slots), load: math.Round(v.Load*10) / 10, rate: round(v.Traffic.Rate), failures: math.Round(v.Traffic.Failures*1000) / 1000, success: math.Round(v.Success*100) / 100, limit: v.Cap, known: v.Known}
	if f.rate < .01 {
		f.rate = 0
	}
	if v.Traffic.Measured {
		f.p50, f.p99 = round(toMS(v.Traffic.P50)), round(toMS(v.Traffic.P99))
	}
	return f
}

// measuredMS returns the quantiles of traffic in milliseconds; nil: there were no answers.
func measuredMS(t *balance.Traffic) (p50, p99 *float64) {
	if !t.Measured {
		return nil, nil
	}
	low, high := round(toMS(t.P50)), round(toMS(t.P99))
	return &low, &high
}

// look brings the picture up to date.
func (pp *poolPicture) look(p *producer, pool *pool, now balance.Instant) {
	pp.total = pool.total(now)
	set := pool.overridesInForce()
	for i := range pp.rows {
		pp.rows[i].seen = false
	}
	for from := 0; from == 0 || len(p.views) == chunk; from += chunk {
		pool.mu.Lock()
		p.views = pool.core.Look(now, p.views[:0], from, from+chunk)
		pool.mu.Unlock()
		for i := range p.views {
			v := &p.views[i]
			pp.see(v, p.master.peers.agentOf(pp.name, v.Spec.ID) != nil, set[v.Spec.ID], now)
		}
	}
	clear(p.views)
	about, lately := pool.describeCanary(now), pool.lastMinute(now)
	pp.total.Requests, pp.total.Refused, pp.total.Reason = lately.Requests, lately.Refused, lately.Reason
	pp.problems = pp.poolProblems(about, lately)
}

// total returns what is told of the pool as a whole.
func (p *pool) total(now balance.Instant) (t poolTotal) {
	p.mu.Lock()
	t = poolTotal{Name: p.name, Policy: p.cfg.Policy, Leading: p.isLeadingLocked(now), Leader: p.lead.leader, Fence: p.lead.fence, FenceRefused: p.lead.refused, Removed: p.closing, Open: p.core.Open(), Waiting: p.core.Waiting()}
	traffic, list := p.core.Traffic(now), p.core.Classes(now)
	p.mu.Unlock()
	t.Rate, t.Failures = round(traffic.Rate), round(traffic.Failures)
	t.P50MS, t.P99MS = measuredMS(&traffic)
	slices.SortFunc(list, func(a, b balance.ClassView) int { return cmp.Compare(a.Name, b.Name) })
	for i := range list {
		c := classBody{Name: list[i].Name, Rate: round(list[i].Rate), Failures: round(list[i].Failures)}
		c.P50MS, c.P99MS = measuredMS(&list[i].Traffic)
		t.Classes = append(t.Classes, c)
	}
	return t
}

// describeCanary returns how the pool's canary stands; nil: it has none.
func (p *pool) describeCanary(now balance.Instant) *canaryBody {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, has := p.core.CanaryView(now)
	return newCanaryBody(&v, has)
}

// see takes note of a server. set is what operators have set of it.
func (pp *poolPicture) see(v *balance.View, agent bool, set []overrideBody, now balance.Instant) {
	place, known := pp.places[v.Spec.ID]
	if !known {
		place = pp.newRow(v.Spec.ID)
	}
	r := &pp.rows[place]
	r.seen = true
	f := facts{spec: v.Spec, at: v.Location.At, fixed: v.Fixed, agent: agent}
	if len(set) > 0 {
		text, _ := json.Marshal(set) // it has nothing that cannot be written
		f.set = string(text)
	}
	if !known || !f.equal(&r.fixed) {
		r.fixed, r.told = f, shownFigures{slots: -1} // all is told anew
		if !known {
			r.granted = v.Granted
		}
		r.state.kind = math.MaxUint8
	}
	arrived := v.Granted - r.granted
	r.moved = arrived > 0 || v.Leases != r.inFlight
	r.inFlight, r.granted, r.arrived = v.Leases, v.Granted, arrived
	r.now, r.nowState = newShownFigures(v), standing{}
	if len(v.Outages) > 0 {
		r.nowState = standing{v.Outages[0].Kind, v.Outages[0].Error}
	}
	if r.nowState != r.state {
		r.since = clock.Time(now.Add(-v.Since)).Unix()
		if r.outages = nil; len(v.Outages) > 0 {
			r.outages = outagesAt(v.Outages, now)
		}
	}
}

// outageAt is an outage with the times of day at which it began.
type outageAt struct {
	Reason  string `json:"reason"`
	Since   int64  `json:"since"` // Unix seconds
	By      string `json:"by,omitempty"`
	What    string `json:"what,omitempty"`
	Error   string `json:"error,omitempty"`
	ErrorAt int64  `json:"error_at,omitempty"`
	Next    string `json:"next,omitempty"`
	Trouble bool   `json:"trouble,omitempty"`
	Out     bool   `json:"out,omitempty"` // the server gets no requests
}

func outagesAt(all []balance.Outage, now balance.Instant) []byte {
	list := make([]outageAt, len(all))
	for i := range all {
		o := &all[i]
		list[i] = outageAt{Reason: o.Kind.String(), Since: clock.Time(now.Add(-o.Since)).Unix(), By: o.By, What: o.What, Error: o.Error, Next: o.Next, Trouble: o.Kind.IsTrouble(), Out: stopsRequests(o.Kind)}
		if strings.HasPrefix(o.Next, "in ") {
			list[i].Next = "" // it is not true for long
		}
		if o.Error != "" && o.Ago >= 0 {
			list[i].ErrorAt = clock.Time(now.Add(-o.Ago)).Unix()
		}
	}
	text, _ := json.Marshal(list) // it has nothing that cannot be written
	return text
}

// newRow gives a server a row.
func (pp *poolPicture) newRow(id balance.ServerID) (place int) {
	if n := len(pp.free); n > 0 {
		place, pp.free = pp.free[n-1], pp.free[:n-1]
	} else {
		place, pp.rows = len(pp.rows), append(pp.rows, serverRow{})
	}
	pp.rows[place] = serverRow{id: id, inFlight: -1}
	pp.places[id] = place
	return place
}

// appendChanges appends what has changed of the servers since the last tick: those that are new, those that have gone, requests in flight,
// and figures of some.
func (pp *poolPicture) appendChanges(b []byte) []byte {
	gone, added, flying, rest := []byte(nil), []byte(nil), []byte(nil), []byte(nil)
	turned, figured, from := 0, 0, pp.cursor
	for n := range pp.rows {
		place := (from + n) % len(pp.rows)
		r := &pp.rows[place]
		switch {
		case r.id == "":
			continue
		case !r.seen:
			gone = strconv.AppendInt(comma(gone), int64(place), 10)
			delete(pp.places, r.id)
			*r = serverRow{}
			pp.free = append(pp.free, place)
			continue
		case r.state.kind == math.MaxUint8:
			added = r.appendFacts(comma(added), place)
		}
		if r.moved {
			flying = strconv.AppendInt(comma(flying), int64(place), 10)
			flying = strconv.AppendInt(append(flying, ','), int64(r.inFlight), 10)
			flying = strconv.AppendUint(append(flying, ','), r.arrived, 10)
		}
		switch {
		case r.nowState != r.state && (turned < turnsATick || r.state.kind == math.MaxUint8):
			turned++
		case r.now != r.told && figured < rowsATick:
			if figured++; figured == rowsATick {
				pp.cursor = place + 1
			}
		default:
			continue
		}
		r.told, r.state = r.now, r.nowState
		rest = r.appendFigures(comma(rest), place)
	}
	for _, list := range []struct {
		name string
		text []byte
	}{{"gone", gone}, {"servers", added}, {"flying", flying}, {"rows", rest}} {
		if list.text != nil {
			b = append(append(append(b, `,"`...), list.name...), `":[`...)
			b = append(append(b, list.text...), ']')
		}
	}
	return b
}

// comma appends one unless a list is empty.
func comma(list []byte) []byte {
	if list == nil {
		return make([]byte, 0, 64)
	}
	return append(list, ',')
}

func (r *serverRow) appendFacts(b []byte, place int) []byte {
	f := &r.fixed
	labels := make(map[string]string, len(f.spec.Labels))
	for _, l := range f.spec.Labels {
		labels[l.Key] = l.Value
	}
	text, _ := json.Marshal(struct {
		N         int               `json:"n"`
		ID        balance.ServerID  `json:"id"`
		Address   string            `json:"address"`
		At        string            `json:"at,omitempty"`
		Location  string            `json:"location,omitempty"`
		Labels    map[string]string `json:"labels,omitempty"`
		Fixed     bool              `json:"fixed,omitempty"`
		Agent     bool              `json:"agent,omitempty"`
		Backup    bool              `json:"backup,omitempty"`
		Overrides json.RawMessage   `json:"overrides,omitempty"`
	}{place, r.id, f.spec.Address, f.at, f.spec.Location, labels, f.fixed, f.agent, f.spec.Backup, json.RawMessage(f.set)})
	return append(b, text...)
}

// appendFigures appends [place, in flight, slots, known, cap, load, rate, failures, p50, p99, success, since, outages].
func (r *serverRow) appendFigures(b []byte, place int) []byte {
	f := &r.told
	b = strconv.AppendInt(append(b, '['), int64(place), 10)
	b = strconv.AppendInt(append(b, ','), int64(r.inFlight), 10)
	known := 0.
	if f.known {
		known = 1
	}
	for _, v := range [...]float64{f.slots, known, float64(f.limit), f.load, f.rate, f.failures, f.p50, f.p99, f.success} {
		b = strconv.AppendFloat(append(b, ','), v, 'f', -1, 64)
	}
	b = strconv.AppendInt(append(b, ','), r.since, 10)
	if r.outages != nil {
		b = append(append(b, ','), r.outages...)
	}
	return append(b, ']')
}

// appendAll appends all servers, as they were told last.
func (pp *poolPicture) appendAll(b []byte) []byte {
	var added, rows []byte
	for place := range pp.rows {
		if r := &pp.rows[place]; r.id != "" && r.state.kind != math.MaxUint8 {
			added, rows = r.appendFacts(comma(added), place), r.appendFigures(comma(rows), place)
		}
	}
	b = append(append(append(b, `,"servers":[`...), added...), `],"rows":[`...)
	return append(append(b, rows...), ']')
}

// sample is a decision that was shown.
type sample struct {
	lease balance.LeaseID
	at    balance.Instant
	body  decisionBody
}

// sampleBody is a decision in the stream. Who asked is not in it: GET /v1/leases/{lease} tells that, and is audited.
type sampleBody struct {
	Lease   string   `json:"lease"`
	At      int64    `json:"at"` // Unix milliseconds
	Pool    string   `json:"pool"`
	Server  string   `json:"server"`
	Class   string   `json:"class,omitempty"`
	Size    float64  `json:"size,omitempty"`
	Servers int      `json:"server_count"`
	Note    string   `json:"note,omitempty"`
	Score   *float64 `json:"score"`
	Second  string   `json:"second,omitempty"` // the best of those that lost
	Behind  *float64 `json:"second_score,omitempty"`
}

func newSampleBody(s *sample) sampleBody {
	d := &s.body
	b := sampleBody{Lease: d.Lease, At: clock.Time(s.at).UnixMilli(), Pool: d.Pool, Server: d.Chosen, Class: d.Request.Class, Size: d.Request.Size, Servers: d.Servers, Note: d.Note}
	for i := range d.Candidates {
		if c := &d.Candidates[i]; c.Server == d.Chosen {
			b.Score = c.Score
		} else if b.Second == "" {
			b.Second, b.Behind = c.Server, c.Score
		}
	}
	return b
}

// sampleDecisions takes some of the decisions since the last tick.
func (pp *poolPicture) sampleDecisions(pool *pool, now balance.Instant) (fresh []sample) {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	for _, d := range pool.core.Decisions(now, samplesATick) {
		if d.At > pp.sampled && d.Lease != 0 {
			fresh = append(fresh, sample{d.Lease, d.At, pool.newDecisionBody(now, &d)})
		}
	}
	pp.sampled = now
	slices.Reverse(fresh)
	return fresh
}

// sampledDecision returns a decision that viewers were shown, though the pool may have forgotten it since.
func (s *stream) sampledDecision(now balance.Instant, id balance.LeaseID) (decisionBody, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.samples {
		if one := &s.samples[i]; one.lease == id {
			body, age := one.body, toMS(now.Sub(one.at))
			body.AgeMS = &age
			return body, true
		}
	}
	return decisionBody{}, false
}

// keepSamples keeps decisions that viewers are about to be shown.
func (s *stream) keepSamples(fresh []sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.samples = append(s.samples, fresh...)
	if over := len(s.samples) - keptSamples; over > 0 {
		s.samples = slices.Delete(s.samples, 0, over)
	}
}

// lastSamples returns those that were shown last, oldest first.
func (s *stream) lastSamples(n int) (list []sampleBody) {
	for i := max(0, len(s.samples)-n); i < len(s.samples); i++ {
		list = append(list, newSampleBody(&s.samples[i]))
	}
	return list
}
