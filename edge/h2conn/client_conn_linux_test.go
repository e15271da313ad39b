//go:build !evenkeel_portable

package h2conn

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// serverPeer is a server, and what the user of the connection sees of it.
type serverPeer struct {
	*peer
	told
	client *ClientConn
	limit  int // that Opened has told
}

func (s *serverPeer) Opened(streams int) { s.limit = streams }

// call is a stream and its user.
type call struct {
	ClientStream
	conn     eventloop.Conn
	peer     *serverPeer
	others   int // times that it was sent to another connection
	recycled int
	text     string // of the response
	err      error  // that ended it
	eager    bool   // it reads whenever it is called
	calls    int
}

func (c *call) OnReady() {
	if c.calls++; c.eager {
		c.reads()
	}
}

func (c *call) TryAnother() { c.others++ }
func (c *call) Recycled()   { c.recycled++ }

// reads reads what has come of the response, as HTTP/1.1.
func (c *call) reads() string {
	p := make([]byte, 100<<10)
	for c.err == nil {
		n, err := c.conn.Read(p)
		c.text += string(p[:n])
		if err == syscall.EAGAIN {
			break
		}
		c.err = err
	}
	return c.text
}

// newServer returns a server that has sent nothing yet, with a connection to it.
func newServer(t *testing.T) *serverPeer {
	s := &serverPeer{client: new(ClientConn)}
	s.peer = newPeer(t, func(shared *Shared, own *fd.FD) *conn {
		k := s.client
		k.Init(shared, &ClientConfig{ConnectTimeout: connectIn, IdleTimeout: idleIn}, s, 0)
		if err := k.Attach(own); err != nil {
			t.Fatal(err)
		}
		k.Writable = true
		return &k.conn
	})
	s.turn()
	preface := make([]byte, len(h2.Preface))
	if n, err := s.socket.Receive(preface); string(preface[:n]) != h2.Preface {
		t.Fatalf("got %q, %v, want the preface", preface[:n], err)
	}
	return s
}

// newOpenServer returns a server that has sent SETTINGS.
func newOpenServer(t *testing.T, chosen ...h2.Chosen) *serverPeer {
	s := newServer(t)
	s.sends(settings(chosen...))
	return s
}

// stream returns a stream that has not begun.
func (s *serverPeer) stream() *call {
	c := &call{peer: s}
	s.client.NewStream(&c.ClientStream, &c.conn, c)
	s.streams = append(s.streams, &c.conn)
	return c
}

// asks begins a request. body is what follows the head.
func (s *serverPeer) asks(head, body string) (*call, []string) {
	s.t.Helper()
	c := s.stream()
	if ready, err := c.IsReady(); !ready || err != nil {
		s.t.Fatal(ready, err)
	}
	c.begins(head)
	s.shared.Flush()
	if body != "" {
		c.WriteStream([]byte(body))
		s.shared.Flush()
	}
	return c, s.receives()
}

func (c *call) begins(head string) {
	c.peer.t.Helper()
	r := new(http1.RequestHead)
	if n, err := r.Parse([]byte(head)); n != len(head) || err != nil {
		c.peer.t.Fatal(n, err)
	}
	c.Begin(&Request{Head: r, Buf: []byte(head), Target: []byte("/x"), Drop: new(http1.Names), Add: []byte("via: 1.1 edge\r\n"), NoLength: true})
}

const (
	getHead  = "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"
	postHead = "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n"
	sendHead = "POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
)

func TestAClientBeginsWithWhatItAllows(t *testing.T) {
	s := newServer(t)
	want := []string{fmt.Sprintf("SETTINGS 2=0 4=%d 6=%d", clientStreamWindow, MaxResponseHead), fmt.Sprintf("WINDOW_UPDATE %d", clientConnWindow-h2.WindowFirst)}
	if got := s.receives(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	c := s.stream()
	if ready, err := c.IsReady(); ready || err != nil || c.conn.Readable {
		t.Errorf("before SETTINGS: ready %v, %v", ready, err)
	}
	if got := s.sends(settings(maxStreams(7))); !slices.Equal(got, []string{"SETTINGS ack"}) || s.limit != 7 {
		t.Errorf("got %q and a limit of %d", got, s.limit)
	}
	if ready, err := c.IsReady(); !ready || err != nil || !c.conn.Readable {
		t.Errorf("after SETTINGS: ready %v, %v, told %v", ready, err, c.conn.Readable)
	}
}

func TestWhatAServerMustBeginWith(t *testing.T) {
	for what, sent := range map[string][]byte{
		"HTTP/1.1":                   []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"no SETTINGS":                h2.AppendPing(nil, make([]byte, 8), 0),
		"an acknowledgement at once": h2.AppendSettingsAck(nil),
	} {
		s := newServer(t)
		s.receives()
		c := s.stream()
		got := s.sends(sent)
		ready, err := c.IsReady()
		if len(got) == 0 || !strings.HasPrefix(got[0], "GOAWAY 0 ") || got[len(got)-1] != "the end" || s.errors != 1 || s.ended == 0 || ready || err == nil {
			t.Errorf("%s: got %q, %d faults, ready %v, %v", what, got, s.errors, ready, err)
		}
	}
}

// The streams that wait for a connection begin when it opens, as many as the server allows; others look for another connection.
func TestStreamsThatWaitForAConnection(t *testing.T) {
	s := newServer(t)
	gone, first, second, third := s.stream(), s.stream(), s.stream(), s.stream()
	gone.conn.Close()
	s.sends(settings(maxStreams(2)))
	if first.others != 0 || second.others != 0 || third.others != 1 || gone.others != 0 || gone.recycled != 1 || s.client.active != 3 {
		t.Errorf("sent to another connection: %d, %d, %d, and %d of one that is gone; %d are active", first.others, second.others, third.others, gone.others, s.client.active)
	}
	if s.client.HasRoom(false) {
		t.Error("a full connection has room")
	}
	s = newServer(t)
	c := s.stream()
	if s.sends(settings(maxStreams(0))); s.client.IsOpen() || s.ended == 0 {
		t.Error("a server that takes no streams is kept")
	}
	if _, err := c.IsReady(); err == nil || !strings.Contains(err.Error(), "takes no streams") {
		t.Errorf("got %v", err)
	}
}

// A request is sent as HTTP/2 has it, without what is for HTTP/1 connections only.
func TestARequestIsSentAsFrames(t *testing.T) {
	const begin = ":method=%s :scheme=http :authority=a.example :path=/x"
	for _, c := range []struct {
		head, body string
		want       []string
	}{
		{getHead, "", []string{"HEADERS 1 end " + fmt.Sprintf(begin, "GET") + " via=1.1 edge"}},
		{"GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: x\r\nX: 1\r\nY: 2\r\nKeep-Alive: timeout=5\r\nTE: trailers, gzip\r\nContent-Length: 0\r\n\r\n", "",
			[]string{"HEADERS 1 end " + fmt.Sprintf(begin, "GET") + " y=2 te=trailers via=1.1 edge"}},
		{postHead, "hello", []string{"HEADERS 1 " + fmt.Sprintf(begin, "POST") + " content-length=5 via=1.1 edge", "DATA 1 end hello"}},
		{sendHead, "2\r\nhi\r\n0\r\n\r\n", []string{"HEADERS 1 " + fmt.Sprintf(begin, "POST") + " via=1.1 edge", "DATA 1 hi", "DATA 1 end "}},
		{sendHead, "2\r\nhi\r\n0\r\nsum: 1\r\n\r\n", []string{"HEADERS 1 " + fmt.Sprintf(begin, "POST") + " via=1.1 edge", "DATA 1 hi", "HEADERS 1 end sum=1"}},
		{sendHead, "no chunk", []string{"HEADERS 1 " + fmt.Sprintf(begin, "POST") + " via=1.1 edge", "RST_STREAM 1 INTERNAL_ERROR"}},
	} {
		s := newOpenServer(t)
		s.receives()
		if _, got := s.asks(c.head, c.body); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.head, got, c.want)
		}
	}
}

// A response is read as HTTP/1.1 has it, whatever has come.
func TestAResponseIsReadAsHTTP1(t *testing.T) {
	const ok = "HTTP/1.1 200 \r\n"
	for _, c := range []struct {
		head string
		sent [][]byte
		text string
		err  string // part of it; empty: none
		got  []string
	}{
		{getHead, [][]byte{headers(1, end, ":status=204 x=1")}, "HTTP/1.1 204 \r\nx: 1\r\n\r\n", "", nil},
		{getHead, [][]byte{headers(1, 0, ":status=200 content-length=2"), data(1, 0, "h"), data(1, end, "i")}, ok + "content-length: 2\r\n\r\nhi", "", nil},
		{getHead, [][]byte{headers(1, 0, ":status=200"), data(1, 0, "hi"), headers(1, end, "sum=1")}, ok + "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nsum: 1\r\n\r\n", "", nil},
		{getHead, [][]byte{headers(1, 0, ":status=200"), frame(h2.Data, h2.Padded|end, 1, "\x02hi..")}, ok + "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "", nil},
		{getHead, [][]byte{headers(1, 0, ":status=103 link=x"), headers(1, end, ":status=204")}, "HTTP/1.1 103 \r\nlink: x\r\n\r\nHTTP/1.1 204 \r\n\r\n", "", nil},
		{"HEAD /x HTTP/1.1\r\nHost: a.example\r\n\r\n", [][]byte{headers(1, end, ":status=200 content-length=2")}, ok + "content-length: 2\r\n\r\n", "", nil},
		{getHead, [][]byte{block(1, end, ":status=204 x=1", true)}, "HTTP/1.1 204 \r\nx: 1\r\n\r\n", "", nil},

		{getHead, [][]byte{data(1, 0, "hi")}, "", "a body where none belongs", []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		{getHead, [][]byte{headers(1, end, "x=1")}, "", "http2: ", []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		{getHead, [][]byte{headers(1, 0, ":status=103 link=x"), headers(1, end, "x=1")}, "HTTP/1.1 103 \r\nlink: x\r\n\r\n", "http2: ", []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		{getHead, [][]byte{headers(1, 0, ":status=200 content-length=2"), data(1, 0, "hi!")}, ok + "content-length: 2\r\n\r\n", "contradicts its Content-Length", []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		{getHead, [][]byte{headers(1, 0, ":status=200 content-length=2"), data(1, end, "h")}, ok + "content-length: 2\r\n\r\n", "contradicts its Content-Length", []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		{getHead, [][]byte{headers(1, 0, ":status=200 content-length=2"), headers(1, end, "sum=1")}, ok + "content-length: 2\r\n\r\n", "shorter than its Content-Length", []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		{getHead, [][]byte{headers(1, 0, ":status=200"), headers(1, 0, "sum=1")}, ok + "transfer-encoding: chunked\r\n\r\n", "trailers that are not the end", []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		{getHead, [][]byte{headers(1, end, ":status=204"), data(1, 0, "h")}, "HTTP/1.1 204 \r\n\r\n", "a body where none belongs", []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		{getHead, [][]byte{headers(1, 0, ":status=200"), reset(1, h2.InternalError)}, ok + "transfer-encoding: chunked\r\n\r\n", "code 2", nil},
		{getHead, [][]byte{reset(1, h2.RefusedStream)}, "", ErrNotTaken.Error(), nil},
		{getHead, [][]byte{headers(1, 0, ":status=200"), reset(1, h2.RefusedStream)}, ok + "transfer-encoding: chunked\r\n\r\n", "code 7", nil},
		{getHead, [][]byte{reset(1, h2.Cancel)}, "", "code 8", nil},
		{getHead, [][]byte{windowUpdate(1, 0)}, "", "WINDOW_UPDATE of nothing", []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		{getHead, [][]byte{windowUpdate(1, h2.WindowMost-h2.WindowFirst+1)}, "", "a window is larger", []string{"RST_STREAM 1 FLOW_CONTROL_ERROR"}},
	} {
		s := newOpenServer(t)
		a, _ := s.asks(c.head, "")
		s.receives()
		var got []string
		a.eager = true
		for _, f := range c.sent {
			got = append(got, s.sends(f)...)
		}
		if text := a.text; text != c.text || (a.err != nil) != (c.err != "") || a.err != nil && !strings.Contains(a.err.Error(), c.err) || !slices.Equal(got, c.got) {
			t.Errorf("%x:\ngot  %q, %v, and the server %q\nwant %q, %q, and the server %q", c.sent, text, a.err, got, c.text, c.err, c.got)
		}
		if early := a.EndedEarly(); early != (a.err != nil && !strings.HasPrefix(c.text, ok) && !strings.HasPrefix(c.text, "HTTP/1.1 204 ")) {
			t.Errorf("%q, %v: ended early %v", a.text, a.err, early)
		}
		if !s.client.HasRoom(false) || s.errors > 0 || !s.client.IsOpen() {
			t.Errorf("%x: %d faults, open %v: a stream's fault is the connection's", c.sent, s.errors, s.client.IsOpen())
		}
	}
}

// What a server may send on a connection with a stream, and what it gets for it. With the end of a connection its streams end.
func TestWhatAClientAnswersToFrames(t *testing.T) {
	fault := func(c h2.Code) []string { return []string{"GOAWAY 0 " + codes[c], "the end"} }
	for what, c := range map[string]struct {
		sent [][]byte
		want []string
	}{
		"SETTINGS":                            {[][]byte{settings(window(70_000))}, []string{"SETTINGS ack"}},
		"SETTINGS acknowledged":               {[][]byte{h2.AppendSettingsAck(nil)}, nil},
		"PING":                                {[][]byte{h2.AppendPing(nil, []byte("are here"), 0)}, []string{"PING ack are here"}},
		"PRIORITY of any stream":              {[][]byte{frame(h2.Priority, 0, 9, "\x00\x00\x00\x00\x00")}, nil},
		"an unknown type of any stream":       {[][]byte{unknownFrame(1), unknownFrame(8)}, nil},
		"a promise":                           {[][]byte{frame(h2.PushPromise, h2.EndHeaders, 1, "\x00\x00\x00\x02")}, fault(h2.ProtocolError)},
		"DATA of a stream not begun":          {[][]byte{data(3, 0, "x")}, fault(h2.ProtocolError)},
		"CONTINUATION of a stream not begun":  {[][]byte{frame(h2.Continuation, h2.EndHeaders, 3, "")}, fault(h2.ProtocolError)},
		"a frame of its own stream within it": {[][]byte{block(1, end, ":status=204 x=1", false), unknownFrame(1)}, fault(h2.ProtocolError)},
		"CONTINUATION of nothing":             {[][]byte{frame(h2.Continuation, h2.EndHeaders, 1, "")}, fault(h2.ProtocolError)},
		"a head of an even stream":            {[][]byte{headers(2, end, ":status=204")}, fault(h2.ProtocolError)},
		"another frame within a head":         {[][]byte{block(1, end, ":status=204 x=1", false), h2.AppendPing(nil, make([]byte, 8), 0)}, fault(h2.ProtocolError)},
		"another stream's head within a head": {[][]byte{block(1, end, ":status=204 x=1", false), frame(h2.Continuation, h2.EndHeaders, 3, "")}, fault(h2.ProtocolError)},
		"a head that cannot be decoded":       {[][]byte{frame(h2.Headers, h2.EndHeaders, 1, "\xff\xff\xff\xff\xff\xff\xff")}, fault(h2.CompressionError)},
		"a head that is cut off":              {[][]byte{frame(h2.Headers, h2.EndHeaders, 1, "\x0f")}, fault(h2.CompressionError)},
		"a frame too large":                   {[][]byte{h2.AppendFrame(nil, h2.FrameMost+1, h2.Data, 0, 1)}, fault(h2.FrameSizeError)},
		"the connection's window by nothing":  {[][]byte{windowUpdate(0, 0)}, fault(h2.ProtocolError)},
		"the connection's window as may be":   {[][]byte{windowUpdate(0, h2.WindowMost-h2.WindowFirst)}, nil},
		"the connection's window too large":   {[][]byte{windowUpdate(0, h2.WindowMost-h2.WindowFirst+1)}, fault(h2.FlowControlError)},
		"SETTINGS make a window too large":    {[][]byte{windowUpdate(1, 100), settings(window(h2.WindowMost - 99))}, append([]string{"SETTINGS ack"}, fault(h2.FlowControlError)...)},
		"SETTINGS of a window that cannot be": {[][]byte{settings(window(h2.WindowMost + 1))}, fault(h2.FlowControlError)},
		"frames of a stream that was reset":   {[][]byte{reset(1, h2.Cancel), headers(1, 0, ":status=200"), data(1, 0, "x"), windowUpdate(1, 0), reset(1, h2.Cancel)}, nil},
		"a head too large":                    {[][]byte{frame(h2.Headers, 0, 1, ""), []byte(strings.Repeat(string(frame(h2.Continuation, 0, 1, strings.Repeat("x", h2.FrameMost))), maxResponseBlock/h2.FrameMost+1))}, fault(h2.EnhanceYourCalm)},
	} {
		s := newOpenServer(t)
		a, _ := s.asks(getHead, "")
		s.receives()
		if got := s.sends(c.sent...); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", what, got, c.want)
		}
		ends := slices.Contains(c.want, "the end")
		a.reads()
		if over := a.err != nil; over != (ends || strings.Contains(what, "reset")) || (s.errors > 0) != ends || ends && s.ended == 0 {
			t.Errorf("%s: the stream ended by %v; %d faults, drained %d times", what, a.err, s.errors, s.ended)
		}
	}
}

// The body of a request waits for the windows, and goes on when they open.
func TestARequestWaitsForItsWindows(t *testing.T) {
	s := newOpenServer(t, window(3))
	a, _ := s.asks(postHead, "")
	if n := a.WriteStream([]byte("hello")); n != 3 || !s.client.writersBlocked {
		t.Errorf("took %d bytes, want those of the window", n)
	}
	a.conn.Writable = false
	s.shared.Flush()
	got := s.receives()
	if !slices.Equal(got, []string{"DATA 1 hel"}) {
		t.Errorf("got %q", got)
	}
	if s.sends(windowUpdate(0, 1)); a.conn.Writable || !s.client.writersBlocked {
		t.Error("it may write when the other window opens")
	}
	if s.sends(windowUpdate(1, 1)); !a.conn.Writable || a.calls == 0 {
		t.Error("it may not write when its window opens")
	}
	if n := a.WriteStream([]byte("lo")); n != 1 {
		t.Errorf("took %d bytes", n)
	}
	a.conn.Writable = false
	if s.sends(settings(window(5))); !a.conn.Writable || s.client.writersBlocked {
		t.Error("it may not write when SETTINGS open its window")
	}
	a.WriteStream([]byte("o, and more"))
	s.shared.Flush()
	if got := s.receives(); !slices.Equal(got, []string{"DATA 1 end o"}) {
		t.Errorf("got %q", got)
	}
}

// The connection's window is returned at once, a stream's when its response is read.
func TestAResponsesWindowsAreReturned(t *testing.T) {
	s := newOpenServer(t)
	a, _ := s.asks(getHead, "")
	s.sends(headers(1, 0, ":status=200"))
	s.receives()
	piece := strings.Repeat("x", h2.FrameMost)
	var stream, connection int
	count := func(lines []string) {
		for _, line := range lines {
			n := 0
			if _, err := fmt.Sscanf(line, "WINDOW_UPDATE 1 %d", &n); err == nil {
				stream += n
			} else if _, err := fmt.Sscanf(line, "WINDOW_UPDATE %d", &n); err == nil {
				connection += n
			} else {
				t.Errorf("got %q", line)
			}
		}
	}
	const all = clientConnWindow / h2.FrameMost
	for i := range all {
		if count(s.sends(data(1, 0, piece))); i < 3 && stream > 0 {
			t.Error("a window is returned before anything is read")
		}
		if i%3 == 0 {
			a.reads()
			s.shared.Flush()
			count(s.receives())
		}
	}
	a.reads()
	s.shared.Flush()
	if count(s.receives()); connection != clientConnWindow || stream < clientConnWindow-clientStreamWindow/2 {
		t.Errorf("%d bytes returned to the connection, %d to the stream", connection, stream)
	}
	left := a.recvWindow
	for ; left > 0; left -= min(left, h2.FrameMost) {
		count(s.sends(data(1, 0, piece[:min(left, h2.FrameMost)])))
	}
	if a.reads(); a.err != nil {
		t.Error(a.err)
	}
	s.shared.Flush()
	s.receives()
	a.recvWindow = 0
	if got := s.sends(data(1, 0, "x")); !slices.Equal(got, []string{"RST_STREAM 1 FLOW_CONTROL_ERROR"}) {
		t.Errorf("beyond the window: got %q", got)
	}
	s.client.recvWindow = 0
	if got := s.sends(data(1, 0, "x")); !slices.Equal(got, []string{"GOAWAY 0 FLOW_CONTROL_ERROR", "the end"}) {
		t.Errorf("beyond the connection's window: got %q", got)
	}
}

// A head that does not fit is read in pieces, and the conn stays readable.
func TestAResponsesHeadIsReadInPieces(t *testing.T) {
	s := newOpenServer(t)
	a, _ := s.asks(getHead, "")
	s.sends(headers(1, 0, ":status=204 x=1"))
	p, text := make([]byte, 4), ""
	for a.conn.Readable {
		n, err := a.conn.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		text += string(p[:n])
	}
	if text != "HTTP/1.1 204 \r\nx: 1\r\ntransfer-encoding: chunked\r\n\r\n" && text != "HTTP/1.1 204 \r\nx: 1\r\n\r\n" {
		t.Errorf("got %q", text)
	}
}

// When the numbers of streams are used up, a connection opens no more.
func TestTheLastStreamDrainsItsConnection(t *testing.T) {
	s := newOpenServer(t)
	s.client.nextID = h2.StreamMost
	if s.receives(); !s.client.HasRoom(true) {
		t.Fatal("no room for the last stream")
	}
	if _, got := s.asks(getHead, ""); len(got) != 1 || !strings.HasPrefix(got[0], fmt.Sprintf("HEADERS %d end", h2.StreamMost)) || s.ended != 1 || s.client.state != clientDraining {
		t.Errorf("got %q, drained %d times, state %d", got, s.ended, s.client.state)
	}
}

// What a user leaves is told to the server: not what is over anyway.
func TestHowAClientsStreamEnds(t *testing.T) {
	for what, c := range map[string]struct {
		head, body string
		sent       [][]byte
		want       []string // when it is closed
		released   []string // when it is released, with END_STREAM to come
	}{
		"before the response":          {getHead, "", nil, []string{"RST_STREAM 1 CANCEL"}, nil},
		"amid the response":            {getHead, "", [][]byte{headers(1, 0, ":status=200")}, []string{"RST_STREAM 1 CANCEL"}, nil},
		"when both are whole":          {getHead, "", [][]byte{headers(1, end, ":status=204")}, nil, nil},
		"amid the request":             {postHead, "he", [][]byte{headers(1, end, ":status=204")}, []string{"RST_STREAM 1 CANCEL"}, []string{"RST_STREAM 1 CANCEL"}},
		"when the server has ended it": {getHead, "", [][]byte{reset(1, h2.Cancel)}, nil, nil},
	} {
		for _, release := range []bool{false, true} {
			s := newOpenServer(t)
			a, _ := s.asks(c.head, c.body)
			s.sends(c.sent...)
			s.receives()
			want := c.want
			if a.reads(); release {
				want = c.released
				a.Release()
			} else {
				a.conn.Close()
			}
			s.shared.Flush()
			awaits := release && strings.Contains(what, "response")
			if got := s.receives(); !slices.Equal(got, want) || a.conn.IsOpen() || (a.recycled == 0) != awaits || s.client.awaitingEnd > 0 != awaits {
				t.Errorf("%s, released %v: got %q, open %v, recycled %d times; want %q", what, release, got, a.conn.IsOpen(), a.recycled, want)
			}
			if s.sends(headers(1, 0, ":status=200"), data(1, end, "")); a.recycled != 1 || s.client.active != 0 || s.client.awaitingEnd != 0 {
				t.Errorf("%s, released %v: recycled %d times after END_STREAM, %d active, %d awaited", what, release, a.recycled, s.client.active, s.client.awaitingEnd)
			}
		}
	}
	s := newOpenServer(t)
	for range maxAwaitingEnd {
		a, _ := s.asks(getHead, "")
		a.Release()
	}
	a, _ := s.asks(getHead, "")
	a.Release()
	s.shared.Flush()
	if got, want := s.receives(), []string{fmt.Sprintf("RST_STREAM %d CANCEL", 2*maxAwaitingEnd+1)}; !slices.Equal(got, want) {
		t.Errorf("one more than may be awaited: got %q, want %q", got, want)
	}
}

// GOAWAY ends the streams that the server has not processed: they may be sent again. The others go on, and the connection ends with them.
func TestGoAwayDrainsAConnectionToAServer(t *testing.T) {
	s := newOpenServer(t)
	first, _ := s.asks(getHead, "")
	second, _ := s.asks(getHead, "")
	third, _ := s.asks(getHead, "")
	waits := s.stream()
	s.sends(goAway(3, h2.NoError))
	if s.ended == 0 {
		t.Error("the keeper was not told")
	}
	if _, err := waits.IsReady(); err != ErrNotTaken || !waits.Reused {
		t.Errorf("one that had not begun: got %v, reused %v", err, waits.Reused)
	}
	waits.conn.Close()
	for _, c := range []*call{first, second, third} {
		c.reads()
	}
	if first.err != nil || second.err != nil || third.err != ErrNotTaken || !third.Reused {
		t.Errorf("got %v, %v, %v, want only the third not taken", first.err, second.err, third.err)
	}
	s.sends(headers(1, end, ":status=204"))
	first.conn.Close()
	s.turn()
	if !s.client.IsOpen() {
		t.Fatal("it is closed before its last stream")
	}
	s.sends(headers(3, end, ":status=204"))
	if second.reads(); second.text == "" || second.err != nil {
		t.Errorf("got %q, %v", second.text, second.err)
	}
	second.conn.Close()
	s.turn()
	if got := s.receives(); s.client.IsOpen() || !slices.Equal(got, []string{"the end"}) {
		t.Errorf("got %q, open %v", got, s.client.IsOpen())
	}
}

// When a connection breaks, its streams learn whether it had served before, and whether anything of them had been sent: they may be sent
// again then.
func TestABrokenConnectionTellsWhatWasSent(t *testing.T) {
	for _, served := range []bool{false, true} {
		s := newOpenServer(t)
		if served {
			a, _ := s.asks(getHead, "")
			s.sends(headers(1, end, ":status=204"))
			a.conn.Close()
		}
		sent, _ := s.asks(getHead, "")
		unsent := s.stream()
		unsent.begins(getHead) // and is not flushed
		s.socket.Close()
		s.client.Readable = true
		s.client.OnReady()
		sent.reads()
		unsent.reads()
		if sent.err != io.EOF || sent.NothingSent || sent.Reused != served {
			t.Errorf("served %v: got %v, nothing sent %v, reused %v", served, sent.err, sent.NothingSent, sent.Reused)
		}
		if unsent.err != io.EOF || !unsent.NothingSent || unsent.Reused != served {
			t.Errorf("served %v, not sent: got %v, nothing sent %v, reused %v", served, unsent.err, unsent.NothingSent, unsent.Reused)
		}
		if s.errors > 0 || s.ended == 0 || s.client.IsOpen() {
			t.Errorf("served %v: %d faults, drained %d times", served, s.errors, s.ended)
		}
	}
}

// A connection whose dial fails tells its streams why, and is drained.
func TestADialThatFailsEndsItsStreams(t *testing.T) {
	refused := errors.New("refused")
	h, shared := new(told), newLoop()
	k := new(ClientConn)
	k.Init(shared, &ClientConfig{ConnectTimeout: connectIn, IdleTimeout: idleIn}, h, 0)
	ctx := k.DialContext()
	c := &call{}
	k.NewStream(&c.ClientStream, &c.conn, c)
	if ready, err := c.IsReady(); ready || err != nil {
		t.Errorf("while it is dialed: %v, %v", ready, err)
	}
	k.Connected(nil, nil, refused)
	if c.reads(); c.err != refused || h.ended != 1 || ctx.Err() == nil || k.state != clientClosed {
		t.Errorf("got %v, drained %d times, state %d, context %v", c.err, h.ended, k.state, ctx.Err())
	}
	if _, err := c.IsReady(); err != refused {
		t.Errorf("got %v", err)
	}
}

// An idle connection that the server closes at this moment is not used for a request that cannot be repeated.
func TestARequestThatCannotBeRepeatedTakesNoConnectionThatMayHaveEnded(t *testing.T) {
	s := newOpenServer(t)
	if !s.client.HasRoom(true) || !s.client.HasRoom(false) {
		t.Error("an idle connection has no room")
	}
	if _, err := s.socket.Send(goAway(0, h2.NoError)); err != nil {
		t.Fatal(err)
	}
	if s.client.HasRoom(true) || !s.client.HasRoom(false) {
		t.Error("something has come: it may be used for what can be repeated only")
	}
}

// A server is asked whether it is still there when it is silent, and every byte from it is an answer.
func TestASilentServerIsAsked(t *testing.T) {
	s := newOpenServer(t)
	s.asks(getHead, "")
	k := s.client
	k.Loop.Now = begun.Add(pingAfter)
	k.OnTimer()
	s.shared.Flush()
	if got := s.receives(); !slices.Equal(got, []string{"PING \x00\x00\x00\x00\x00\x00\x00\x00"}) || k.pingAt == 0 {
		t.Errorf("got %q", got)
	}
	k.Loop.Now = k.Loop.Now.Add(time.Second)
	s.sends(h2.AppendPing(nil, make([]byte, 8), h2.Ack))
	if k.pingAt != 0 || k.heardAt != k.Loop.Now {
		t.Errorf("PING at %v, heard at %v; want none, and %v", k.pingAt, k.heardAt, k.Loop.Now)
	}
}
