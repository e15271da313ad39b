package master

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// This file keeps what operators say of servers: to drain them or to give them work again, to put them into maintenance, or that they have
// other slots or another cap than is declared.
//
// Edges that watch a pool and the server's agent are told. They tell later and other masters that they are connected to; what was said
// last counts. It is also kept in a file, if Config.DrainsFile names one.

// maxOverrides bounds the remembered overrides of servers that are not in their pools; these servers may come back.
const maxOverrides = 1 << 14

// maxClockAhead is how far the clock of the master that took an override may be ahead of ours. One from further in the future would
// overrule all others for as long.
const maxClockAhead = 10 * time.Minute

// maxByBytes bounds the name of who ordered an override, in bytes.
const maxByBytes = wire.MaxName

// overrideKey is what an override is about: each has its own last word.
type overrideKey struct {
	server  balance.ServerID
	setting balance.Setting
}

// overrideRecord is an override of a server of a pool.
type overrideRecord struct {
	Pool   string           `json:"pool"`
	Server balance.ServerID `json:"server"`
	balance.Override
}

func (s *overrideRecord) key() overrideKey { return overrideKey{s.Server, s.Setting} }

// plainRecord is an overrideRecord as the file has that of a drain.
type plainRecord overrideRecord

// MarshalJSON implements json.Marshaler. Records of other settings than drain stand in the file in a way that programs which know of
// drains only skip.
func (s overrideRecord) MarshalJSON() ([]byte, error) {
	if s.Setting == balance.Drained {
		return json.Marshal(plainRecord(s))
	}
	return json.Marshal(map[string]plainRecord{"override": plainRecord(s)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *overrideRecord) UnmarshalJSON(text []byte) error {
	var other struct {
		Inner *plainRecord `json:"override"`
	}
	err := json.Unmarshal(text, &other)
	if err == nil && other.Inner != nil {
		*s = overrideRecord(*other.Inner)
		return nil
	}
	return json.Unmarshal(text, (*plainRecord)(s))
}

// storeOverrideLocked stores an override of a server, which may not be in the pool yet. It reports whether the override
// is new: a later one may be known, or too many are remembered of servers that are not in the pool.
func (p *pool) storeOverrideLocked(now balance.Instant, id balance.ServerID, o balance.Override) bool {
	key := overrideKey{id, o.Setting}
	last, known := p.overrides[key]
	if known && !o.After(last) || !known && !p.core.Has(id) && p.overrideCount.Load() >= maxOverrides && !p.forgetOverrideLocked() {
		return false
	}
	if !known {
		p.overrideCount.Add(1)
	}
	p.overrides[key] = o
	p.noteOverrideLocked(id, &o, known && last.On && last.Value == o.Value, known && last.On)
	if p.core.Override(now, id, o, overrideStart(now, o)) == nil && p.reapplyOverridesLocked(now, id) == nil {
		p.markChangedLocked()
	}
	return true
}

// noteOverrideLocked notes an override that changes something. same says that it was on before, with the same value; was, that it was on.
func (p *pool) noteOverrideLocked(id balance.ServerID, o *balance.Override, same, was bool) {
	if o.On && same || !o.On && !was {
		return
	}
	kinds, what := [2]string{eventServerSet, eventServerUnset}, o.Setting.String()
	switch {
	case o.Setting == balance.Drained:
		kinds, what = [2]string{eventServerDrained, eventServerUndrained}, ""
	case o.On && !o.Setting.Stops():
		what += " " + strconv.FormatFloat(o.Value, 'f', -1, 64)
	}
	if o.Reason != "" {
		what = strings.TrimPrefix(what+": "+o.Reason, ": ")
	}
	kind := kinds[0]
	if !o.On {
		kind = kinds[1]
	}
	p.noteLocked(event{Kind: kind, Server: string(id), By: o.By, What: what})
}

// forgetOverrideLocked makes room for that of another server: it forgets the oldest that is undone of a server that is
// not in the pool. It reports whether there was one.
func (p *pool) forgetOverrideLocked() bool {
	var oldest overrideKey
	found := false
	for key, o := range p.overrides {
		if !o.On && !p.core.Has(key.server) && (!found || o.At < p.overrides[oldest].At) {
			oldest, found = key, true
		}
	}
	if found {
		delete(p.overrides, oldest)
		p.overrideCount.Add(-1)
	}
	return found
}

// forgetOverrides forgets the overrides of a pool that has been removed.
func (p *pool) forgetOverrides() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.overrideCount.Add(-int64(len(p.overrides)))
	clear(p.overrides)
}

// reapplyOverridesLocked has what operators said of a server that was put take effect again. A server whose address its name has lost is
// drained without that.
func (p *pool) reapplyOverridesLocked(now balance.Instant, id balance.ServerID) error {
	for _, setting := range balance.Settings() {
		o := p.overrides[overrideKey{id, setting}]
		if m := p.nameServers[id]; setting == balance.Drained && !o.On && m != nil && m.leaving {
			o = leavingDrain
			o.At = clock.Micros(now)
		}
		if !o.On {
			continue
		}
		if err := p.core.Override(now, id, o, overrideStart(now, o)); err != nil {
			return err
		}
	}
	return nil
}

// overrideStart returns o.At as an Instant; now, if the time of day was set back since.
func overrideStart(now balance.Instant, o balance.Override) balance.Instant {
	return max(1, min(now, clock.AtMicros(o.At)))
}

// newOverrideLocked returns o as an operator orders it now: later than any earlier one of the server's setting.
func (p *pool) newOverrideLocked(now balance.Instant, id balance.ServerID, o balance.Override) balance.Override {
	last := p.overrides[overrideKey{id, o.Setting}]
	if o.On && last.On && o.Value == last.Value && o.Reason == "" {
		o.Reason = last.Reason // draining again without a reason keeps the earlier reason
	}
	o.At = max(clock.Micros(now), last.At+1)
	return o
}

// allOverridesLocked returns all overrides of the pool, by server id.
func (p *pool) allOverridesLocked() (all []overrideRecord) {
	for key, o := range p.overrides {
		all = append(all, overrideRecord{p.name, key.server, o})
	}
	slices.SortFunc(all, func(a, b overrideRecord) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Setting, b.Setting))
	})
	return all
}

// errOverrideLost reports that what an operator said did not take effect.
var errOverrideLost = errors.New("other commands for the server came repeatedly meanwhile: try again")

// override has what an operator says of a server take effect, and sends it to all who keep overrides. o has no time and no proof yet.
func (m *Master) override(p *pool, id balance.ServerID, o balance.Override) (overrideRecord, error) {
	for range 10 {
		now := clock.Now()
		p.mu.Lock()
		s := overrideRecord{p.name, id, p.newOverrideLocked(now, id, o)}
		p.mu.Unlock()
		if err := m.signOverride(&s); err != nil {
			return s, err
		}
		p.mu.Lock()
		news := p.storeOverrideLocked(now, id, s.Override)
		p.unlock()
		if news {
			m.broadcastOverride(s, nil)
			return s, nil
		}
	}
	return overrideRecord{}, errOverrideLost
}

// overrideStatement is the kind of the signed statements of overrides.
const overrideStatement = "drain"

// signOverride adds a proof for other masters that this one was given the order. Without certificates there is no
// proof, and all peers are trusted.
func (m *Master) signOverride(s *overrideRecord) (err error) {
	if m.trust != nil {
		s.Proof, err = m.trust.SignStatement(overrideStatement, s.wire().Statement())
	}
	return err
}

// verifyOverride returns what is wrong with an override that a peer passes on; nil: nothing. With certificates it
// must be signed by a master: an edge or an agent cannot drain a server by itself.
func (m *Master) verifyOverride(now balance.Instant, s *overrideRecord) error {
	if err := checkOverrideText(s.By, s.Reason); err != nil {
		return err
	}
	if problem := balance.BadName(string(s.Server)); problem != "" {
		return fmt.Errorf("server: %s", problem)
	}
	if err := s.problem(); err != nil {
		return err
	}
	if ahead := time.Duration(s.At-clock.Micros(now)) * time.Microsecond; ahead > maxClockAhead {
		return fmt.Errorf("by its time it will be said in %v, want at most %v ahead: set the clocks of the masters", ahead.Round(time.Second), maxClockAhead)
	}
	if m.trust == nil {
		return nil
	}
	return m.trust.VerifyStatement(overrideStatement, s.wire().Statement(), s.Proof, time.UnixMicro(s.At))
}

// problem returns what is wrong with the setting or its value; nil: nothing.
func (s *overrideRecord) problem() error {
	if problem := s.Problem(); problem != "" {
		return errors.New(problem)
	}
	return nil
}

// acceptOverride stores an override that another master ordered and a peer passes on, and sends it to all others who
// keep overrides.
func (m *Master) acceptOverride(s overrideRecord, from *conn) error {
	now := clock.Now()
	if p := m.poolNamed(s.Pool); p != nil && !p.isNewOverride(&s) {
		return nil // nearly always
	}
	if err := m.verifyOverride(now, &s); err != nil {
		return fmt.Errorf("%s of server %q of pool %q, which does not count: %w", s.Setting, clip(string(s.Server)), clip(s.Pool), err)
	}
	p := m.openPool(s.Pool) // its agents may not have reconnected yet
	if p == nil {
		return nil
	}
	p.mu.Lock()
	news := p.storeOverrideLocked(now, s.Server, s.Override)
	p.unlock()
	if news {
		m.broadcastOverride(s, from)
	}
	return nil
}

// isNewOverride reports whether no later override of the server is known.
func (p *pool) isNewOverride(s *overrideRecord) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, known := p.overrides[s.key()]
	return !known || s.Override.After(last)
}

// broadcastOverride sends an override to all who keep them, except its sender, and logs it. Drains and maintenance are logged as any other
// outage.
func (m *Master) broadcastOverride(s overrideRecord, from *conn) {
	if !s.Setting.Stops() {
		m.logOverride(&s)
	}
	frame := s.frame()
	for _, e := range m.watchersOf(s.Pool) {
		if e.conn != from {
			e.send(frame)
		}
	}
	if a := m.peers.agentOf(s.Pool, s.Server); a != nil && a.conn != from {
		a.send(frame)
	}
	m.saveOverrides()
}

func (m *Master) watchersOf(pool string) []*edge {
	f := m.peers.feedOf(pool)
	if f == nil {
		return nil
	}
	return m.peers.watchers(f, m.poolNamed(pool))
}

func (s *overrideRecord) wire() *wire.Override {
	return &wire.Override{Pool: s.Pool, Server: s.Server, Override: s.Override}
}

func (s *overrideRecord) frame() []byte { return s.wire().Append(nil) }

// sendOverrides sends an edge that begins to watch a pool the overrides of its servers.
func (e *edge) sendOverrides(p *pool) {
	p.mu.Lock()
	all := p.allOverridesLocked()
	p.mu.Unlock()
	var frames []byte
	for i := range all {
		frames = append(frames, all[i].frame()...)
	}
	if len(frames) > 0 {
		e.send(frames)
	}
}

// onOverride handles an Override that an edge kept.
func (e *edge) onOverride(payload []byte) error {
	var m wire.Override
	if err := m.Decode(payload); err != nil {
		return err
	}
	e.unlockPool()
	if p := e.master.poolNamed(m.Pool); p != nil && !e.mayUse(p) {
		return nil // it is logged
	}
	m.Own()
	if err := e.master.acceptOverride(overrideRecord{m.Pool, m.Server, m.Override}, e.conn); err != nil {
		e.faults.add(err)
	}
	return nil
}

// onOverride handles an Override that the agent kept: of its own server, once that is registered.
func (a *agent) onOverride(payload []byte) error {
	var m wire.Override
	if err := m.Decode(payload); err != nil {
		return err
	}
	if a.pool == nil || m.Pool != a.pool.name || m.Server != a.server {
		a.faults.add(fmt.Errorf("%s of server %q of pool %q, which is not this agent's", m.Override.Setting, clip(string(m.Server)), clip(m.Pool)))
		return nil
	}
	a.unlockPool()
	m.Own()
	if err := a.master.acceptOverride(overrideRecord{m.Pool, m.Server, m.Override}, a.conn); err != nil {
		a.faults.add(err)
	}
	return nil
}

// sendOverrides sends an agent that registers the overrides of its server.
func (a *agent) sendOverrides(p *pool) {
	var frames []byte
	p.mu.Lock()
	for _, setting := range balance.Settings() {
		if o, known := p.overrides[overrideKey{a.server, setting}]; known {
			frames = append(frames, (&overrideRecord{p.name, a.server, o}).frame()...)
		}
	}
	p.mu.Unlock()
	if len(frames) > 0 {
		a.send(frames)
	}
}

// keepers counts who knows an override once this master is gone.
type keepers struct {
	Edges int    `json:"edges"`
	Agent bool   `json:"agent"`
	File  string `json:"file,omitempty"` // empty: none
}

func (m *Master) keepersOf(pool string, server balance.ServerID) keepers {
	return keepers{Edges: len(m.watchersOf(pool)), Agent: m.peers.agentOf(pool, server) != nil, File: m.drainsFile}
}

// loadOverrides reads the file. A missing file is empty.
func (m *Master) loadOverrides() error {
	if m.drainsFile == "" {
		return nil
	}
	text, err := os.ReadFile(m.drainsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var all []overrideRecord
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return fmt.Errorf("drains_file %s: %w: repair it, or remove it to start with no server drained", m.drainsFile, err)
	}
	now := clock.Now()
	for _, s := range all {
		if err := m.restoreOverride(now, s); err != nil {
			return fmt.Errorf("drains_file %s: server %q of pool %q: %w", m.drainsFile, s.Server, s.Pool, err)
		}
	}
	return nil
}

// restoreOverride takes over an override from our own file, or from the process before this one. It is signed again
// if other masters would not accept it: it was stored without certificates, or under another authority.
func (m *Master) restoreOverride(now balance.Instant, s overrideRecord) error {
	s.At = min(s.At, clock.Micros(now)+maxClockAhead.Microseconds()) // otherwise the clock was set back by much
	if err := m.verifyOverride(now, &s); err != nil {
		if err := cmp.Or(checkOverrideText(s.By, s.Reason), s.problem(), m.signOverride(&s)); err != nil {
			return err
		}
	}
	if p := m.openPool(s.Pool); p != nil {
		p.mu.Lock()
		p.storeOverrideLocked(now, s.Server, s.Override)
		p.unlock()
	}
	return nil
}

// saveOverrides writes all overrides to the file, if there is one. A failure is logged.
func (m *Master) saveOverrides() {
	if m.drainsFile == "" {
		return
	}
	m.drainsFileMu.Lock()
	defer m.drainsFileMu.Unlock()
	all := make([]overrideRecord, 0)
	for _, p := range m.pools.Load().list {
		p.mu.Lock()
		all = append(all, p.allOverridesLocked()...)
		p.mu.Unlock()
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = replaceFile(m.drainsFile, append(text, '\n'))
	}
	if err != nil {
		m.log.Error("drains and overrides cannot be kept in a file: the next master may not know them", "file", m.drainsFile, "err", err)
	}
}

// replaceFile replaces a file atomically: it has its old content or the new one.
func replaceFile(name string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	if err = cmp.Or(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func (m *Master) logOverride(s *overrideRecord) {
	attrs := []any{"pool", s.Pool, "server", s.Server, "setting", s.Setting.String(), "by", cmp.Or(s.By, "an operator")}
	if s.Reason != "" {
		attrs = append(attrs, "reason", s.Reason)
	}
	if s.On {
		m.log.Info("an operator has set a server's setting", append(attrs, "value", s.Value)...)
	} else {
		m.log.Info("an operator has unset a server's setting", attrs...)
	}
}

// warnOverridden logs which values of the file a reload has changed and do not count, since operators have set others. before is what was in
// force before it.
func (m *Master) warnOverridden(p *pool, before map[balance.ServerID][]overrideBody) {
	for id, list := range p.overridesInForce() {
		for _, o := range list {
			i := slices.IndexFunc(before[id], func(b overrideBody) bool { return b.Setting == o.Setting })
			if i < 0 || o.Declared == nil || before[id][i].Declared != nil && *before[id][i].Declared == *o.Declared {
				continue
			}
			m.log.Warn("a value of the file does not count: an operator has set another; evenkeel unset ends that", "pool", p.name, "server", id,
				"setting", o.Setting, "file", *o.Declared, "set", *o.Value, "by", cmp.Or(o.By, "an operator"))
		}
	}
}

// checkOverrideText returns what is wrong with the text of an operator's order; nil: nothing.
func checkOverrideText(by, reason string) error {
	for _, t := range []struct {
		name, value string
		most        int
	}{{"by", by, maxByBytes}, {"reason", reason, wire.MaxReason}} {
		if len(t.value) > t.most {
			return fmt.Errorf("%s: %d bytes, at most %d", t.name, len(t.value), t.most)
		}
		if !printable(t.value) {
			return fmt.Errorf("%s: %q, want printable text in UTF-8", t.name, clip(t.value))
		}
	}
	return nil
}

func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 && utf8.ValidString(s)
}
