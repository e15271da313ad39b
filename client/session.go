package client

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/poison"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// roleParams are the times and sizes of one role.
type roleParams struct {
	pingAfter      time.Duration // silence after which the master is pinged
	silenceTimeout time.Duration // silence after which the connection is given up
	helloTimeout   time.Duration // for the answer to the Hello
	tick           time.Duration // interval of checkIdle
	maxRetry       time.Duration // upper bound of the wait before a reconnect, before jitter
	bufferSize     int           // initial size of the read buffer, in bytes
}

// An edge's clients wait for answers, so an edge notices a lost master soon. Agents are many and wait for
// nothing; noticing sooner would only save a report, and answering a ping costs the master a third of a
// report. A restarted master has to learn within a second of the leases that edges hold, on a busy machine
// too.
var (
	edgeParams  = roleParams{pingAfter: time.Second, silenceTimeout: 3 * time.Second, helloTimeout: 3 * time.Second, tick: 100 * time.Millisecond, maxRetry: 300 * time.Millisecond, bufferSize: 64 << 10}
	agentParams = roleParams{pingAfter: 15 * time.Second, silenceTimeout: 25 * time.Second, helloTimeout: 10 * time.Second, tick: time.Second, maxRetry: 500 * time.Millisecond, bufferSize: 4 << 10}
)

// stage is the state of a session.
type stage uint8

const (
	disconnected    stage = iota // no connection
	awaitingWelcome              // the Hello is sent
	connected                    // the Welcome has come
	closing                      // the Goodbye is sent
)

// session is the part of the protocol that both roles share: Hello, Welcome, Fail, Ping, Pong. It does no I/O;
// the connLoop that owns it holds the lock.
type session struct {
	roleParams
	hello          wire.Hello
	stage          stage
	master         string   // id of the connected master
	elected        bool     // the master leads only the pools that it says it leads
	recalls        bool     // the master takes snapshots of the master before
	tellsEnds      bool     // the master tells agents of the ends of leases
	takesOverrides bool     // the master takes overrides of all settings, not of drains only
	inside         []string // where the master serves operators
	out            []byte   // encoded frames, not yet written
	urgent         bool     // out should be written at once

	epoch        uint64          // identifies the process of the master that answered last
	firstWelcome balance.Instant // when that process answered first
	welcomedAt   balance.Instant // when the Welcome came
	lastReceived balance.Instant // when the last byte came
	lastPing     balance.Instant
	lastTick     balance.Instant
	pings        uint64
	httpProbed   bool // an unanswered Hello was followed by httpEnd
}

var errSilent = errors.New("it is silent")

// An HTTP server takes the Hello for an incomplete request line and waits for more. These bytes end the line,
// so it answers with an error. A master that has not answered by then is given up in any case.
const (
	httpEnd     = "\r\n\r\n"
	httpTimeout = time.Second // for that answer
	whichPort   = "is this the address where a master listens for edges and agents (its listen, by default port 7400), not its admin address?"
)

// open starts a session over a new connection.
func (s *session) open(now balance.Instant) {
	s.stage, s.out, s.httpProbed = awaitingWelcome, s.out[:0], false
	s.lastReceived, s.lastPing, s.lastTick = now, now, now
	s.out, s.urgent = s.hello.Append(s.out), true
}

// close ends the session and drops what was not written.
func (s *session) close() {
	s.stage, s.out, s.urgent = disconnected, s.out[:0], false
}

// sendGoodbye ends the sending side: nothing may follow.
func (s *session) sendGoodbye() {
	s.out, s.urgent, s.stage = (&wire.Goodbye{}).Append(s.out), true, closing
}

// checkIdle is called on every tick. Its error ends the connection.
func (s *session) checkIdle(now balance.Instant) error {
	if s.stage == disconnected {
		return nil
	}
	if now.Sub(s.lastTick) > s.pingAfter {
		s.lastReceived = now // this process was suspended, so the silence proves nothing
	}
	s.lastTick = now
	quiet := now.Sub(s.lastReceived)
	if s.stage == awaitingWelcome {
		return s.checkWelcome(quiet)
	}
	if quiet >= s.silenceTimeout {
		return fmt.Errorf("%w, for %v now", errSilent, quiet.Round(time.Second))
	}
	if s.stage == connected && quiet >= s.pingAfter && now.Sub(s.lastPing) >= s.pingAfter {
		s.pings++
		s.lastPing, s.urgent = now, true
		s.out = (&wire.Ping{Seq: s.pings}).Append(s.out)
	}
	return nil
}

// checkWelcome gives up a peer that does not answer the Hello, but first finds out whether it speaks HTTP.
func (s *session) checkWelcome(quiet time.Duration) error {
	switch {
	case quiet < s.helloTimeout:
	case !s.httpProbed:
		s.httpProbed, s.urgent = true, true
		s.out = append(s.out, httpEnd...)
	case quiet >= s.helloTimeout+httpTimeout:
		return fmt.Errorf("%w, for %v now: %s", errSilent, quiet.Round(time.Second), whichPort)
	}
	return nil
}

// role is the part of the protocol that differs by role.
type role interface {
	onWelcomed(now balance.Instant)
	onRoleFrame(now balance.Instant, t wire.Type, payload []byte) error
}

// receive handles the complete frames in buf and returns how many bytes they were. Its error ends the
// connection: a *wire.Fail sent by the master, or a *wire.FrameError if the master broke the protocol.
func (s *session) receive(now balance.Instant, buf []byte, r role) (used int, err error) {
	s.lastReceived = now
	for {
		t, payload, size, err := wire.Next(buf[used:])
		if err != nil {
			return used, s.foreignProtocol(buf[used:], err)
		}
		if size == 0 {
			return used, nil
		}
		err = s.onFrame(now, t, payload, r)
		poison.Fill(payload)
		if err != nil {
			return used, err
		}
		used += size
	}
}

func (s *session) foreignProtocol(buf []byte, err error) error {
	if name := wire.Foreign(buf); name != "" && s.stage == awaitingWelcome {
		return fmt.Errorf("it speaks %s, not Evenkeel's protocol: %s (%w)", name, whichPort, err)
	}
	return err
}

func (s *session) onFrame(now balance.Instant, t wire.Type, payload []byte, r role) error {
	switch {
	case t == wire.TFail:
		var m wire.Fail
		if err := m.Decode(payload); err != nil {
			return err
		}
		m.Detail = strings.Clone(m.Detail)
		return &m
	case s.stage == awaitingWelcome:
		return s.onWelcome(now, t, payload, r)
	case t == wire.TPing:
		var m wire.Ping
		if err := m.Decode(payload); err != nil {
			return err
		}
		s.out, s.urgent = (&wire.Pong{Seq: m.Seq}).Append(s.out), true
		return nil
	case t == wire.TPong:
		return nil
	}
	return r.onRoleFrame(now, t, payload)
}

func (s *session) onWelcome(now balance.Instant, t wire.Type, payload []byte, r role) error {
	if t != wire.TWelcome {
		return &wire.FrameError{What: fmt.Sprintf("%s, want the welcome first", t)}
	}
	var m wire.Welcome
	if err := m.Decode(payload); err != nil {
		return err
	}
	if m.Version < s.hello.Min || m.Version > s.hello.Max {
		return &wire.FrameError{What: fmt.Sprintf("welcome to version %d, but only %d to %d were offered", m.Version, s.hello.Min, s.hello.Max)}
	}
	s.stage, s.master, s.welcomedAt, s.urgent = connected, strings.Clone(m.Master), now, true
	s.elected, s.recalls, s.tellsEnds, s.takesOverrides, s.inside = m.Elected, m.Recalls, m.Ends, m.Overrides, s.inside[:0]
	for _, at := range m.Inside {
		s.inside = append(s.inside, strings.Clone(at))
	}
	if m.Epoch != s.epoch {
		s.epoch, s.firstWelcome = m.Epoch, now
	}
	r.onWelcomed(now)
	return nil
}

// unexpected returns the error for a frame that a master does not send to this role. A type that this build
// does not know is ignored: a newer master may send more than we understand.
func unexpected(t wire.Type) error {
	if !t.Known() {
		return nil
	}
	return &wire.FrameError{What: fmt.Sprintf("%s, which a master does not send here", t)}
}
