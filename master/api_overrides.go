package master

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// This part of the API is how operators drain servers and set what else they say of them.

// commandBody is who gives a command for a server, and why.
type commandBody struct {
	By     string `json:"by"`
	Reason string `json:"reason"`
}

// drainBody is an operator's command to drain a server, or to undrain it.
type drainBody struct {
	commandBody
	OnlyHere bool `json:"only_here"` // not in other pools in which the server stands
}

// placeBody is a server in a pool.
type placeBody struct {
	Pool   string `json:"pool"`
	Server string `json:"server"`
}

// drainedBody is the result of a drain.
type drainedBody struct {
	Server   string      `json:"server"`
	Draining bool        `json:"draining"`
	At       time.Time   `json:"at"`
	By       string      `json:"by,omitempty"`
	Reason   string      `json:"reason,omitempty"`
	Also     []placeBody `json:"also,omitempty"` // the same server in other pools, where the command holds as well
	KeptBy   keepers     `json:"kept_by"`        // once this master is gone
}

// setBody is what is set of a server.
type setBody struct {
	commandBody
	Slots       *float64 `json:"slots"`         // nil: they stay
	MaxInFlight *float64 `json:"max_in_flight"` // nil: it stays
	Maintenance bool     `json:"maintenance"`   // false: it stays
}

// unsetBody is what is unset of a server.
type unsetBody struct {
	commandBody
	Settings []string `json:"settings"` // empty: all
}

// settingsBody is what is set of a server after a command.
type settingsBody struct {
	Server    string         `json:"server"`
	Overrides []overrideBody `json:"overrides"`
	Also      []placeBody    `json:"also,omitempty"` // the same server in other pools, where the command holds as well
	KeptBy    keepers        `json:"kept_by"`        // once this master is gone
}

// overrideBody is one setting of a server that an operator has made.
type overrideBody struct {
	Setting    string    `json:"setting"`
	Value      *float64  `json:"value,omitempty"`       // nil: the setting has none
	Declared   *float64  `json:"declared,omitempty"`    // the value without the operator; nil: none is declared
	DeclaredBy string    `json:"declared_by,omitempty"` // file, pool or agent
	By         string    `json:"by,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	At         time.Time `json:"at"`
}

// serverCondition is the part of a server's body that says why it gets no requests, or fewer, and what operators have set.
type serverCondition struct {
	Health    string         `json:"health,omitempty"`
	Outages   []outage       `json:"outages,omitempty"`
	Overrides []overrideBody `json:"overrides,omitempty"`
}

// serverOf returns the pool and the server that the path names, and decodes the body.
func (m *Master) serverOf(r *http.Request, body any, command *commandBody) (p *pool, id balance.ServerID, problem *document) {
	p, missing := m.lookup(r)
	if missing != nil {
		return nil, "", missing
	}
	if problem := read(r, body); problem != nil {
		return nil, "", problem
	}
	if err := checkOverrideText(command.By, command.Reason); err != nil {
		return nil, "", malformed(err)
	}
	id = balance.ServerID(r.PathValue("server"))
	p.mu.Lock()
	has := p.core.Has(id)
	p.mu.Unlock()
	if !has {
		return nil, "", newProblem(http.StatusNotFound, noSuchHost, fmt.Sprintf("pool %s has no server %q", p.name, clip(string(id))))
	}
	return p, id, nil
}

func (m *Master) postDrain(on bool) func(http.ResponseWriter, *http.Request) *document {
	return func(w http.ResponseWriter, r *http.Request) *document {
		var body drainBody
		p, id, problem := m.serverOf(r, &body, &body.commandBody)
		if problem != nil {
			return problem
		}
		o, elsewhere := balance.Override{On: on, By: body.By, Reason: body.Reason}, p.counterparts(id)
		if body.OnlyHere {
			elsewhere = nil
		}
		s, err := m.override(p, id, o)
		if err != nil {
			return newProblem(http.StatusServiceUnavailable, notDrained, fmt.Sprintf("server %s of pool %s: %v", id, p.name, err))
		}
		also, err := m.overrideElsewhere(elsewhere, o)
		if err != nil {
			return newProblem(http.StatusServiceUnavailable, notDrained, fmt.Sprintf("server %s of pool %s is done, but not in all its pools: %v", id, p.name, err))
		}
		return write(w, drainedBody{Server: string(id), Draining: on, At: clock.Time(clock.AtMicros(s.At)), By: s.By, Reason: s.Reason, Also: also, KeptBy: m.keepersOf(p.name, id)})
	}
}

// counterparts returns the server in other pools.
func (p *pool) counterparts(id balance.ServerID) []balance.Counterpart {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.core.Counterparts(id)
}

// overrideElsewhere has what an operator says of a server take effect in the other pools in which it stands.
func (m *Master) overrideElsewhere(list []balance.Counterpart, o balance.Override) (also []placeBody, err error) {
	for _, c := range list {
		p := m.poolNamed(c.Pool)
		if p == nil {
			continue // it has just been removed
		}
		if _, err := m.override(p, c.Server, o); err != nil {
			return also, fmt.Errorf("server %s of pool %s: %w", c.Server, c.Pool, err)
		}
		also = append(also, placeBody{c.Pool, string(c.Server)})
	}
	return also, nil
}

// overrides returns what the body sets.
func (b *setBody) overrides() (all []balance.Override) {
	add := func(setting balance.Setting, value *float64) {
		if value != nil {
			all = append(all, balance.Override{Setting: setting, Value: *value, On: true, By: b.By, Reason: b.Reason})
		}
	}
	add(balance.SlotsSet, b.Slots)
	add(balance.MaxInFlightSet, b.MaxInFlight)
	if b.Maintenance {
		add(balance.Maintained, new(float64))
	}
	return all
}

func (m *Master) postSet(w http.ResponseWriter, r *http.Request) *document {
	var body setBody
	p, id, problem := m.serverOf(r, &body, &body.commandBody)
	if problem != nil {
		return problem
	}
	all := body.overrides()
	if len(all) == 0 {
		return malformed(fmt.Errorf("nothing to set: want slots, max_in_flight or maintenance: true"))
	}
	return m.overrideAll(w, p, id, all)
}

// unsettable are the settings that unset knows, in the order of messages. A drain has commands of its own.
var unsettable = []balance.Setting{balance.SlotsSet, balance.MaxInFlightSet, balance.Maintained}

func (m *Master) postUnset(w http.ResponseWriter, r *http.Request) *document {
	var body unsetBody
	p, id, problem := m.serverOf(r, &body, &body.commandBody)
	if problem != nil {
		return problem
	}
	set, words := p.overridesInForce()[id], body.Settings
	if len(words) == 0 {
		for _, o := range set {
			words = append(words, o.Setting)
		}
	}
	var all []balance.Override
	for _, word := range words {
		setting, known := balance.ParseSetting(word)
		if !known || !slices.Contains(unsettable, setting) {
			return malformed(fmt.Errorf("settings: %q, want slots, max_in_flight or maintenance", clip(word)))
		}
		if !slices.ContainsFunc(set, func(o overrideBody) bool { return o.Setting == word }) {
			return newProblem(http.StatusConflict, notSet, fmt.Sprintf("server %s of pool %s: %s is not set", id, p.name, word))
		}
		all = append(all, balance.Override{Setting: setting, By: body.By, Reason: body.Reason})
	}
	return m.overrideAll(w, p, id, all)
}

// overrideAll has all overrides of a server take effect, in all pools in which it stands, or none if one has a bad value.
func (m *Master) overrideAll(w http.ResponseWriter, p *pool, id balance.ServerID, all []balance.Override) *document {
	for i := range all {
		if problem := all[i].Problem(); problem != "" {
			return malformed(fmt.Errorf("server %s of pool %s: %s", id, p.name, problem))
		}
	}
	var also []placeBody
	for _, o := range all {
		_, err := m.override(p, id, o)
		if err == nil {
			also, err = m.overrideElsewhere(p.counterparts(id), o)
		}
		if err != nil {
			return newProblem(http.StatusServiceUnavailable, commandFailed, fmt.Sprintf("server %s of pool %s: %s: %v", id, p.name, o.Setting, err))
		}
	}
	return write(w, settingsBody{Server: string(id), Overrides: append([]overrideBody{}, p.overridesInForce()[id]...), Also: also, KeptBy: m.keepersOf(p.name, id)})
}

// overridesInForce returns what operators have set, by server, besides drains.
func (p *pool) overridesInForce() map[balance.ServerID][]overrideBody {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all map[balance.ServerID][]overrideBody
	for key, o := range p.overrides {
		if !o.On || key.setting == balance.Drained {
			continue
		}
		if all == nil {
			all = make(map[balance.ServerID][]overrideBody)
		}
		all[key.server] = append(all[key.server], p.newOverrideBodyLocked(key.server, &o))
	}
	for _, list := range all {
		slices.SortFunc(list, func(a, b overrideBody) int { return -strings.Compare(a.Setting, b.Setting) })
	}
	return all
}

// overridesOfCandidateLocked returns what operators have set of a server; of a recorded decision, which was made at an instant, what they
// had set by then and have not set anew since.
func (p *pool) overridesOfCandidateLocked(id balance.ServerID, at balance.Instant) (all []overrideBody) {
	for _, setting := range unsettable {
		if o := p.overrides[overrideKey{id, setting}]; o.On && (at == 0 || clock.AtMicros(o.At) <= at) {
			all = append(all, p.newOverrideBodyLocked(id, &o))
		}
	}
	return all
}

func (p *pool) newOverrideBodyLocked(id balance.ServerID, o *balance.Override) overrideBody {
	b := overrideBody{Setting: o.Setting.String(), By: o.By, Reason: o.Reason, At: clock.Time(clock.AtMicros(o.At))}
	if o.Setting.Stops() {
		return b
	}
	b.Value = &o.Value
	if value, by := p.declaredLocked(id, o.Setting); value > 0 {
		b.Declared, b.DeclaredBy = &value, by
	}
	return b
}

// declaredLocked returns the value of a setting without an operator, and who declares it; zero: none is declared.
func (p *pool) declaredLocked(id balance.ServerID, setting balance.Setting) (value float64, by string) {
	file, agent := p.declared.file[id], p.declared.agents[id]
	if file == nil {
		file = new(balance.ServerSpec)
	}
	if setting == balance.MaxInFlightSet {
		if own := cmp.Or(file.MaxInFlight, agent.MaxInFlight); own > 0 || p.cfg.MaxInFlight == 0 {
			return float64(own), "file"
		}
		return float64(p.cfg.MaxInFlight), "pool"
	}
	if file.Slots > 0 {
		return file.Slots, "file"
	}
	return agent.Slots, "agent"
}
