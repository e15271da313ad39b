package proxy

import (
	"bytes"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/bodies"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/edge/upstream"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// answers is a transport whose peer sends nothing and takes all.
type answers struct {
	bytes.Buffer
	closed bool
}

func (a *answers) ReadStream([]byte) (int, error) { return 0, syscall.EAGAIN }

func (a *answers) WriteStream(p []byte) int {
	n, _ := a.Write(p)
	return n
}

func (a *answers) CloseStream() { a.closed = true }

// accepted makes a connection count as one that a listener has accepted, of one client that may have two.
func accepted(f *clientConn) {
	f.service.engine.cfg.Places = new(limits.Places)
	f.service.engine.cfg.Places.Take()
	f.service.conns.Add(1)
	f.worker.clientConns.Add(1)
}

// wantGone fails when a connection still counts as one of a listener's.
func wantGone(t *testing.T, what string, f *clientConn) {
	t.Helper()
	f.service.conns.Wait()
	if n := f.service.engine.cfg.Places.Taken(); n != 0 || f.worker.clientConns.Load() != 0 {
		t.Errorf("%s: %d places are taken, the loop counts %d connections", what, n, f.worker.clientConns.Load())
	}
}

// What a closed connection leaves is a request that knows nothing of it: its body would be sent with that of another client.
func TestAClosedConnectionLeavesNothingOfItsBody(t *testing.T) {
	f := oneConn(t)
	accepted(f)
	w, own := f.worker, f.req
	own.bodyCopy.Add(&w.bodies, []byte("secret"))
	own.bodyStore.Begun = true
	if !own.bodyStore.Grow(&w.bodies, 0) {
		t.Fatal("no memory for a body")
	}
	own.bodyStore.Filled(copy(own.bodyStore.Free()[:6], "secret"))
	f.close()
	if f.state != stateClosed || len(w.freeRequests) != 1 || w.takeRequest() != own {
		t.Fatalf("state %d: the request is not given back", f.state)
	}
	if len(own.bodyCopy.Bytes) != 0 || own.bodyStore.Begun || len(own.bodyStore.Bufs) != 0 || f.service.engine.cfg.Bodies.Used() != 0 {
		t.Errorf("it has %q and %d buffers, %d bytes are taken", own.bodyCopy.Bytes, len(own.bodyStore.Bufs), f.service.engine.cfg.Bodies.Used())
	}
	wantGone(t, "closed", f)
	f.close() // it is closed
}

// A connection whose descriptor cannot be used counts no more.
func TestConnectionsThatCannotBegin(t *testing.T) {
	f := oneConn(t)
	w, err := newWorker(f.service.engine)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Shutdown()
	f.worker = w
	client := netip.MustParseAddrPort("192.0.2.1:1")
	for what, begin := range map[string]func(){
		"HTTP": func() { w.addClient(f.service, new(fd.FD), client.Addr(), nil, nil, nil) },
		"TCP":  func() { w.addTCPClient(f.service, new(fd.FD), client) },
		"a handshake": func() {
			w.clientConns.Add(-1)
			f.service.handshakeInBackground(new(fd.FD), client.Addr(), client.Addr())
		},
	} {
		if err := f.service.listener.LimitConn(client.Addr()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		accepted(f)
		begin()
		wantGone(t, what, f)
	}
}

// A burst of requests is noted once it pays to return its memory.
func TestRequestsBeyondTheBoundAreNotKept(t *testing.T) {
	w := oneConn(t).worker
	w.trimmer.worker, w.trimmer.Owner = w, &w.trimmer
	for range maxFreeRequests {
		w.putRequest(new(request))
	}
	if w.trimmer.dropped != 0 {
		t.Errorf("%d of %d are not kept", w.trimmer.dropped, maxFreeRequests)
	}
	for i := range trimThreshold {
		if w.trimmer.Due != 0 {
			t.Fatalf("memory is to be returned after %d requests", i)
		}
		w.putRequest(new(request))
	}
	if len(w.freeRequests) != maxFreeRequests || w.trimmer.dropped != trimThreshold || w.trimmer.Due != w.Now.Add(trimAfter) {
		t.Errorf("%d are kept, %d are not, memory is returned at %v, now %v", len(w.freeRequests), w.trimmer.dropped, w.trimmer.Due, w.Now)
	}
}

// As much is read before a server is asked for as the route says, and no byte more.
func TestWhenABodyIsBuffered(t *testing.T) {
	f := oneConn(t)
	k := f.req
	most := k.Exchange.Route.BufferRequest
	k.Body = http1.NewBody(http1.ByLength, 1<<40)
	for _, c := range []struct {
		stored    int64
		behind    int // the head
		want      bool
		remaining int64
	}{{0, 0, false, most}, {most - 1, 0, false, 1}, {most - 2, 1, false, 1}, {most, 0, true, 1}, {most - 1, 1, true, 1}, {most, 1, true, 1}} {
		k.bodyStore.Size, k.BodyInBuf = c.stored, c.behind
		if got := f.buffered(); got != c.want || f.toBuffer() != c.remaining {
			t.Errorf("%d bytes stored, %d behind the head, of %d: buffered %v, %d to come, want %v, %d", c.stored, c.behind, most, got, f.toBuffer(), c.want, c.remaining)
		}
	}
}

// How long nothing may come depends on whether a message is awaited.
func TestHowLongABodyMayBeQuiet(t *testing.T) {
	f := oneConn(t)
	if f.mayStall() || f.quietTime() != bodyQuiet || f.silent() {
		t.Errorf("without a body: may stall %v, quiet for %v, silent %v", f.mayStall(), f.quietTime(), f.silent())
	}
	f.req.Req.Framing = http1.ByChunks
	if !f.mayStall() {
		t.Error("a body without a length may not stall")
	}
	f.req.Exchange.Route.AwaitsMessage = true
	if f.quietTime() != messageQuiet {
		t.Errorf("a stream of messages may be quiet for %v, want %v", f.quietTime(), messageQuiet)
	}
	if f.req.bodyStore.FirstMessage = 7; f.silent() {
		t.Error("a stream whose first message has begun is silent")
	}
}

// A body that waits for memory ends with its client.
func TestABodyOfAClientThatHasLeftDoesNotWait(t *testing.T) {
	f := oneConn(t)
	accepted(f)
	sink := new(answers)
	f.BeginStream(f.Loop, sink, f)
	f.req.Exchange.InitRefused(f.service.engine.deps, f.service.listener, f.peer, &f.req.Cancel)
	f.WasReset = true
	f.awaitMemory()
	if f.state != stateClosed || !sink.closed || f.worker.engine.cfg.Bodies.Waits.Load() != 0 || len(f.worker.awaitingMemory) != 0 {
		t.Errorf("state %d, closed %v, %d wait, the loop has %d", f.state, sink.closed, f.worker.engine.cfg.Bodies.Waits.Load(), len(f.worker.awaitingMemory))
	}
	wantGone(t, "reset", f)
}

// What was stored of a body is given back when it cannot be sent again.
func TestWhenAStoredBodyIsReleased(t *testing.T) {
	for _, c := range []struct {
		what           string
		answered, sent bool
		method         string
		stream         bool
		scarce         bool
		want           bool
	}{
		{"it may be sent again", false, true, "GET", false, false, false},
		{"nothing was sent", false, false, "POST", false, false, false},
		{"a server of HTTP/2 may not have taken it", false, true, "POST", true, false, false},
		{"it may not be sent again", false, true, "POST", false, false, true},
		{"it is answered", true, true, "GET", false, false, true},
		{"memory is scarce", false, true, "GET", false, true, true},
	} {
		f := oneConn(t)
		f.server = new(upstream.Conn)
		if f.server.SentBefore = 0; c.sent {
			f.server.SentBytes = 1
		}
		if c.stream {
			f.server.Stream = new(h2conn.ClientStream)
		}
		k := f.req
		k.responseStarted, k.sent, k.Exchange.Head.Method = c.answered, c.sent, c.method
		k.bodyStore.Begun = true
		if !k.bodyStore.Grow(&f.worker.bodies, 0) {
			t.Fatal("no memory for a body")
		}
		k.bodyStore.Filled(1)
		if m := f.worker.bodies.Memory; c.scarce {
			for other := balance.ClientPrefix(2); !m.Scarce() && m.Take(other, bodies.LargeBuf, nil); other++ {
			}
		}
		if f.releaseBody(); k.bodyStore.Freed != c.want {
			t.Errorf("%s: released %v, want %v", c.what, k.bodyStore.Freed, c.want)
		}
	}
}

// A client is told where its request stands while that waits for a server, and then no more.
func TestWhenAClientIsToldThatItsRequestWaits(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(f *clientConn)
		told   bool
	}{
		{"it waits", func(*clientConn) {}, true},
		{"another request has come", func(f *clientConn) { f.req = f.worker.takeRequest() }, false},
		{"it is answered", func(f *clientConn) { f.state = stateFlushing }, false},
		{"it connects", func(f *clientConn) { f.server = new(upstream.Conn) }, false},
		{"the client has left", func(f *clientConn) { f.req.Cancel.Cancel(exchange.ErrClientLeft) }, false},
	} {
		f := oneConn(t)
		sink := new(answers)
		f.BeginStream(f.Loop, sink, f)
		f.service.engine.cfg.WaitEvery = time.Second
		k := f.req
		k.Exchange.InitRefused(f.service.engine.deps, f.service.listener, f.peer, &k.Cancel)
		k.Exchange.Route = f.service.listener.BoundRoutes[0]
		k.Exchange.Route.WhileWaiting, k.Req.Minor, f.state = "103", 1, stateWaiting
		if k.waiting.start(f); k.waiting.Due != f.worker.Now.Add(time.Second) {
			t.Fatalf("%s: told at %v, now %v", c.what, k.waiting.Due, f.worker.Now)
		}
		f.worker.Now = k.waiting.Due
		c.change(f)
		k.waiting.OnTimer()
		if told := strings.HasPrefix(sink.String(), "HTTP/1.1 103 "); told != c.told || (sink.Len() > 0) != c.told || (k.waiting.Due > f.worker.Now) != c.told {
			t.Errorf("%s: told %q, then at %v, now %v", c.what, sink.String(), k.waiting.Due, f.worker.Now)
		}
	}
}

// A server owes a response when it has the request, or does not take it.
func TestWhatServersOwe(t *testing.T) {
	f := oneConn(t)
	if !f.serverOwes() {
		t.Error("a request that has no server yet waits for no peer")
	}
	f.server = new(upstream.Conn)
	if !f.serverOwes() {
		t.Error("a request that is not sent waits for no peer")
	}
	if f.req.sent = true; !f.serverOwes() {
		t.Error("a request that is sent waits for no peer")
	}
	if f.req.uploading = true; f.serverOwes() {
		t.Error("the server owes a response to a request that is still to come")
	}
	if !f.req.bodyStore.Grow(&f.worker.bodies, 0) {
		t.Fatal("no memory for a body")
	}
	if f.req.bodyStore.Filled(1); !f.serverOwes() {
		t.Error("the server does not take what is there of the body, and owes nothing")
	}
}

// When what is next expected of a link must have come.
func TestTimesOfLinks(t *testing.T) {
	const idle, connect, response = time.Hour, 3 * time.Second, time.Minute
	for _, c := range []struct {
		what   string
		change func(f *clientConn)
		want   time.Duration // from the beginning of the wait; zero: never
	}{
		{"it connects", func(f *clientConn) { f.server.Connecting = true }, connect},
		{"it uploads", func(f *clientConn) { f.req.uploading = true; f.req.Exchange.Route.BodyRate = 0 }, idle},
		{"it uploads at a rate", func(f *clientConn) { f.req.uploading = true }, limits.Window + time.Second},
		{"it awaits the response", func(*clientConn) {}, response},
		{"it is answered", func(f *clientConn) { f.req.responseStarted = true }, 0},
		{"its client leaves", func(f *clientConn) { f.leaving, f.req.clientGoneAt = true, f.worker.Now.Add(time.Millisecond) }, time.Second + time.Millisecond},
		{"its client leaves later", func(f *clientConn) { f.leaving, f.req.clientGoneAt = true, f.worker.Now.Add(idle) }, response},
	} {
		f := oneConn(t)
		e := f.service.engine
		e.cfg.ConnectTimeout, e.cfg.ResponseTimeout, e.cfg.BodyWindow = connect, response, limits.Window
		f.service.listener.IdleTimeout = idle
		f.BeginStream(f.Loop, new(answers), f)
		f.server, f.state = new(upstream.Conn), stateForwarding
		f.req.Req.Framing = http1.ByLength
		f.req.waitingSince = f.worker.Now
		f.worker.Now = f.worker.Now.Add(time.Second)
		c.change(f)
		want := balance.Instant(0)
		if c.want > 0 {
			want = f.req.waitingSince.Add(c.want)
		}
		if f.setLinkTimeout(); f.Timer.Due != want {
			t.Errorf("%s: due at %v, want %v, %v later", c.what, f.Timer.Due, want, c.want)
		}
	}
}

// A tunnel's connection counts for its client once it is limited, and its server has so long to be connected to.
func TestTunnelsThatBegin(t *testing.T) {
	d := oneTunnel(t, tcpReadingProxyHeader)
	d.proxied.Source = netip.MustParseAddrPort("192.0.2.1:1")
	if a := d.limitAddr(); a.IsValid() {
		t.Errorf("before its PROXY header a connection counts for %v", a)
	}
	if d.limited = true; d.limitAddr() != d.proxied.Source.Addr() {
		t.Errorf("it counts for %v, want %v", d.limitAddr(), d.proxied.Source.Addr())
	}
	d.service.engine.cfg.ConnectTimeout = 3 * time.Second
	b := &upstream.Conn{Connecting: true}
	b.Loop = d.Loop
	if d.setServer(b); d.state != tcpConnecting || d.Timer.Due != d.worker.Now.Add(3*time.Second) || b.Conn.Owner != d {
		t.Errorf("state %d, due at %v, now %v", d.state, d.Timer.Due, d.worker.Now)
	}
}

// A request whose client prefers a later answer is not begun by an edge that stops.
func TestAnEdgeThatStopsKeepsNoMore(t *testing.T) {
	f := oneConn(t)
	accepted(f)
	sink := new(answers)
	f.BeginStream(f.Loop, sink, f)
	f.service.engine.deps.PoolNumber("p")
	f.worker.Pools = make([]exchange.PoolStats, 1)
	f.service.listener.BoundRoutes[0].RespondAsync = true
	f.service.draining.Store(true)
	f.req.appendInput([]byte("POST / HTTP/1.1\r\nHost: a\r\nPrefer: respond-async\r\nContent-Length: 0\r\n\r\n"), false)
	f.parseHead()
	head, body, _ := strings.Cut(sink.String(), "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 503 ") || !strings.Contains(head, "Retry-After: 5") || !strings.Contains(body, exchange.ReasonStopping) || strings.Count(sink.String(), "HTTP/1.1 ") != 1 {
		t.Errorf("answered %q, want %d", sink.String(), http.StatusServiceUnavailable)
	}
	if f.req != nil && f.req.kept != nil {
		t.Error("the request is kept")
	}
}
