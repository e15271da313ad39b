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
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// This file keeps what operators order for servers: to drain them, or to give them work again.
//
// Edges that watch a pool and the server's agent are told. They tell later and other masters that they are
// connected to; the latest order counts. It is also kept in a file, if Config.DrainsFile names one.

// maxDrains bounds the remembered drains of servers that are not in their pools; these servers may come back.
const maxDrains = 1 << 14

// maxClockAhead is how far the clock of the master that took an order may be ahead of ours. An order from
// further in the future would overrule all others for as long.
const maxClockAhead = 10 * time.Minute

// maxByBytes bounds the name of who ordered a drain, in bytes.
const maxByBytes = wire.MaxName

// drainRecord is a drain of a server of a pool.
type drainRecord struct {
	Pool   string           `json:"pool"`
	Server balance.ServerID `json:"server"`
	balance.Drain
}

// storeDrainLocked stores a drain of a server, which may not be in the pool yet. It reports whether the drain
// is new: a later one may be known, or too many are remembered of servers that are not in the pool.
func (p *pool) storeDrainLocked(now balance.Instant, id balance.ServerID, d balance.Drain) bool {
	last, known := p.drains[id]
	if known && !d.After(last) || !known && !p.core.Has(id) && p.drainCount.Load() >= maxDrains && !p.forgetDrainLocked() {
		return false
	}
	if !known {
		p.drainCount.Add(1)
	}
	p.drains[id] = d
	p.noteDrainLocked(id, d, known && last.On)
	if p.core.Drain(now, id, d, drainStart(now, d)) == nil && p.reapplyDrainLocked(now, id) == nil {
		p.markChangedLocked()
	}
	return true
}

// noteDrainLocked notes an order that changes something. was says that the server was drained before.
func (p *pool) noteDrainLocked(id balance.ServerID, d balance.Drain, was bool) {
	switch {
	case d.On && !was:
		p.noteLocked(event{Kind: eventServerDrained, Server: string(id), By: d.By, What: d.Reason})
	case !d.On && was:
		p.noteLocked(event{Kind: eventServerUndrained, Server: string(id), By: d.By, What: d.Reason})
	}
}

// forgetDrainLocked makes room for another server's drain: it forgets the oldest undrain of a server that is
// not in the pool. It reports whether there was one.
func (p *pool) forgetDrainLocked() bool {
	var oldest balance.ServerID
	found := false
	for id, d := range p.drains {
		if !d.On && !p.core.Has(id) && (!found || d.At < p.drains[oldest].At) {
			oldest, found = id, true
		}
	}
	if found {
		delete(p.drains, oldest)
		p.drainCount.Add(-1)
	}
	return found
}

// forgetDrains forgets the drains of a pool that has been removed.
func (p *pool) forgetDrains() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drainCount.Add(-int64(len(p.drains)))
	clear(p.drains)
}

// drainStart returns d.At as an Instant; now, if the time of day was set back since.
func drainStart(now balance.Instant, d balance.Drain) balance.Instant {
	return max(1, min(now, clock.AtMicros(d.At)))
}

// newDrainLocked returns a drain that an operator orders now: later than any earlier one of the server.
func (p *pool) newDrainLocked(now balance.Instant, id balance.ServerID, on bool, by, reason string) balance.Drain {
	last := p.drains[id]
	if on && last.On && reason == "" {
		reason = last.Reason // draining again without a reason keeps the earlier reason
	}
	return balance.Drain{On: on, At: max(clock.Micros(now), last.At+1), By: by, Reason: reason}
}

// allDrainsLocked returns all drains of the pool, by server id.
func (p *pool) allDrainsLocked() (all []drainRecord) {
	for id, d := range p.drains {
		all = append(all, drainRecord{p.name, id, d})
	}
	slices.SortFunc(all, func(a, b drainRecord) int { return cmp.Compare(a.Server, b.Server) })
	return all
}

// errDrainLost reports that an operator's order did not take effect.
var errDrainLost = errors.New("other orders for the server came repeatedly meanwhile: try again")

// orderDrain makes an operator's drain take effect, and sends it to all who keep drains.
func (m *Master) orderDrain(p *pool, id balance.ServerID, on bool, by, reason string) (drainRecord, error) {
	for range 10 {
		now := clock.Now()
		p.mu.Lock()
		s := drainRecord{p.name, id, p.newDrainLocked(now, id, on, by, reason)}
		p.mu.Unlock()
		if err := m.signDrain(&s); err != nil {
			return s, err
		}
		p.mu.Lock()
		news := p.storeDrainLocked(now, id, s.Drain)
		p.unlock()
		if news {
			m.broadcastDrain(s, nil)
			return s, nil
		}
	}
	return drainRecord{}, errDrainLost
}

// orderDrainElsewhere makes an operator's drain of a server take effect in the other pools in which it stands.
func (m *Master) orderDrainElsewhere(list []balance.Counterpart, on bool, by, reason string) (also []placeBody, err error) {
	for _, c := range list {
		p := m.poolNamed(c.Pool)
		if p == nil {
			continue // it has just been removed
		}
		if _, err := m.orderDrain(p, c.Server, on, by, reason); err != nil {
			return also, fmt.Errorf("server %s of pool %s: %w", c.Server, c.Pool, err)
		}
		also = append(also, placeBody{c.Pool, string(c.Server)})
	}
	return also, nil
}

// drainStatement is the kind of the signed statements of drains.
const drainStatement = "drain"

// signDrain adds a proof for other masters that this one was given the order. Without certificates there is no
// proof, and all peers are trusted.
func (m *Master) signDrain(s *drainRecord) (err error) {
	if m.trust != nil {
		s.Proof, err = m.trust.SignStatement(drainStatement, s.wire().Statement())
	}
	return err
}

// verifyDrain returns what is wrong with a drain that a peer passes on; nil: nothing. With certificates it
// must be signed by a master: an edge or an agent cannot drain a server by itself.
func (m *Master) verifyDrain(now balance.Instant, s *drainRecord) error {
	if err := checkDrainText(s.By, s.Reason); err != nil {
		return err
	}
	if problem := balance.BadName(string(s.Server)); problem != "" {
		return fmt.Errorf("server: %s", problem)
	}
	if ahead := time.Duration(s.At-clock.Micros(now)) * time.Microsecond; ahead > maxClockAhead {
		return fmt.Errorf("by its time it will be said in %v, want at most %v ahead: set the clocks of the masters", ahead.Round(time.Second), maxClockAhead)
	}
	if m.trust == nil {
		return nil
	}
	return m.trust.VerifyStatement(drainStatement, s.wire().Statement(), s.Proof, time.UnixMicro(s.At))
}

// acceptDrain stores a drain that another master ordered and a peer passes on, and sends it to all others who
// keep drains.
func (m *Master) acceptDrain(s drainRecord, from *conn) error {
	now := clock.Now()
	if p := m.poolNamed(s.Pool); p != nil && !p.isNewDrain(&s) {
		return nil // nearly always
	}
	if err := m.verifyDrain(now, &s); err != nil {
		return fmt.Errorf("drain of server %q of pool %q, which does not count: %w", clip(string(s.Server)), clip(s.Pool), err)
	}
	p := m.openPool(s.Pool) // its agents may not have reconnected yet
	if p == nil {
		return nil
	}
	p.mu.Lock()
	news := p.storeDrainLocked(now, s.Server, s.Drain)
	p.unlock()
	if news {
		m.broadcastDrain(s, from)
	}
	return nil
}

// isNewDrain reports whether no later drain of the server is known.
func (p *pool) isNewDrain(s *drainRecord) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, known := p.drains[s.Server]
	return !known || s.After(last)
}

// broadcastDrain sends a drain to all who keep drains, except its sender. The outage itself is logged as any
// other.
func (m *Master) broadcastDrain(s drainRecord, from *conn) {
	frame := s.frame()
	for _, e := range m.watchersOf(s.Pool) {
		if e.conn != from {
			e.send(frame)
		}
	}
	if a := m.peers.agentOf(s.Pool, s.Server); a != nil && a.conn != from {
		a.send(frame)
	}
	m.saveDrains()
}

func (m *Master) watchersOf(pool string) []*edge {
	f := m.peers.feedOf(pool)
	if f == nil {
		return nil
	}
	return m.peers.watchers(f, m.poolNamed(pool))
}

func (s *drainRecord) wire() *wire.Drain {
	return &wire.Drain{Pool: s.Pool, Server: s.Server, Drain: s.Drain}
}

func (s *drainRecord) frame() []byte { return s.wire().Append(nil) }

// sendDrains sends an edge that begins to watch a pool the drains of its servers.
func (e *edge) sendDrains(p *pool) {
	p.mu.Lock()
	all := p.allDrainsLocked()
	p.mu.Unlock()
	var frames []byte
	for i := range all {
		frames = append(frames, all[i].frame()...)
	}
	if len(frames) > 0 {
		e.send(frames)
	}
}

// onDrain handles a Drain that an edge kept.
func (e *edge) onDrain(payload []byte) error {
	var m wire.Drain
	if err := m.Decode(payload); err != nil {
		return err
	}
	e.unlockPool()
	if p := e.master.poolNamed(m.Pool); p != nil && !e.mayUse(p) {
		return nil // it is logged
	}
	m.Own()
	if err := e.master.acceptDrain(drainRecord{m.Pool, m.Server, m.Drain}, e.conn); err != nil {
		e.faults.add(err)
	}
	return nil
}

// onDrain handles a Drain that the agent kept: of its own server, once that is registered.
func (a *agent) onDrain(payload []byte) error {
	var m wire.Drain
	if err := m.Decode(payload); err != nil {
		return err
	}
	if a.pool == nil || m.Pool != a.pool.name || m.Server != a.server {
		a.faults.add(fmt.Errorf("drain of server %q of pool %q, which is not this agent's", clip(string(m.Server)), clip(m.Pool)))
		return nil
	}
	a.unlockPool()
	m.Own()
	if err := a.master.acceptDrain(drainRecord{m.Pool, m.Server, m.Drain}, a.conn); err != nil {
		a.faults.add(err)
	}
	return nil
}

// sendDrain sends an agent that registers the drain of its server.
func (a *agent) sendDrain(p *pool) {
	p.mu.Lock()
	d, known := p.drains[a.server]
	p.mu.Unlock()
	if known {
		a.send((&drainRecord{p.name, a.server, d}).frame())
	}
}

// drainKeepers counts who knows a drain once this master is gone.
type drainKeepers struct {
	Edges int    `json:"edges"`
	Agent bool   `json:"agent"`
	File  string `json:"file,omitempty"` // empty: none
}

func (m *Master) drainKeepersOf(pool string, server balance.ServerID) drainKeepers {
	return drainKeepers{Edges: len(m.watchersOf(pool)), Agent: m.peers.agentOf(pool, server) != nil, File: m.drainsFile}
}

// loadDrains reads the file. A missing file is empty.
func (m *Master) loadDrains() error {
	if m.drainsFile == "" {
		return nil
	}
	text, err := os.ReadFile(m.drainsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var all []drainRecord
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return fmt.Errorf("drains_file %s: %w: repair it, or remove it to start with no server drained", m.drainsFile, err)
	}
	now := clock.Now()
	for _, s := range all {
		if err := m.restoreDrain(now, s); err != nil {
			return fmt.Errorf("drains_file %s: server %q of pool %q: %w", m.drainsFile, s.Server, s.Pool, err)
		}
	}
	return nil
}

// restoreDrain takes over a drain from our own file, or from the process before this one. It is signed again
// if other masters would not accept it: it was stored without certificates, or under another authority.
func (m *Master) restoreDrain(now balance.Instant, s drainRecord) error {
	s.At = min(s.At, clock.Micros(now)+maxClockAhead.Microseconds()) // otherwise the clock was set back by much
	if err := m.verifyDrain(now, &s); err != nil {
		if err := cmp.Or(checkDrainText(s.By, s.Reason), m.signDrain(&s)); err != nil {
			return err
		}
	}
	if p := m.openPool(s.Pool); p != nil {
		p.mu.Lock()
		p.storeDrainLocked(now, s.Server, s.Drain)
		p.unlock()
	}
	return nil
}

// saveDrains writes all drains to the file, if there is one. A failure is logged.
func (m *Master) saveDrains() {
	if m.drainsFile == "" {
		return
	}
	m.drainsFileMu.Lock()
	defer m.drainsFileMu.Unlock()
	all := make([]drainRecord, 0)
	for _, p := range m.pools.Load().list {
		p.mu.Lock()
		all = append(all, p.allDrainsLocked()...)
		p.mu.Unlock()
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = replaceFile(m.drainsFile, append(text, '\n'))
	}
	if err != nil {
		m.log.Error("drains cannot be kept in a file: the next master may not know them", "file", m.drainsFile, "err", err)
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

// checkDrainText returns what is wrong with the text of an operator's order; nil: nothing.
func checkDrainText(by, reason string) error {
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
