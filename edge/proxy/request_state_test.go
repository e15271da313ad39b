package proxy

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/upstream"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// oneConn returns the connection of a client with a request of a route that asks for 10 bytes a second, on a loop that does not run.
func oneConn(t *testing.T) *clientConn {
	t.Helper()
	l, err := routing.Bind(routing.Listener{Listen: "127.0.0.1:1", Routes: []routing.Route{{Pool: "p", BodyRate: 10}}}, func(string) int { return 0 })
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{cfg: Config{Bodies: limits.NewBodyMemory(1 << 20)}, deps: exchange.NewDeps(exchange.Settings{Log: slog.New(slog.DiscardHandler)}, nil)}
	w := &worker{engine: e}
	w.Now = balance.Instant(time.Hour)
	w.bodies.Memory = e.cfg.Bodies
	f := &clientConn{linkedConn: linkedConn{worker: w, service: &listenerService{engine: e, listener: l}}, req: w.takeRequest()}
	f.Loop = &w.Loop
	f.Timer.Owner = f
	f.req.Exchange.Route = l.BoundRoutes[0]
	return f
}

// A connection gives its request back when nothing of one has come, and only then.
func TestARequestIsFreeWithoutInput(t *testing.T) {
	f := oneConn(t)
	w, own := f.worker, f.req
	own.inputEnd = 1
	if f.releaseRequest(); f.req != own {
		t.Error("a request of which something has come is given back")
	}
	own.inputEnd, f.state = 0, stateReadingHead
	if f.releaseRequest(); f.req != own {
		t.Error("a request whose head is being read is given back")
	}
	f.state = stateIdle
	if f.releaseRequest(); f.req != nil || len(w.freeRequests) != 1 || w.takeRequest() != own {
		t.Error("a request of which nothing has come is not given back")
	}
	f.releaseRequest() // there is none any more
}

// Buffers up to their usual size are used again.
func TestBuffersOfARequestAreKept(t *testing.T) {
	for _, more := range []int{0, 1} {
		k := request{requestInput: requestInput{input: make([]byte, maxKeptInput+more)}, requestAnswer: requestAnswer{headPart: make([]byte, exchange.MaxInput+more), responseStarted: true, headAlone: true}}
		k.inputStart, k.inputEnd = 1, 2
		k.recycle()
		if (k.input != nil) != (more == 0) || (k.headPart != nil) != (more == 0) {
			t.Errorf("of buffers with %d bytes more than usual the input is kept %v, the head %v", more, k.input != nil, k.headPart != nil)
		}
		if k.inputStart != 0 || k.inputEnd != 0 || k.responseStarted || k.headAlone {
			t.Error("a request begins with what was of the one before")
		}
	}
}

// What fits exactly stays where it is.
func TestInputThatFitsDoesNotMove(t *testing.T) {
	k := request{requestInput: requestInput{input: make([]byte, 8), inputStart: 2, inputEnd: 4}}
	before := &k.input[0]
	if k.appendInput([]byte("abcd"), true); &k.input[0] != before || k.inputStart != 2 || k.inputEnd != 8 {
		t.Errorf("four bytes of room for four: now %d to %d of %d bytes, moved %v", k.inputStart, k.inputEnd, len(k.input), &k.input[0] != before)
	}
}

func TestFreePicksAreBounded(t *testing.T) {
	w := oneConn(t).worker
	for range maxIdlePicks + 2 {
		w.putAsyncPick(&asyncPick{worker: w, waiter: oneConn(t)})
	}
	if len(w.freeAsyncPicks) != maxIdlePicks {
		t.Errorf("%d free picks are kept, want %d", len(w.freeAsyncPicks), maxIdlePicks)
	}
}

// A pick that is not timed counts as long as the last that was; where each is told, each is timed.
func TestPickTimesAreSampled(t *testing.T) {
	for _, told := range []bool{false, true} {
		f := oneConn(t)
		f.service.listener.ServerTiming = told
		w, x := f.worker, &f.req.Exchange
		x.InitRefused(f.service.engine.deps, f.service.listener, f.peer, &f.req.Cancel)
		begun := w.Now
		x.AskedAt = begun
		w.notePickTime(x) // the first is timed
		if w.UntimedPicks != timingSample-1 || w.PickTime != w.Now.Sub(begun) || w.PickTime == 0 {
			t.Errorf("told %v: %d picks until the next is timed, and this one took %v of %v", told, w.UntimedPicks, w.PickTime, w.Now.Sub(begun))
		}
		w.Now, w.PickTime = begun, 5
		w.notePickTime(x)
		if timed := w.Now != begun; timed != told {
			t.Errorf("told %v: the second pick is timed %v", told, timed)
		} else if !timed && (w.UntimedPicks != timingSample-2 || x.AskedAt != begun.Add(-5)) {
			t.Errorf("it was asked at %v, want 5 ns before %v, and %d are left untimed", x.AskedAt, begun, w.UntimedPicks)
		}
	}
}

// A request has been received once it has gone on whole, or its body was read to the end before.
func TestWhenARequestIsReceived(t *testing.T) {
	body := func(of string) http1.Body {
		b := http1.NewBody(http1.ByLength, 3)
		if _, n, err := b.Decode([]byte(of)); err != nil || n != len(of) {
			t.Fatalf("%q: %d bytes, %v", of, n, err)
		}
		return b
	}
	for _, c := range []struct {
		complete, sent, begun bool
		body                  http1.Body
		want                  bool
	}{
		{true, false, false, body(""), true}, {false, true, false, body(""), true}, {false, false, true, body("abc"), true},
		{false, false, true, body("ab"), false}, {false, false, false, body("abc"), false}, {false, false, false, body(""), false},
	} {
		var k request
		k.Complete, k.bodySent, k.bodyStore.Begun, k.Body = c.complete, c.sent, c.begun, c.body
		if got := k.isReceived(); got != c.want {
			t.Errorf("complete %v, sent %v, read before %v, the end of the body %v: received %v, want %v", c.complete, c.sent, c.begun, c.body.Done(), got, c.want)
		}
	}
}

// What is known of a link that has broken: whether the server may have part of the request, and whether it was kept from before.
func TestFailuresOfLinks(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		err                        error
		reused, nothingSent        bool
		sent, late, notTaken, kept bool
	}{
		{broken, false, false, true, false, false, false}, {broken, true, false, true, false, false, false}, {broken, true, true, false, false, false, false},
		{os.ErrDeadlineExceeded, false, false, true, true, false, false},
		{h2conn.ErrNotTaken, false, false, false, false, true, false}, {h2conn.ErrNotTaken, true, false, false, false, true, true},
	} {
		f := oneConn(t)
		f.server = &upstream.Conn{Stream: &h2conn.ClientStream{Reused: c.reused, NothingSent: c.nothingSent}}
		f.req.sent = true
		got := f.failure(c.err)
		if got.Sent != c.sent || got.Late != c.late || got.NotTaken != c.notTaken || got.Kept != c.kept || got.Spent {
			t.Errorf("%v, reused %v, nothing sent %v: %+v", c.err, c.reused, c.nothingSent, got)
		}
		if f.req.bodyRead = 1; !f.failure(c.err).Spent {
			t.Errorf("%v: a body that has gone can be sent again", c.err)
		}
	}
}

// A client keeps pace that has sent what the route asks for.
func TestWhoKeepsPace(t *testing.T) {
	for bytes, want := range map[int64]bool{99: false, 100: true, 500: true} {
		f := oneConn(t)
		var p limits.Pace
		p.Start(f.worker.Now, time.Second)
		p.Took(bytes)
		f.worker.Now = f.worker.Now.Add(10 * time.Second)
		if f.keepsPace(&p) != want {
			t.Errorf("%d bytes in 10 s, of 10 a second: keeps pace %v, want %v", bytes, !want, want)
		}
	}
}

// An upload that has ended early is not gone on with, and the server is read.
func TestAnUploadThatEnds(t *testing.T) {
	f := oneConn(t)
	f.server, f.req.uploading = new(upstream.Conn), true
	if f.stopUpload(); f.req.uploading || !f.server.Readable {
		t.Errorf("uploading %v, the server is read %v", f.req.uploading, f.server.Readable)
	}
}

// A body that waits for memory is counted once, however often it tries.
func TestBodiesThatWaitForMemoryAreCounted(t *testing.T) {
	f := oneConn(t)
	m := f.worker.engine.cfg.Bodies
	for range 3 {
		f.awaitMemory()
	}
	if m.Waits.Load() != 1 || m.Total.Load() != 1 || len(f.worker.awaitingMemory) != 1 {
		t.Errorf("%d wait, %d have waited, the loop has %d, want 1 of each", m.Waits.Load(), m.Total.Load(), len(f.worker.awaitingMemory))
	}
	f.endMemoryWait()
	f.endMemoryWait()
	if m.Waits.Load() != 0 || m.Total.Load() != 1 || len(f.worker.awaitingMemory) != 0 || f.req.bodyStore.LastAt != f.worker.Now {
		t.Errorf("then %d wait, %d have waited, the loop has %d", m.Waits.Load(), m.Total.Load(), len(f.worker.awaitingMemory))
	}
	f.awaitMemory()
	if m.Total.Load() != 2 {
		t.Errorf("a second wait: %d have waited, want 2", m.Total.Load())
	}
}

// A body with a length for which nothing has come waits on: no server is asked for before its end.
func TestABodyWithALengthDoesNotStall(t *testing.T) {
	f := oneConn(t)
	f.req.Req.Framing, f.state = http1.ByLength, stateBufferingBody
	s := &f.req.bodyStore
	s.Begun, s.LastAt = true, f.worker.Now
	f.worker.Now = f.worker.Now.Add(2 * bodyQuiet)
	f.service.engine.cfg.BodyWindow = limits.Window
	if f.bodyLate(); f.state != stateBufferingBody || f.Timer.Due <= f.worker.Now || f.Timer.Due > s.LastAt.Add(f.service.listener.IdleTimeout) {
		t.Errorf("state %d, waits until %v, now %v, the last byte at %v", f.state, f.Timer.Due, f.worker.Now, s.LastAt)
	}
}

// Why nothing is accepted is logged at once, then no more for a while.
func TestPausedAcceptsAreLoggedNowAndThen(t *testing.T) {
	f := oneConn(t)
	var text bytes.Buffer
	f.service.engine.deps.Log = slog.New(slog.NewTextHandler(&text, nil))
	d := &acceptor{worker: f.worker, service: f.service}
	d.Timer.Owner = d
	for _, step := range []struct {
		wait time.Duration
		logs int
	}{{0, 1}, {time.Second, 1}, {fullLogEvery - time.Second, 1}, {1, 2}, {fullLogEvery, 2}, {1, 3}} {
		f.worker.Now = f.worker.Now.Add(step.wait)
		d.pauseAccept("cannot accept", "err", "none")
		if got := strings.Count(text.String(), "cannot accept"); got != step.logs || d.Timer.Due != f.worker.Now.Add(AcceptPause) {
			t.Errorf("%v later: logged %d times, want %d; goes on at %v, now %v", step.wait, got, step.logs, d.Timer.Due, f.worker.Now)
		}
	}
	text.Reset()
	d.draining, d.Timer.Due = true, 0
	f.worker.Now = f.worker.Now.Add(2 * fullLogEvery)
	if d.pauseAccept("cannot accept", "err", "none"); text.Len() > 0 || d.Timer.Due != 0 {
		t.Error("one that ends waits for places")
	}
}

// oneTunnel returns a TCP listener's connection.
func oneTunnel(t *testing.T, state tcpState) *tcpConn {
	f := oneConn(t)
	d := &tcpConn{linkedConn: linkedConn{worker: f.worker, service: f.service}, state: state}
	d.Timer.Owner, d.progress.Owner = d, tcpProgressTimer{d}
	return d
}

// A tunnel's pick ends when the master is silent, and when its client has left.
func TestWaitingTunnelsEndTheirPick(t *testing.T) {
	d := oneTunnel(t, tcpWaiting)
	ctx := d.recall.Context()
	if d.OnTimer(); ctx.Err() == nil || d.recall.ClientLeft() {
		t.Errorf("in time the pick ends with %v, the client has left %v", ctx.Err(), d.recall.ClientLeft())
	}
	d = oneTunnel(t, tcpWaiting)
	ctx = d.recall.Context()
	if d.OnReady(); ctx.Err() != nil {
		t.Error("whatever the client sends ends the pick")
	}
	d.WasReset = true
	if d.OnReady(); ctx.Err() == nil || !d.recall.ClientLeft() {
		t.Errorf("a reset ends the pick with %v, the client has left %v", ctx.Err(), d.recall.ClientLeft())
	}
}

// Progress is reported while there is a tunnel, and not looked at any more behind its end.
func TestProgressOfTunnelsEnds(t *testing.T) {
	for _, state := range []tcpState{tcpWaiting, tcpConnecting, tcpClosing, tcpClosed} {
		d := oneTunnel(t, state)
		if (tcpProgressTimer{d}).OnTimer(); d.progress.Due != 0 {
			t.Errorf("in state %d progress is looked at again at %v", state, d.progress.Due)
		}
	}
	d := oneTunnel(t, tcpTunneling)
	if d.startProgressTimer(); d.progress.Due != d.worker.Now.Add(progressFirst) {
		t.Errorf("progress is first looked at at %v, now %v", d.progress.Due, d.worker.Now)
	}
}
