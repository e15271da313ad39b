package balance

import (
	"fmt"
	"math"
	"slices"
)

// Override is what an operator last said of one setting of a server, such as to drain it, or that its slots are others than the file says.
// It outlives the master that was told: edges and agents keep it and tell the next one.
type Override struct {
	Setting Setting `json:"setting,omitempty"`
	Value   float64 `json:"value,omitempty"`  // of slots and max_in_flight
	On      bool    `json:"on"`               // false: it is undone
	At      int64   `json:"at"`               // when it was said, in microseconds since 1970 by the clock of the master that was told
	By      string  `json:"by,omitempty"`     // who said it; empty: not told
	Reason  string  `json:"reason,omitempty"` // why; empty: not told
	Proof   []byte  `json:"proof,omitempty"`  // that a master was told so, for other masters; nil: none, as where there are no certificates
}

// Setting is what an Override is about.
type Setting uint8

const (
	Drained        Setting = iota // no new requests
	Maintained                    // the same, shown as maintenance
	SlotsSet                      // how many requests the server works on at once
	MaxInFlightSet                // how many it has at most
	settings       = iota
)

var settingNames = [settings]string{"drain", "maintenance", "slots", "max_in_flight"}

// String returns the word by which commands, the API and logs name the setting.
func (s Setting) String() string {
	if int(s) < len(settingNames) {
		return settingNames[s]
	}
	return fmt.Sprintf("setting %d", uint8(s))
}

// ParseSetting returns the setting that a word names.
func ParseSetting(word string) (s Setting, ok bool) {
	i := slices.Index(settingNames[:], word)
	return Setting(max(0, i)), i >= 0
}

// Settings are all there are.
func Settings() []Setting { return []Setting{Drained, Maintained, SlotsSet, MaxInFlightSet} }

// Stops reports whether a server for which it is on gets no new requests.
func (s Setting) Stops() bool { return s == Drained || s == Maintained }

// Problem returns what is wrong with the setting and the value; empty: nothing.
func (o *Override) Problem() string {
	switch {
	case o.Setting >= settings:
		return fmt.Sprintf("setting %d is not known", o.Setting)
	case !o.On || o.Setting.Stops():
		return ""
	case o.Setting == SlotsSet && !(o.Value >= leastSlots && o.Value <= mostSlots):
		return fmt.Sprintf("slots: %v, want %v to %d", o.Value, leastSlots, mostSlots)
	case o.Setting == MaxInFlightSet && !(o.Value >= 1 && o.Value <= MostInFlight && o.Value == math.Trunc(o.Value)):
		return fmt.Sprintf("max_in_flight: %v, want a whole number from 1 to %d", o.Value, MostInFlight)
	}
	return ""
}

// After reports whether o was said later than other, and so replaces it. Of two that were said in the same microsecond
// the one that is on is the later, or else the one with the larger value.
func (o Override) After(other Override) bool {
	switch {
	case o.At != other.At:
		return o.At > other.At
	case o.On != other.On:
		return o.On
	}
	return o.On && o.Value > other.Value
}

// overridden is what operators have said of a server, and what was declared of that. A nil one says nothing.
type overridden struct {
	drained     *stopped // nil: it is not
	maintained  *stopped // nil: it is not
	slots       float64  // zero: not set
	maxInFlight int      // zero: not set

	declaredSlots       float64
	declaredMaxInFlight int
}

// stopped is a drain or maintenance that is in force.
type stopped struct {
	since  Instant
	by     string // empty: not told
	reason string // empty: not told
}

// apply writes what is set over what is declared.
func (o *overridden) apply(spec *ServerSpec) {
	if o == nil {
		return
	}
	o.declaredSlots, o.declaredMaxInFlight = spec.Slots, spec.MaxInFlight
	if o.slots > 0 {
		spec.Slots = o.slots
	}
	if o.maxInFlight > 0 {
		spec.MaxInFlight = o.maxInFlight
	}
}

// setsSlots reports whether an operator has set the slots, which then counts more than all that is learnt.
func (o *overridden) setsSlots() bool { return o != nil && o.slots > 0 }

// resume ends drain and maintenance.
func (o *overridden) resume() {
	if o != nil {
		o.drained, o.maintained = nil, nil
	}
}

// outages returns what is to be said of drain and maintenance.
func (o *overridden) outages(now Instant) (all []Outage) {
	if o.drained != nil {
		all = append(all, o.drained.outage(now, OutDraining, "until it is undrained"))
	}
	if o.maintained != nil {
		all = append(all, o.maintained.outage(now, OutMaintenance, "until its maintenance is unset"))
	}
	return all
}

// isDrained reports whether an operator drains the server.
func (s *Server) isDrained() bool {
	return s.since.overridden != nil && s.since.overridden.drained != nil
}

// declaredSpec returns what the file or the agent says of the server, without what an operator has set.
func (s *Server) declaredSpec() ServerSpec {
	spec := s.spec
	if o := s.since.overridden; o != nil {
		spec.Slots, spec.MaxInFlight = o.declaredSlots, o.declaredMaxInFlight
	}
	return spec
}

// Override has what an operator said of a server take effect. since is o.At as an Instant.
func (p *Pool) Override(now Instant, id ServerID, o Override, since Instant) error {
	s := p.byID[id]
	if s == nil {
		return fmt.Errorf("pool %s has no server %q", p.cfg.Name, id)
	}
	if problem := o.Problem(); problem != "" {
		return fmt.Errorf("pool %s: server %q: %s", p.cfg.Name, id, problem)
	}
	p.version++
	p.account(now, s)
	declared := s.declaredSpec()
	if s.since.overridden == nil {
		s.since.overridden = new(overridden)
	}
	s.since.overridden.take(&o, since)
	if o.Setting.Stops() {
		s.since.overridden.apply(&declared) // keeps what is declared
	} else {
		p.declare(s, declared)
		if s.sharing() != nil {
			p.refreshShared(now, s)
		}
	}
	s.draining = s.since.overridden.drained != nil || s.since.overridden.maintained != nil
	p.rank(now, s)
	return nil
}

// take takes up what an operator has said last. since is said.At as an Instant.
func (o *overridden) take(said *Override, since Instant) {
	var stop *stopped
	value := 0.
	if said.On {
		stop, value = &stopped{since: since, by: said.By, reason: said.Reason}, said.Value
	}
	switch said.Setting {
	case Drained:
		o.drained = stop
	case Maintained:
		o.maintained = stop
	case SlotsSet:
		o.slots = value
	case MaxInFlightSet:
		o.maxInFlight = int(value)
	}
}

// Has reports whether the pool has a server, also one that has said goodbye and has leases still.
func (p *Pool) Has(id ServerID) bool { return p.byID[id] != nil }

// outage says that the server is drained or in maintenance, by whom and why.
func (d *stopped) outage(now Instant, kind OutageKind, next string) Outage {
	o := Outage{Kind: kind, Since: max(0, now.Sub(d.since)), By: "an operator", Next: next}
	if d.by != "" {
		o.By = d.by
	}
	if d.reason != "" {
		o.What = fmt.Sprintf("%q", d.reason)
	}
	return o
}
