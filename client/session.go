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

// habits are what suits one role.
type habits struct {
	quiet  time.Duration // a master that is silent for so long is asked to say something,
	silent time.Duration // and given up if it has not by then
	greet  time.Duration // until a Hello should have been answered
	tick   time.Duration // how often to look
	retry  time.Duration // how long to wait at most, and half of it more, to look for a master again
	buffer int           // bytes, for reading at first
}

// Edges wait for answers, and their clients with them. Agents are many and wait for
// nothing: all that a sooner notice would gain is a report. The answer to a ping costs the
// master a third of what a report does. A master that is back is to know within a second of
// the leases that edges hold, on a busy machine too.
var (
	edgeHabits  = habits{quiet: time.Second, silent: 3 * time.Second, greet: 3 * time.Second, tick: 100 * time.Millisecond, retry: 300 * time.Millisecond, buffer: 64 << 10}
	agentHabits = habits{quiet: 15 * time.Second, silent: 25 * time.Second, greet: 10 * time.Second, tick: time.Second, retry: 500 * time.Millisecond, buffer: 4 << 10}
)

// stage of a session.
type stage uint8

const (
	down     stage = iota // no connection
	greeting              // the Hello is on its way
	up                    // welcomed
	leaving               // the Goodbye is said
)

// session is what both roles say alike: Hello, Welcome, Fail, Ping, Pong. It is pure;
// the line that owns it holds the lock.
type session struct {
	habits
	hello   wire.Hello
	stage   stage
	master  string   // the id of the one that welcomed us
	elected bool     // it leads only what it says it leads
	inside  []string // where it says that it serves operators
	out     []byte   // frames to be written
	urgent  bool     // some of out should not wait for company

	epoch  uint64          // the life of the master that welcomed us last
	met    balance.Instant // when it did for the first time
	since  balance.Instant // the welcome
	heard  balance.Instant // the last byte
	pinged balance.Instant
	ticked balance.Instant
	pings  uint64
	asked  bool // an unanswered Hello was followed by what an HTTP server answers
}

var errSilent = errors.New("it says nothing")

// An HTTP server takes the Hello for the beginning of a line, and waits for more. By this it
// finds the line, and answers that it makes no sense. A master that has not welcomed us by
// then is given up in any case.
const (
	httpEnd   = "\r\n\r\n"
	httpTime  = time.Second // for the answer
	whichPort = "is this the address where a master listens for edges and agents (its listen, by default port 7400), not its admin address?"
)

// open starts a session over a new connection.
func (s *session) open(now balance.Instant) {
	s.stage, s.out, s.asked = greeting, s.out[:0], false
	s.heard, s.pinged, s.ticked = now, now, now
	s.out, s.urgent = s.hello.Append(s.out), true
}

// close ends it. What was not written is forgotten.
func (s *session) close() {
	s.stage, s.out, s.urgent = down, s.out[:0], false
}

// bye says Goodbye; nothing may be said after it.
func (s *session) bye() {
	s.out, s.urgent, s.stage = (&wire.Goodbye{}).Append(s.out), true, leaving
}

// look is called on every tick. Its error ends the connection.
func (s *session) look(now balance.Instant) error {
	if s.stage == down {
		return nil
	}
	if now.Sub(s.ticked) > s.quiet {
		s.heard = now // it was we who slept, so the silence proves nothing
	}
	s.ticked = now
	quiet := now.Sub(s.heard)
	if s.stage == greeting {
		return s.lookForWelcome(quiet)
	}
	if quiet >= s.silent {
		return fmt.Errorf("%w, for %v now", errSilent, quiet.Round(time.Second))
	}
	if s.stage == up && quiet >= s.quiet && now.Sub(s.pinged) >= s.quiet {
		s.pings++
		s.pinged, s.urgent = now, true
		s.out = (&wire.Ping{Seq: s.pings}).Append(s.out)
	}
	return nil
}

// lookForWelcome gives up a peer that does not answer the Hello for so long, but first finds
// out whether it speaks HTTP.
func (s *session) lookForWelcome(quiet time.Duration) error {
	switch {
	case quiet < s.greet:
	case !s.asked:
		s.asked, s.urgent = true, true
		s.out = append(s.out, httpEnd...)
	case quiet >= s.greet+httpTime:
		return fmt.Errorf("%w, for %v now: %s", errSilent, quiet.Round(time.Second), whichPort)
	}
	return nil
}

// role is what a session leaves to the role's own state machine.
type role interface {
	welcomed(now balance.Instant)
	frame(now balance.Instant, t wire.Type, payload []byte) error
}

// receive takes what was read and returns how much of it was used. Its error ends the
// connection: a *wire.Fail if the master gave us up, a *wire.FrameError if it makes no sense.
func (s *session) receive(now balance.Instant, buf []byte, r role) (used int, err error) {
	s.heard = now
	for {
		t, payload, size, err := wire.Next(buf[used:])
		if err != nil {
			return used, s.foreign(buf[used:], err)
		}
		if size == 0 {
			return used, nil
		}
		err = s.frame(now, t, payload, r)
		poison.Fill(payload)
		if err != nil {
			return used, err
		}
		used += size
	}
}

func (s *session) foreign(buf []byte, err error) error {
	if name := wire.Foreign(buf); name != "" && s.stage == greeting {
		return fmt.Errorf("it speaks %s, not Evenkeel's protocol: %s (%w)", name, whichPort, err)
	}
	return err
}

func (s *session) frame(now balance.Instant, t wire.Type, payload []byte, r role) error {
	switch {
	case t == wire.TFail:
		var m wire.Fail
		if err := m.Decode(payload); err != nil {
			return err
		}
		m.Detail = strings.Clone(m.Detail)
		return &m
	case s.stage == greeting:
		return s.welcome(now, t, payload, r)
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
	return r.frame(now, t, payload)
}

func (s *session) welcome(now balance.Instant, t wire.Type, payload []byte, r role) error {
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
	s.stage, s.master, s.since, s.urgent = up, strings.Clone(m.Master), now, true
	s.elected, s.inside = m.Elected, s.inside[:0]
	for _, at := range m.Inside {
		s.inside = append(s.inside, strings.Clone(at))
	}
	if m.Epoch != s.epoch {
		s.epoch, s.met = m.Epoch, now
	}
	r.welcomed(now)
	return nil
}

// unexpected is the error for a frame that a master does not send to this role. A type
// that this build does not know is none: a newer master may say more than we understand.
func unexpected(t wire.Type) error {
	if !t.Known() {
		return nil
	}
	return &wire.FrameError{What: fmt.Sprintf("%s, which a master does not send here", t)}
}
