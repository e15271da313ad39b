//go:build !evenkeel_portable

package h2conn

import (
	"fmt"
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

// clientPeer is a client, and what the user of the connection sees of it.
type clientPeer struct {
	*peer
	told
	server *ServerConn
	opened map[uint32]*request
	held   int
}

// request is a stream and its user.
type request struct {
	ServerStream
	conn   eventloop.Conn
	peer   *clientPeer
	head   string
	killed bool
	asked  http1.Asked
	eager  bool   // it reads whenever it is called
	text   string // that an eager one has read
	calls  int
}

func (r *request) OnReady() {
	if r.calls++; r.eager {
		r.text += r.body()
	}
}

func (r *request) Asked() http1.Asked { return r.asked }

func (r *request) Kill() {
	r.killed = true
	r.close()
}

// close ends the user's part in the stream.
func (r *request) close() {
	r.conn.Close()
	r.Release()
	r.peer.shared.Flush()
}

func (c *clientPeer) HeldBack() { c.held++ }

func (c *clientPeer) NewStream(o Opening, head []byte) {
	r := &request{peer: c, head: string(head)}
	o.Accept(&r.ServerStream, &r.conn, r)
	c.opened[o.id] = r
	c.streams = append(c.streams, &r.conn)
}

// body reads what has come of a request's body, as HTTP/1.1.
func (r *request) body() string {
	var text []byte
	for p := make([]byte, 100<<10); ; {
		n, err := r.conn.Read(p)
		if text = append(text, p[:n]...); err == syscall.EAGAIN || n == 0 {
			return string(text)
		}
	}
}

// writes sends text and returns how much of it was taken, and what the client gets.
func (r *request) writes(text string) (taken int, frames []string) {
	n := r.WriteStream([]byte(text))
	r.peer.shared.Flush()
	return n, r.peer.receives()
}

// handles handles frames that have come at once.
func (c *clientPeer) handles(text []byte) {
	turn := c.shared.Loop.NewTurn()
	c.server.parseFrames(text, &turn)
	c.server.frames = c.server.frames[:0]
}

// newFreshClient returns a client that has sent nothing yet.
func newFreshClient(t *testing.T) *clientPeer {
	c := &clientPeer{opened: make(map[uint32]*request), server: new(ServerConn)}
	c.peer = newPeer(t, func(shared *Shared, own *fd.FD) *conn {
		k := c.server
		k.Init(shared, &ServerConfig{HeaderLimit: 1 << 10, HeaderTimeout: headerIn, IdleTimeout: idleIn}, c, h2.Schemes(0))
		if err := shared.Loop.Register(&k.Conn, own, eventloop.Readiness); err != nil {
			t.Fatal(err)
		}
		k.Writable = true
		k.Open()
		return &k.conn
	})
	return c
}

const post = ":method=POST :scheme=http :path=/ :authority=a.example content-length=5"

// newClient returns a client that has begun a request with a body of five bytes on stream 1.
func newClient(t *testing.T) *clientPeer {
	c := newFreshClient(t)
	c.sends([]byte(h2.Preface), settings(), headers(1, 0, post))
	if c.opened[1] == nil {
		t.Fatal("the request was not taken")
	}
	return c
}

func TestAServerBeginsWithWhatItAllows(t *testing.T) {
	c := newFreshClient(t)
	c.shared.Flush()
	want := []string{fmt.Sprintf("SETTINGS 3=%d 4=%d 6=%d", MaxStreams, StreamWindow, 1<<10), fmt.Sprintf("WINDOW_UPDATE %d", ConnectionWindow-h2.WindowFirst)}
	if got := c.receives(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for i := range h2.Preface { // in pieces
		if got := c.sends([]byte(h2.Preface[i : i+1])); len(got) > 0 {
			t.Errorf("got %q for a part of the preface", got)
		}
	}
	if got := c.sends(settings()); !slices.Equal(got, []string{"SETTINGS ack"}) {
		t.Errorf("got %q, want an acknowledgement", got)
	}
}

func TestWhatAClientMustBeginWith(t *testing.T) {
	for what, sent := range map[string][]byte{
		"no preface":                 []byte("GET / HTTP/1.1\r\n\r\n"),
		"another preface":            []byte(strings.Replace(h2.Preface, "SM", "MS", 1)),
		"no SETTINGS":                append([]byte(h2.Preface), h2.AppendPing(nil, make([]byte, 8), 0)...),
		"an acknowledgement at once": append([]byte(h2.Preface), h2.AppendSettingsAck(nil)...),
	} {
		c := newFreshClient(t)
		got := without(without(c.sends(sent), "SETTINGS"), "WINDOW_UPDATE")
		if want := []string{"GOAWAY 0 PROTOCOL_ERROR", "the end"}; !slices.Equal(got, want) || c.errors != 1 {
			t.Errorf("%s: got %q, and %d faults, want %q and one", what, got, c.errors, want)
		}
	}
}

// block is a header block in several frames.
func block(stream uint32, flags h2.Flags, fields string, ends bool) []byte {
	text := packed(fields)
	last := h2.Flags(0)
	if ends {
		last = h2.EndHeaders
	}
	return slices.Concat(frame(h2.Headers, flags, stream, text[:3]), frame(h2.Continuation, 0, stream, text[3:7]), frame(h2.Continuation, last, stream, text[7:]))
}

const get = ":method=GET :scheme=http :path=/ :authority=a.example"

// What a client may send on a connection where stream 1 waits for a body of five bytes, and what it gets for it. A stream that is reset by
// the server, or by the client, is over for its user; a connection that ends is over for all of them.
func TestWhatAServerAnswersToFrames(t *testing.T) {
	const gone = "the end"
	ping := make([]byte, 8)
	for what, c := range map[string]struct {
		sent [][]byte
		want []string
	}{
		"SETTINGS":                            {[][]byte{settings(window(70_000))}, []string{"SETTINGS ack"}},
		"SETTINGS acknowledged":               {[][]byte{h2.AppendSettingsAck(nil)}, nil},
		"PING":                                {[][]byte{h2.AppendPing(nil, []byte("are here"), 0)}, []string{"PING ack are here"}},
		"PING acknowledged":                   {[][]byte{h2.AppendPing(nil, ping, h2.Ack)}, nil},
		"PRIORITY":                            {[][]byte{frame(h2.Priority, 0, 9, "\x00\x00\x00\x00\x00")}, nil},
		"a frame of an unknown type":          {[][]byte{unknownFrame(1), unknownFrame(8)}, nil},
		"GOAWAY":                              {[][]byte{goAway(0, h2.NoError)}, nil},
		"a frame too large":                   {[][]byte{h2.AppendFrame(nil, h2.FrameMost+1, h2.Data, 0, 1)}, []string{"GOAWAY 1 FRAME_SIZE_ERROR", gone}},
		"an even stream":                      {[][]byte{headers(2, end, get)}, []string{"GOAWAY 1 PROTOCOL_ERROR", gone}},
		"a stream that was passed over":       {[][]byte{headers(5, end, get), headers(3, end, get)}, []string{"GOAWAY 5 STREAM_CLOSED", gone}},
		"no request":                          {[][]byte{headers(3, end, ":method=GET")}, []string{"RST_STREAM 3 PROTOCOL_ERROR"}},
		"a head that cannot be decoded":       {[][]byte{frame(h2.Headers, h2.EndHeaders, 3, "\xff\xff\xff\xff\xff\xff\xff")}, []string{"GOAWAY 1 COMPRESSION_ERROR", gone}},
		"a head that is cut off":              {[][]byte{frame(h2.Headers, h2.EndHeaders, 3, "\x0f")}, []string{"GOAWAY 1 COMPRESSION_ERROR", gone}},
		"a head in several frames":            {[][]byte{block(3, end, get, true), headers(5, end, ":method=GET")}, []string{"RST_STREAM 5 PROTOCOL_ERROR"}},
		"another frame within a head":         {[][]byte{block(3, end, get, false), data(1, 0, "h")}, []string{"GOAWAY 1 PROTOCOL_ERROR", gone}},
		"another stream's head within a head": {[][]byte{block(3, end, get, false), frame(h2.Continuation, h2.EndHeaders, 1, "")}, []string{"GOAWAY 1 PROTOCOL_ERROR", gone}},
		"a frame of its own stream within it": {[][]byte{block(3, end, get, false), unknownFrame(3)}, []string{"GOAWAY 1 PROTOCOL_ERROR", gone}},
		"frames behind a fault":               {[][]byte{slices.Concat(reset(3, h2.Cancel), h2.AppendPing(nil, ping, 0))}, []string{"GOAWAY 1 PROTOCOL_ERROR", gone}},
		"CONTINUATION of nothing":             {[][]byte{frame(h2.Continuation, h2.EndHeaders, 1, "")}, []string{"GOAWAY 1 PROTOCOL_ERROR", gone}},
		"a head of very many frames": {[][]byte{frame(h2.Headers, 0, 3, ""), []byte(strings.Repeat(string(frame(h2.Continuation, 0, 3, "")), maxBlockFrames))},
			[]string{"GOAWAY 1 ENHANCE_YOUR_CALM", gone}},
		"a head of as many frames as may be": {[][]byte{frame(h2.Headers, end, 3, ""), []byte(strings.Repeat(string(frame(h2.Continuation, 0, 3, "")), maxBlockFrames-2)),
			frame(h2.Continuation, h2.EndHeaders, 3, packed(get))}, nil},
		"a head that is too large": {[][]byte{frame(h2.Headers, 0, 3, ""), frame(h2.Continuation, 0, 3, strings.Repeat("x", h2.FrameMost)),
			frame(h2.Continuation, 0, 3, strings.Repeat("x", h2.FrameMost)), frame(h2.Continuation, 0, 3, "x")}, []string{"GOAWAY 1 ENHANCE_YOUR_CALM", gone}},

		"the body":                                   {[][]byte{data(1, 0, "hel"), data(1, end, "lo")}, nil},
		"a body that is too short":                   {[][]byte{data(1, end, "hell")}, []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		"a body that is too long":                    {[][]byte{data(1, 0, "hello!")}, []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		"DATA behind the end":                        {[][]byte{data(1, end, "hello"), data(1, 0, "!")}, []string{"RST_STREAM 1 STREAM_CLOSED"}},
		"trailers":                                   {[][]byte{data(1, 0, "hello"), headers(1, end, "sum=1")}, nil},
		"trailers in place of the body":              {[][]byte{headers(1, end, "sum=1")}, []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		"trailers that are not the end":              {[][]byte{data(1, 0, "hello"), headers(1, 0, "sum=1")}, []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		"trailers that make a request":               {[][]byte{data(1, 0, "hello"), headers(1, end, get)}, []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		"trailers that cannot be decoded":            {[][]byte{data(1, 0, "hello"), frame(h2.Headers, h2.EndHeaders|end, 1, "\x0f")}, []string{"GOAWAY 1 COMPRESSION_ERROR", gone}},
		"trailers behind the end":                    {[][]byte{data(1, end, "hello"), headers(1, end, "sum=1")}, []string{"RST_STREAM 1 STREAM_CLOSED"}},
		"DATA of a stream not begun":                 {[][]byte{data(3, 0, "h")}, []string{"GOAWAY 1 PROTOCOL_ERROR", gone}},
		"DATA of a stream that cannot be":            {[][]byte{headers(3, end, get), data(2, 0, "h")}, []string{"GOAWAY 3 PROTOCOL_ERROR", gone}},
		"a reset":                                    {[][]byte{reset(1, h2.Cancel)}, nil},
		"two resets":                                 {[][]byte{reset(1, h2.Cancel), reset(1, h2.Cancel)}, nil},
		"a reset of a stream not begun":              {[][]byte{reset(3, h2.Cancel)}, []string{"GOAWAY 1 PROTOCOL_ERROR", gone}},
		"trailers of a stream that was reset":        {[][]byte{data(1, end, "hell"), headers(1, end, "sum=1")}, []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		"DATA of a stream that the client has reset": {[][]byte{reset(1, h2.Cancel), data(1, 0, "hello")}, []string{"RST_STREAM 1 STREAM_CLOSED"}},

		"a window opens":                            {[][]byte{windowUpdate(1, 5), windowUpdate(0, 5)}, nil},
		"a window opens by nothing":                 {[][]byte{windowUpdate(1, 0)}, []string{"RST_STREAM 1 PROTOCOL_ERROR"}},
		"the connection's opens by nothing":         {[][]byte{windowUpdate(0, 0)}, []string{"GOAWAY 1 PROTOCOL_ERROR", gone}},
		"a window as large as may be":               {[][]byte{windowUpdate(1, h2.WindowMost-h2.WindowFirst)}, nil},
		"a window too large":                        {[][]byte{windowUpdate(1, h2.WindowMost-h2.WindowFirst+1)}, []string{"RST_STREAM 1 FLOW_CONTROL_ERROR"}},
		"the connection's as large as may be":       {[][]byte{windowUpdate(0, h2.WindowMost-h2.WindowFirst)}, nil},
		"the connection's window too large":         {[][]byte{windowUpdate(0, h2.WindowMost-h2.WindowFirst+1)}, []string{"GOAWAY 1 FLOW_CONTROL_ERROR", gone}},
		"a window of a stream not begun":            {[][]byte{windowUpdate(3, 5)}, []string{"GOAWAY 1 PROTOCOL_ERROR", gone}},
		"a window of a stream that was reset":       {[][]byte{reset(1, h2.Cancel), windowUpdate(1, 0)}, nil},
		"SETTINGS make a window as large as may be": {[][]byte{windowUpdate(1, 100), settings(window(h2.WindowMost - 100))}, []string{"SETTINGS ack"}},
		"SETTINGS make a window too large":          {[][]byte{windowUpdate(1, 100), settings(window(h2.WindowMost - 99))}, []string{"SETTINGS ack", "GOAWAY 1 FLOW_CONTROL_ERROR", gone}},
	} {
		p := newClient(t)
		p.receives()
		if got := p.sends(c.sent...); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", what, got, c.want)
		}
		ends := slices.Contains(c.want, gone)
		over := ends || slices.ContainsFunc(c.want, func(line string) bool { return strings.HasPrefix(line, "RST_STREAM 1 ") }) || strings.Contains(what, "reset") && !strings.Contains(what, "not begun")
		if p.opened[1].killed != over || (p.errors > 0) != ends {
			t.Errorf("%s: killed %v, %d faults; want %v, and a fault %v", what, p.opened[1].killed, p.errors, over, ends)
		}
	}
}

// A request's body is read as HTTP/1.1 has it.
func TestARequestIsReadAsHTTP1(t *testing.T) {
	for _, c := range []struct {
		fields string
		sent   [][]byte
		head   string // is part of it
		body   string
	}{
		{get, nil, "GET / HTTP/1.1\r\nHost: a.example\r\n", ""},
		{post, [][]byte{data(1, 0, "hel"), data(1, end, "lo")}, "content-length: 5\r\n", "hello"},
		{post, [][]byte{data(1, 0, "hello"), headers(1, end, "sum=1")}, "POST / HTTP/1.1\r\n", "hello"},
		{get + " x=1", [][]byte{data(1, 0, "hello"), data(1, end, "")}, "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"},
		{get, [][]byte{data(1, 0, "hello"), headers(1, end, "sum=1")}, "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nsum: 1\r\n\r\n"},
		{get, [][]byte{frame(h2.Data, end|h2.Padded, 1, "\x03hi...")}, "Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n0\r\n\r\n"},
	} {
		p := newFreshClient(t)
		flags := h2.Flags(0)
		if c.sent == nil {
			flags = end
		}
		p.sends([]byte(h2.Preface), settings(), headers(1, flags, c.fields))
		r := p.opened[1]
		if r == nil {
			t.Errorf("%s: not taken", c.fields)
			continue
		}
		r.eager = true
		p.sends(c.sent...)
		if body := r.text; !strings.Contains(strings.ToLower(r.head), strings.ToLower(c.head)) || body != c.body || !r.Complete {
			t.Errorf("%s: got %q and %q, complete %v; want %q and %q", c.fields, r.head, body, r.Complete, c.head, c.body)
		}
	}
}

// A response is sent as frames. One that makes no sense ends its stream.
func TestAResponseIsSentAsFrames(t *testing.T) {
	for _, c := range []struct {
		text  string
		asked http1.Asked
		want  []string
	}{
		{"HTTP/1.1 204 No Content\r\nx: 1\r\n\r\n", http1.Asked{}, []string{"HEADERS 1 end :status=204 x=1"}},
		{"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", http1.Asked{}, []string{"HEADERS 1 :status=200 content-length=2", "DATA 1 end hi"}},
		{"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", http1.Asked{Method: http1.MethodHead}, []string{"HEADERS 1 end :status=200 content-length=2"}},
		{"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi, and more", http1.Asked{}, []string{"HEADERS 1 :status=200 content-length=2", "DATA 1 end hi"}},
		{"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", http1.Asked{}, []string{"HEADERS 1 :status=200", "DATA 1 hi", "DATA 1 end "}},
		{"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nsum: 1\r\n\r\n", http1.Asked{}, []string{"HEADERS 1 :status=200", "DATA 1 hi", "HEADERS 1 end sum=1"}},
		{"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", http1.Asked{}, []string{"HEADERS 1 :status=103 link=x", "HEADERS 1 end :status=204"}},
		{"HTTP/1.1 204 No Content\r\nconnection: x, close\r\nkeep-alive: timeout=5\r\nproxy-connection: close\r\nupgrade: h2c\r\n\r\n", http1.Asked{}, []string{"HEADERS 1 end :status=204"}},
		{"HTTP/1.1 no status\r\n\r\n", http1.Asked{}, []string{"RST_STREAM 1 INTERNAL_ERROR"}},
		{"HTTP/1.1 200 OK\r\ncontent-le", http1.Asked{}, []string{"RST_STREAM 1 INTERNAL_ERROR"}},
		{"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno chunk", http1.Asked{}, []string{"HEADERS 1 :status=200", "RST_STREAM 1 INTERNAL_ERROR"}},
	} {
		p := newClient(t)
		p.receives()
		p.opened[1].asked = c.asked
		if n, got := p.opened[1].writes(c.text); n != len(c.text) || !slices.Equal(got, c.want) {
			t.Errorf("%q: took %d bytes of %d, got %q, want %q", c.text, n, len(c.text), got, c.want)
		}
		p.sends(headers(3, end, get))
		if _, got := p.opened[3].writes("HTTP/1.1 204 No Content\r\n\r\n"); !slices.Equal(got, []string{"HEADERS 3 end :status=204"}) {
			t.Errorf("%q: got %q for the next request", c.text, got)
		}
	}
}

// No more of a body is sent than the windows of the stream and of the connection allow; each may be what the other waits for.
func TestAResponseWaitsForItsWindows(t *testing.T) {
	p := newClient(t)
	p.receives()
	r := p.opened[1]
	text := "HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + strings.Repeat("x", 200_000)
	sent := func(frames []string) (n int) {
		for _, line := range frames {
			of := 0
			if _, err := fmt.Sscanf(line, "DATA 1 (%d bytes)", &of); err == nil {
				n += of
			} else if _, err := fmt.Sscanf(line, "DATA 1 end (%d bytes)", &of); err == nil {
				n += of
			}
		}
		return n
	}
	write := func() (frames []string) {
		for n := -1; n != 0; { // no more than maxPending bytes at a time
			var more []string
			n, more = r.writes(text)
			text, frames = text[n:], append(frames, more...)
		}
		r.conn.Writable = false // as eventloop.Conn has it
		return frames
	}
	if got := sent(write()); got != h2.WindowFirst || r.SpaceToSend() != 0 {
		t.Errorf("%d bytes were sent, want %d", got, h2.WindowFirst)
	}
	for _, c := range []struct {
		frame []byte
		more  int
	}{
		{windowUpdate(1, 1000), 0}, // the connection's is used up
		{windowUpdate(0, 500), 500},
		{windowUpdate(0, 1000), 500}, // now the stream's is
		{settings(window(h2.WindowFirst + 100)), 100},
		{settings(window(h2.WindowFirst)), 0},
		{windowUpdate(1, 100), 0}, // it was below zero
		{windowUpdate(1, 50), 50},
		{slices.Concat(windowUpdate(1, 1<<20), windowUpdate(0, 1<<20)), 200_000 - h2.WindowFirst - 1150},
	} {
		r.calls = 0
		p.sends(c.frame)
		if got := r.conn.Writable; got != (c.more > 0) || got != (r.calls > 0) {
			t.Errorf("%x: may write: %v, called %d times, want %v", c.frame, got, r.calls, c.more > 0)
		}
		if got := sent(write()); got != c.more {
			t.Errorf("%x: %d bytes more were sent, want %d", c.frame, got, c.more)
		}
	}
	if text != "" || !r.endSent {
		t.Errorf("%d bytes are left, ended %v", len(text), r.endSent)
	}
}

// A client may go on sending when what has come is read, and not before.
func TestARequestsWindowsAreReturned(t *testing.T) {
	p := newFreshClient(t)
	p.sends([]byte(h2.Preface), settings(), headers(1, 0, ":method=POST :scheme=http :path=/ :authority=a.example"))
	piece := strings.Repeat("x", h2.FrameMost)
	const all = ConnectionWindow / h2.FrameMost
	var stream, connection int
	for i := range all {
		for _, line := range p.sends(data(1, 0, piece)) {
			t.Errorf("piece %d: got %q before it was read", i, line)
		}
		p.opened[1].body()
		p.shared.Flush()
		for _, line := range p.receives() {
			n := 0
			if _, err := fmt.Sscanf(line, "WINDOW_UPDATE 1 %d", &n); err == nil {
				stream += n
			} else if _, err := fmt.Sscanf(line, "WINDOW_UPDATE %d", &n); err == nil {
				connection += n
			}
		}
	}
	if stream != ConnectionWindow || connection != ConnectionWindow {
		t.Errorf("%d bytes were returned to the stream and %d to the connection, want all %d", stream, connection, ConnectionWindow)
	}
	for range StreamWindow / h2.FrameMost {
		if got := p.sends(data(1, 0, piece)); len(got) > 0 {
			t.Errorf("got %q within the window", got)
		}
	}
	if got := p.sends(data(1, 0, "x")); !slices.Equal(got, []string{"RST_STREAM 1 FLOW_CONTROL_ERROR"}) || !p.opened[1].killed {
		t.Errorf("beyond the window: got %q", got)
	}
}

// Behind the end of a body there is nothing that its stream's window could be for.
func TestTheWindowOfAWholeBodyIsNotReturned(t *testing.T) {
	p := newFreshClient(t)
	p.sends([]byte(h2.Preface), settings(), headers(1, 0, ":method=POST :scheme=http :path=/ :authority=a.example"))
	for i := range StreamWindow / h2.FrameMost {
		flags := h2.Flags(0)
		if i == StreamWindow/h2.FrameMost-1 {
			flags = end
		}
		p.sends(data(1, flags, strings.Repeat("x", h2.FrameMost)))
	}
	p.receives()
	p.opened[1].body()
	p.shared.Flush()
	if got := p.receives(); len(got) > 0 {
		t.Errorf("got %q", got)
	}
}

// Frames that are not the body's are the connection's too: the user never reads them, so they are returned at once.
func TestPaddingIsReturnedAtOnce(t *testing.T) {
	p := newFreshClient(t)
	p.sends([]byte(h2.Preface), settings(), headers(1, 0, ":method=POST :scheme=http :path=/ :authority=a.example"))
	padded := frame(h2.Data, h2.Padded, 1, "\xff"+strings.Repeat("p", 255))
	for range 2 * ConnectionWindow / 256 {
		for _, line := range p.sends(padded) {
			if !strings.HasPrefix(line, "WINDOW_UPDATE ") {
				t.Fatalf("got %q, want windows only", line)
			}
		}
	}
	if p.opened[1].killed {
		t.Error("the stream was ended")
	}
}

func TestMoreThanTheConnectionsWindowIsAFault(t *testing.T) {
	p := newClient(t)
	p.receives()
	p.server.recvWindow = 2
	if got := p.sends(data(1, 0, "he")); len(got) > 0 {
		t.Errorf("within the window: got %q", got)
	}
	if got := p.sends(data(1, 0, "l")); !slices.Equal(got, []string{"GOAWAY 1 FLOW_CONTROL_ERROR", "the end"}) {
		t.Errorf("beyond the window: got %q", got)
	}
}

// What a client had sent before it knew of a reset is no fault, up to the stream's window.
func TestDataOfAStreamThatWasResetIsCounted(t *testing.T) {
	p := newClient(t)
	p.receives()
	p.sends(data(1, 0, "hello!")) // too long, so it is reset
	left := StreamWindow - len("hello!")
	for ; left > 0; left -= min(left, h2.FrameMost) {
		if got := p.sends(data(1, 0, strings.Repeat("x", min(left, h2.FrameMost)))); len(got) > 0 {
			t.Errorf("got %q with %d bytes left", got, left)
		}
	}
	if got := p.sends(data(1, 0, "x")); !slices.Equal(got, []string{"GOAWAY 1 FLOW_CONTROL_ERROR", "the end"}) {
		t.Errorf("beyond the window: got %q", got)
	}
}

// The rest of a body whose request has been answered is read and discarded, so that the client can read the answer.
func TestTheBodyOfAnAnsweredRequestIsDiscarded(t *testing.T) {
	answered := func(t *testing.T) *clientPeer {
		p := newFreshClient(t)
		p.sends([]byte(h2.Preface), settings(), headers(1, 0, ":method=POST :scheme=http :path=/ :authority=a.example"))
		p.opened[1].writes("HTTP/1.1 204 No Content\r\n\r\n")
		p.opened[1].close()
		if got := p.receives(); len(got) > 0 {
			t.Errorf("got %q, want nothing: the client may still send", got)
		}
		return p
	}
	piece := data(1, 0, strings.Repeat("x", h2.FrameMost))
	p := answered(t)
	var got []string
	for range 3 {
		got = append(got, p.sends(piece)...)
	}
	if want := []string{fmt.Sprintf("WINDOW_UPDATE 1 %d", 3*h2.FrameMost)}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for range 100 {
		got = append(got, p.sends(piece)...)
	}
	if slices.ContainsFunc(got, func(line string) bool { return !strings.HasPrefix(line, "WINDOW_UPDATE ") }) || !slices.ContainsFunc(got, func(line string) bool { return !strings.HasPrefix(line, "WINDOW_UPDATE 1 ") }) {
		t.Errorf("got %q, want windows of the stream and of the connection", got)
	}
	if got := p.sends(data(1, end, "x")); len(p.server.discarded.list) > 0 {
		t.Errorf("got %q, and the end does not end it", got)
	}

	p = answered(t)
	p.server.discarded.list[0].window = 1
	p.server.recvWindow = ConnectionWindow
	if got := p.sends(data(1, 0, "xx")); !slices.Equal(got, []string{"GOAWAY 1 FLOW_CONTROL_ERROR", "the end"}) {
		t.Errorf("beyond the window: got %q", got)
	}
	for what, frame := range map[string][]byte{"trailers": headers(1, end, "sum=1"), "a reset": reset(1, h2.Cancel)} {
		p = answered(t)
		if got := p.sends(frame); len(got) > 0 || len(p.server.discarded.list) > 0 {
			t.Errorf("%s: got %q, and %d streams wait", what, got, len(p.server.discarded.list))
		}
	}
}

// A user that gives up before the end of the response resets the stream; behind the end of both nothing is sent.
func TestHowAServersStreamEnds(t *testing.T) {
	for what, c := range map[string]struct {
		body, response string
		want           []string
	}{
		"without a response":      {"hello", "", []string{"RST_STREAM 1 INTERNAL_ERROR"}},
		"amid the response":       {"hello", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh", []string{"RST_STREAM 1 INTERNAL_ERROR"}},
		"when both are whole":     {"hello", "HTTP/1.1 204 No Content\r\n\r\n", nil},
		"amid the request's body": {"", "HTTP/1.1 204 No Content\r\n\r\n", nil},
	} {
		p := newClient(t)
		if c.body != "" {
			p.sends(data(1, end, c.body))
		}
		p.opened[1].writes(c.response)
		p.opened[1].close()
		if got := p.receives(); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", what, got, c.want)
		}
		if waits := len(p.server.discarded.list) > 0; waits != (c.body == "") {
			t.Errorf("%s: the rest of the body is waited for: %v", what, waits)
		}
		if len(p.server.streams) > 0 || p.ended > 0 {
			t.Errorf("%s: %d streams, the connection ended %d times", what, len(p.server.streams), p.ended)
		}
	}
}

// No more requests are taken at once than may be; those that the client has given up count until their users are done with them, twice
// as many at most.
func TestAClientHasOnlySoManyStreams(t *testing.T) {
	p := newClient(t)
	p.receives()
	for id := uint32(3); id < 2*MaxStreams; id += 2 {
		if got := p.sends(headers(id, end, get)); len(got) > 0 || p.opened[id] == nil {
			t.Fatalf("stream %d: got %q", id, got)
		}
	}
	const next = 2*MaxStreams + 1
	if got := p.sends(headers(next, end, get)); !slices.Equal(got, []string{fmt.Sprintf("RST_STREAM %d REFUSED_STREAM", next)}) || p.opened[next] != nil {
		t.Errorf("one more: got %q", got)
	}
	p.opened[1].close()
	p.receives()
	if got := p.sends(headers(next+2, end, get)); len(got) > 0 || p.opened[next+2] == nil {
		t.Errorf("after one has ended: got %q", got)
	}
}

// A connection drains in two steps: streams on their way are still taken until the grace is over, later ones are not processed.
func TestAConnectionDrains(t *testing.T) {
	p := newClient(t)
	p.receives()
	k := p.server
	k.DrainAfter(time.Second)
	k.DrainAfter(time.Hour) // changes nothing
	p.shared.Flush()
	if got, want := p.receives(), []string{fmt.Sprintf("GOAWAY %d NO_ERROR", h2.StreamMost)}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if p.sends(headers(3, end, get)); p.opened[3] == nil {
		t.Error("a stream within the grace is not taken")
	}
	k.Loop.Now = begun.Add(time.Second)
	k.OnTimer()
	p.shared.Flush()
	if got := p.receives(); !slices.Equal(got, []string{"GOAWAY 3 NO_ERROR"}) {
		t.Errorf("got %q", got)
	}
	if got := p.sends(headers(5, 0, get), data(5, 0, "x")); len(got) > 0 || p.opened[5] != nil {
		t.Errorf("behind the grace: got %q, taken %v", got, p.opened[5] != nil)
	}
	p.opened[3].close()
	p.opened[1].close()
	p.shared.Flush()
	if got := p.receives(); !slices.Equal(got, []string{"RST_STREAM 3 INTERNAL_ERROR", "RST_STREAM 1 INTERNAL_ERROR", "the end"}) || k.state != serverLingering {
		t.Errorf("after the last: got %q, state %d", got, k.state)
	}
	if p.sends(make([]byte, 1000)); k.state != serverLingering || p.ended > 0 {
		t.Error("the client's last bytes end the connection")
	}
	p.socket.Close()
	k.Readable = true
	if p.turn(); k.state != serverClosed || p.ended != 1 {
		t.Errorf("after the client's end: state %d, ended %d times", k.state, p.ended)
	}
}

// A client that closes ends its requests; the connection is over when their users are done.
func TestAClientThatClosesEndsItsRequests(t *testing.T) {
	p := newClient(t)
	p.sends(headers(3, end, get))
	p.socket.Close()
	p.server.Readable = true
	p.turn()
	if !p.opened[1].killed || !p.opened[3].killed || p.ended != 1 || p.server.IsOpen() || p.errors > 0 {
		t.Errorf("killed: %v, %v; ended %d times, open %v, %d faults", p.opened[1].killed, p.opened[3].killed, p.ended, p.server.IsOpen(), p.errors)
	}
}

// Frames that make no progress are read more and more slowly; those that do make up for them.
func TestIdleFramesHoldAClientBack(t *testing.T) {
	p := newClient(t)
	pings := func(n int) {
		text := []byte(strings.Repeat(string(h2.AppendPing(nil, make([]byte, 8), 0)), n))
		p.handles(text)
	}
	pings(IdleFramesAtOnce / 2)
	if p.held > 0 || p.server.readSize() != fewAtOnce {
		t.Errorf("held back %d times, reads of %d bytes", p.held, p.server.readSize())
	}
	pings(IdleFramesAtOnce)
	if p.held != 1 || p.server.wantsInput() || p.server.resumeAt <= begun {
		t.Errorf("held back %d times, reads on %v", p.held, p.server.wantsInput())
	}
	p.server.Loop.Now = p.server.resumeAt
	if p.server.OnTimer(); !p.server.wantsInput() {
		t.Error("it does not go on when the time has come")
	}
}

// A connection is read in small pieces until it has served a request, and while it sends frames that make no progress.
func TestHowMuchIsReadAtOnce(t *testing.T) {
	for _, c := range []struct {
		served bool
		spent  float64
		want   int
	}{{false, 0, fewAtOnce}, {true, 0, allAtOnce}, {true, 1, someAtOnce}, {true, IdleFramesAtOnce / 64, someAtOnce}, {true, IdleFramesAtOnce/64 + 1, fewAtOnce}} {
		k := &ServerConn{served: c.served, flood: floodLimit{spent: c.spent}}
		if got := k.readSize(); got != c.want {
			t.Errorf("served %v, %v frames spent: reads of %d bytes, want %d", c.served, c.spent, got, c.want)
		}
	}
}

// A peer makes progress when it takes some of what is kept for it.
func TestAPeerThatTakesSomethingMakesProgress(t *testing.T) {
	p := newClient(t)
	k := p.server
	send := func(text string) {
		k.Loop.Now = k.Loop.Now.Add(time.Second)
		k.markDirty()
		k.frames = append(k.frames, text...)
		p.shared.Flush()
	}
	for k.PendingBytes() == 0 {
		send(strings.Repeat("x", 1<<16))
		if k.PendingBytes() == 0 && k.progressAt != k.Loop.Now {
			t.Fatal("what was taken at once is no progress")
		}
	}
	before := k.progressAt
	if send("y"); k.progressAt != before {
		t.Error("it made progress without taking anything")
	}
	for some := make([]byte, 1<<16); ; { // unix sockets take again when much of what they have is read
		if n, _ := p.socket.Receive(some); n <= 0 {
			break
		}
	}
	k.Writable = true
	if send("z"); k.progressAt != k.Loop.Now {
		t.Error("it took some, and that is no progress")
	}
}
