package h2conn

import (
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
)

const (
	begun     = balance.Instant(1000 * time.Second)
	headerIn  = 10 * time.Second
	idleIn    = 75 * time.Second
	connectIn = 2 * time.Second
)

// told is a Handler and a Keeper that count what they are told.
type told struct{ errors, ended int }

func (t *told) NewStream(Opening, []byte) {}
func (t *told) HeldBack()                 {}
func (t *told) ProtocolError(error)       { t.errors++ }
func (t *told) ConnClosed()               { t.ended++ }
func (t *told) Opened(int)                {}
func (t *told) Drained(*ClientConn)       { t.ended++ }

func newLoop() *Shared {
	l := new(eventloop.Loop)
	l.Now = begun
	return &Shared{Loop: l}
}

// newServerConn returns a connection whose client has sent SETTINGS and has a stream.
func newServerConn(t *told) *ServerConn {
	k := new(ServerConn)
	k.Init(newLoop(), &ServerConfig{HeaderLimit: 1 << 10, HeaderTimeout: headerIn, IdleTimeout: idleIn}, t, 0)
	k.Conn.Loop, k.gotSettings, k.streams = k.shared.Loop, true, []*ServerStream{{}}
	k.heardAt, k.progressAt, k.idleAt = begun, begun, begun
	return k
}

// waitsToSend has the peer take nothing of a byte that is to be sent.
func (k *conn) waitsToSend() { _, _ = k.sendBuf.Write(&k.Conn, []byte("x")) }

func TestWhatAClientsConnectionWaitsFor(t *testing.T) {
	const soon = begun + balance.Instant(time.Second)
	for what, c := range map[string]struct {
		is   func(*ServerConn)
		due  balance.Instant
		want timeout
	}{
		"a byte":                       {func(*ServerConn) {}, begun.Add(pingAfter), quietTimeout},
		"the answer to PING":           {func(k *ServerConn) { k.pingAt = begun }, begun.Add(pingWait), pingTimeout},
		"a stream":                     {func(k *ServerConn) { k.streams = nil }, begun.Add(idleIn), idleTimeout},
		"the preface":                  {func(k *ServerConn) { k.gotSettings = false }, begun.Add(headerIn), beginTimeout},
		"a header block":               {func(k *ServerConn) { k.block.stream, k.block.startedAt = 1, begun.Add(time.Second) }, begun.Add(time.Second + headerIn), beginTimeout},
		"the client to read":           {func(k *ServerConn) { k.pingAt, k.heardAt = 0, begun.Add(time.Hour); k.waitsToSend() }, begun.Add(idleIn), writeTimeout},
		"reading to go on":             {func(k *ServerConn) { k.resumeAt = soon }, soon, resumeTimeout},
		"a discarded body":             {func(k *ServerConn) { k.discarded.add(begun, 1, 0) }, begun.Add(LingerQuiet), discardTimeout},
		"the end of its grace":         {func(k *ServerConn) { k.endAt = soon }, soon, endTimeout},
		"streams to end":               {func(k *ServerConn) { k.endAt, k.state = soon, serverDraining }, begun.Add(pingAfter), quietTimeout},
		"the end of lingering":         {func(k *ServerConn) { k.endAt, k.state, k.streams = soon, serverLingering, nil }, soon, endTimeout},
		"nothing, once all is sent":    {func(k *ServerConn) { k.state = serverFlushing }, 0, 0},
		"the client to read the end":   {func(k *ServerConn) { k.state = serverFlushing; k.waitsToSend() }, begun.Add(idleIn), writeTimeout},
		"the first of several to come": {func(k *ServerConn) { k.endAt, k.resumeAt = begun.Add(time.Minute), soon }, soon, resumeTimeout},
	} {
		k := newServerConn(new(told))
		c.is(k)
		if due, got := k.nextTimeout(); due != c.due || due != 0 && got != c.want {
			t.Errorf("%s: timeout %d after %v, want %d after %v", what, got, due.Sub(begun), c.want, c.due.Sub(begun))
		}
	}
}

func TestWhatHappensWhenAClientIsLate(t *testing.T) {
	for what, c := range map[string]struct {
		is            func(*ServerConn)
		state         serverState
		errors, ended int
		sent          bool // frames
	}{
		"a silent client is sent PING":              {func(*ServerConn) {}, serverOpen, 0, 0, true},
		"one that does not answer is gone":          {func(k *ServerConn) { k.pingAt, k.streams = begun, nil; k.streams = []*ServerStream{{ended: true}} }, serverClosed, 0, 0, false},
		"an idle connection is drained":             {func(k *ServerConn) { k.streams = nil }, serverDraining, 0, 0, true},
		"what was begun must come":                  {func(k *ServerConn) { k.gotSettings, k.streams = false, nil }, serverFlushing, 1, 0, true},
		"one that does not read is gone":            {func(k *ServerConn) { k.streams = nil; k.idleAt = begun.Add(time.Hour); k.waitsToSend() }, serverClosed, 0, 1, false},
		"a drain begins when its grace is over":     {func(k *ServerConn) { k.endAt = begun.Add(time.Second) }, serverDraining, 0, 0, true},
		"lingering ends":                            {func(k *ServerConn) { k.endAt, k.state, k.streams = begun.Add(time.Second), serverLingering, nil }, serverClosed, 0, 1, false},
		"the stream of a discarded body is reset":   {func(k *ServerConn) { k.discarded.add(begun, 1, 0) }, serverOpen, 0, 0, true},
		"reading goes on, and nothing else happens": {func(k *ServerConn) { k.resumeAt = begun.Add(time.Second) }, serverOpen, 0, 0, false},
	} {
		h := new(told)
		k := newServerConn(h)
		c.is(k)
		due, _ := k.nextTimeout()
		before := k.state
		k.Loop.Now = due - 1
		if k.OnTimer(); k.state != before || len(k.frames) > 0 || k.resumeAt == 0 && k.Deferred {
			t.Errorf("%s: it happens before its time", what)
		}
		k.Loop.Now = due
		if k.OnTimer(); k.state != c.state || h.errors != c.errors || h.ended != c.ended || len(k.frames) > 0 != c.sent {
			t.Errorf("%s: state %d, %d errors, %d ends, frames are sent: %v; want %d, %d, %d, %v", what, k.state, h.errors, h.ended, len(k.frames) > 0, c.state, c.errors, c.ended, c.sent)
		}
		if k.resumeAt != 0 {
			t.Errorf("%s: reading does not go on", what)
		}
	}
}

func TestWhatHappensWhenAServerIsLate(t *testing.T) {
	for what, c := range map[string]struct {
		is    func(*ClientConn)
		after time.Duration
		state clientState
		ended int
		sent  bool
	}{
		"SETTINGS must come":                  {func(k *ClientConn) { k.state = clientAwaitingSettings }, connectIn, clientClosed, 1, false},
		"a server that takes nothing is gone": {func(k *ClientConn) { k.active = 1; k.waitsToSend() }, idleIn, clientClosed, 1, false},
		"an idle connection is drained":       {func(*ClientConn) {}, idleIn, clientDraining, 1, true},
		"a silent server is sent PING":        {func(k *ClientConn) { k.active = 1 }, pingAfter, clientOpen, 0, true},
		"one that does not answer is gone":    {func(k *ClientConn) { k.active, k.pingAt = 1, begun }, pingWait, clientClosed, 1, false},
	} {
		h, shared := new(told), newLoop()
		k := new(ClientConn)
		k.Init(shared, &ClientConfig{ConnectTimeout: connectIn, IdleTimeout: idleIn}, h, 0)
		k.state, k.heardAt, k.progressAt = clientOpen, begun, begun
		c.is(k)
		before := k.state
		k.Loop.Now = begun.Add(c.after) - 1
		if k.OnTimer(); k.state != before || len(k.frames) > 0 {
			t.Errorf("%s: it happens before its time", what)
		}
		k.Loop.Now = begun.Add(c.after)
		if k.OnTimer(); k.state != c.state || h.ended != c.ended || len(k.frames) > 0 != c.sent {
			t.Errorf("%s: state %d, %d ends, frames are sent: %v; want %d, %d, %v", what, k.state, h.ended, len(k.frames) > 0, c.state, c.ended, c.sent)
		}
	}
}
