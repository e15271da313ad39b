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

// This file keeps what operators say of servers: to drain them, or to give them work again.
//
// Edges that watch a pool and the server's agent are told. They tell the next master, and
// every other one that they are connected to; the drain that was said last counts. A file
// keeps it too, if Config.DrainsFile names one.

// mostDrains bounds the drains that a master remembers in all, beside those of servers that are in
// their pools: others may come back.
const mostDrains = 1 << 14

// mostAhead is by how much the clock of the master that was told may be ahead of ours. What is said to
// be later still would be the last word for as long.
const mostAhead = 10 * time.Minute

// longestBy bounds who says a drain, in bytes.
const longestBy = wire.MaxName

// said is a drain of a server of a pool.
type said struct {
	Pool   string           `json:"pool"`
	Server balance.ServerID `json:"server"`
	balance.Drain
}

// The methods of pool want mu held.

// drain takes up what was said of a server, which may not be in the pool yet. It reports
// whether that is new: something later may have been said before, or too much is remembered of
// servers that are not here.
func (p *pool) drain(now balance.Instant, id balance.ServerID, d balance.Drain) bool {
	last, known := p.drains[id]
	if known && !d.After(last) || !known && !p.core.Has(id) && p.remembered.Load() >= mostDrains && !p.forgetDrain() {
		return false
	}
	if !known {
		p.remembered.Add(1)
	}
	p.drains[id] = d
	if p.core.Drain(now, id, d, sinceDrained(now, d)) == nil && p.drainAgain(now, id) == nil {
		p.touch()
	}
	return true
}

// forgetDrain makes room for another server's drain: the oldest of a server that is not here and would take
// work is forgotten. It reports whether there was one.
func (p *pool) forgetDrain() bool {
	var oldest balance.ServerID
	found := false
	for id, d := range p.drains {
		if !d.On && !p.core.Has(id) && (!found || d.At < p.drains[oldest].At) {
			oldest, found = id, true
		}
	}
	if found {
		delete(p.drains, oldest)
		p.remembered.Add(-1)
	}
	return found
}

// forgetDrains locks the pool, which has been removed.
func (p *pool) forgetDrains() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remembered.Add(-int64(len(p.drains)))
	clear(p.drains)
}

// sinceDrained is d.At on the clock of Instants; now, if the time of day was set back since.
func sinceDrained(now balance.Instant, d balance.Drain) balance.Instant {
	return max(1, min(now, clock.AtMicros(d.At)))
}

// order is a drain that an operator says now: later than what was said of the server before.
func (p *pool) order(now balance.Instant, id balance.ServerID, on bool, by, reason string) balance.Drain {
	last := p.drains[id]
	if on && last.On && reason == "" {
		reason = last.Reason // to drain again without a word takes none back
	}
	return balance.Drain{On: on, At: max(clock.Micros(now), last.At+1), By: by, Reason: reason}
}

// drainsIn returns all that was said of servers of the pool, by their ids.
func (p *pool) drainsIn() (all []said) {
	for id, d := range p.drains {
		all = append(all, said{p.name, id, d})
	}
	slices.SortFunc(all, func(a, b said) int { return cmp.Compare(a.Server, b.Server) })
	return all
}

// errDrainLost says that what an operator has said of a server does not hold.
var errDrainLost = errors.New("another drain of the server was told again and again meanwhile: try again")

// say has a drain hold that an operator says now of a server, and has all who keep it know.
func (m *Master) say(p *pool, id balance.ServerID, on bool, by, reason string) (said, error) {
	for range 10 {
		now := clock.Now()
		p.mu.Lock()
		s := said{p.name, id, p.order(now, id, on, by, reason)}
		p.mu.Unlock()
		if err := m.signDrain(&s); err != nil {
			return s, err
		}
		p.mu.Lock()
		news := p.drain(now, id, s.Drain)
		p.unlock()
		if news {
			m.spread(s, nil)
			return s, nil
		}
	}
	return said{}, errDrainLost
}

// drainStatement is the kind of statements that drains are.
const drainStatement = "drain"

// signDrain has a drain prove to other masters that this one was told it. Where there are no certificates, there
// is nothing to prove it by, and all who connect are trusted.
func (m *Master) signDrain(s *said) (err error) {
	if m.trust != nil {
		s.Proof, err = m.trust.SignStatement(drainStatement, s.wire().Statement())
	}
	return err
}

// believe returns what is wrong with a drain that a peer passes on, or nil. By certificates it is
// a master's word, whichever peer carries it: an edge or an agent cannot drain a server, nor give it work again.
func (m *Master) believe(now balance.Instant, s *said) error {
	if err := checkSaid(s.By, s.Reason); err != nil {
		return err
	}
	if problem := balance.BadName(string(s.Server)); problem != "" {
		return fmt.Errorf("server: %s", problem)
	}
	if ahead := time.Duration(s.At-clock.Micros(now)) * time.Microsecond; ahead > mostAhead {
		return fmt.Errorf("by its time it will be said in %v, want at most %v ahead: set the clocks of the masters", ahead.Round(time.Second), mostAhead)
	}
	if m.trust == nil {
		return nil
	}
	return m.trust.VerifyStatement(drainStatement, s.wire().Statement(), s.Proof, time.UnixMicro(s.At))
}

// heed takes up what a peer was told of a server by another master, and has all others who keep it know.
func (m *Master) heed(s said, from *conn) error {
	now := clock.Now()
	if p := m.pool(s.Pool); p != nil && !p.isNews(&s) {
		return nil // nearly always
	}
	if err := m.believe(now, &s); err != nil {
		return fmt.Errorf("drain of server %q of pool %q, which does not count: %w", clip(string(s.Server)), clip(s.Pool), err)
	}
	p := m.openPool(s.Pool) // its agents may still be on their way back
	if p == nil {
		return nil
	}
	p.mu.Lock()
	news := p.drain(now, s.Server, s.Drain)
	p.unlock()
	if news {
		m.spread(s, from)
	}
	return nil
}

// isNews reports whether nothing later was said of the server. It locks the pool.
func (p *pool) isNews(s *said) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, known := p.drains[s.Server]
	return !known || s.After(last)
}

// spread tells those who keep drains, but for the one who told it. That the server is out
// is logged as any outage is.
func (m *Master) spread(s said, from *conn) {
	frame := s.frame()
	for _, e := range m.watchersOf(s.Pool) {
		if e.conn != from {
			e.send(frame)
		}
	}
	if a := m.peers.agent(s.Pool, s.Server); a != nil && a.conn != from {
		a.send(frame)
	}
	m.saveDrains()
}

func (m *Master) watchersOf(pool string) []*edge {
	f := m.peers.feed(pool)
	if f == nil {
		return nil
	}
	return m.peers.watchers(f, m.pool(pool))
}

func (s *said) wire() *wire.Drain {
	return &wire.Drain{Pool: s.Pool, Server: s.Server, Drain: s.Drain}
}

func (s *said) frame() []byte { return s.wire().Append(nil) }

// tellDrains sends an edge that begins to watch a pool what was said of its servers.
func (e *edge) tellDrains(p *pool) {
	p.mu.Lock()
	all := p.drainsIn()
	p.mu.Unlock()
	var frames []byte
	for i := range all {
		frames = append(frames, all[i].frame()...)
	}
	if len(frames) > 0 {
		e.send(frames)
	}
}

// drained takes a Drain that an edge kept.
func (e *edge) drained(payload []byte) error {
	var m wire.Drain
	if err := m.Decode(payload); err != nil {
		return err
	}
	e.exit()
	if p := e.master.pool(m.Pool); p != nil && !e.admitted(p) {
		return nil // and the log has it
	}
	m.Own()
	if err := e.master.heed(said{m.Pool, m.Server, m.Drain}, e.conn); err != nil {
		e.faults.add(err)
	}
	return nil
}

// drained takes a Drain that the agent kept: of its own server, once that is registered.
func (a *agent) drained(payload []byte) error {
	var m wire.Drain
	if err := m.Decode(payload); err != nil {
		return err
	}
	if a.pool == nil || m.Pool != a.pool.name || m.Server != a.server {
		a.faults.add(fmt.Errorf("drain of server %q of pool %q, which this agent does not speak for", clip(string(m.Server)), clip(m.Pool)))
		return nil
	}
	a.exit()
	m.Own()
	if err := a.master.heed(said{m.Pool, m.Server, m.Drain}, a.conn); err != nil {
		a.faults.add(err)
	}
	return nil
}

// tellDrain sends an agent that registers what was said of its server.
func (a *agent) tellDrain(p *pool) {
	p.mu.Lock()
	d, known := p.drains[a.server]
	p.mu.Unlock()
	if known {
		a.send((&said{p.name, a.server, d}).frame())
	}
}

// keepers counts those who know what was said of a server when this master is gone.
type keepers struct {
	Edges int    `json:"edges"`
	Agent bool   `json:"agent"`
	File  string `json:"file,omitempty"` // empty: none
}

func (m *Master) keepersOf(pool string, server balance.ServerID) keepers {
	return keepers{Edges: len(m.watchersOf(pool)), Agent: m.peers.agent(pool, server) != nil, File: m.drainsFile}
}

// loadDrains reads what the file says. A file that is not there yet says nothing.
func (m *Master) loadDrains() error {
	if m.drainsFile == "" {
		return nil
	}
	text, err := os.ReadFile(m.drainsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var all []said
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return fmt.Errorf("drains_file %s: %w: mend it, or remove it to start with no server drained", m.drainsFile, err)
	}
	now := clock.Now()
	for _, s := range all {
		if err := m.adoptDrain(now, s); err != nil {
			return fmt.Errorf("drains_file %s: server %q of pool %q: %w", m.drainsFile, s.Server, s.Pool, err)
		}
	}
	return nil
}

// adoptDrain takes up a drain by our own file, or by the process before this one. It is proven anew
// where other masters would not believe it: it is from a time without certificates, or of another authority.
func (m *Master) adoptDrain(now balance.Instant, s said) error {
	s.At = min(s.At, clock.Micros(now)+mostAhead.Microseconds()) // else the clock was set back by much
	if err := m.believe(now, &s); err != nil {
		if err := cmp.Or(checkSaid(s.By, s.Reason), m.signDrain(&s)); err != nil {
			return err
		}
	}
	if p := m.openPool(s.Pool); p != nil {
		p.mu.Lock()
		p.drain(now, s.Server, s.Drain)
		p.unlock()
	}
	return nil
}

// saveDrains writes what was said of all servers to the file, if there is one. One that
// cannot be written is told in the log.
func (m *Master) saveDrains() {
	if m.drainsFile == "" {
		return
	}
	m.saving.Lock()
	defer m.saving.Unlock()
	all := make([]said, 0)
	for _, p := range m.pools.Load().list {
		p.mu.Lock()
		all = append(all, p.drainsIn()...)
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

// replaceFile writes a file so that at any time it has its old content or its new one.
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

// checkSaid returns what is wrong with what an operator says, or nil.
func checkSaid(by, reason string) error {
	for _, t := range []struct {
		name, value string
		most        int
	}{{"by", by, longestBy}, {"reason", reason, wire.MaxReason}} {
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
