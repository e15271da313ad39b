package edge

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/h2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// What goes over the wire to servers of HTTP/2, frame by frame.

// answerer is one connection of a server of HTTP/2 that reads and writes frames one by one.
type answerer struct {
	*http2.Framer
	net.Conn
	t    *testing.T
	heap *hpack.Decoder
	pack *hpack.Encoder
	text bytes.Buffer
}

// framing is a server each of whose connections is served by serve, which is told how
// many there were before, after both have said their first words.
func framing(t *testing.T, settings []http2.Setting, serve func(c *answerer, before int)) balance.Grant {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				c := &answerer{Framer: http2.NewFramer(conn, bufio.NewReader(conn)), Conn: conn, t: t, heap: hpack.NewDecoder(4096, nil)}
				c.AllowIllegalWrites = true
				c.pack = hpack.NewEncoder(&c.text)
				preface := make([]byte, len(h2.Preface))
				if _, err := io.ReadFull(conn, preface); err != nil {
					return // it was not needed
				}
				if string(preface) != h2.Preface {
					t.Errorf("the edge began with %q", preface)
				}
				_ = c.WriteSettings(settings...)
				serve(c, n)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return balance.Grant{Server: "a", Address: l.Addr().String()}
}

// next returns what the edge says next of a stream, as one line, and its number; empty:
// the connection has ended.
func (c *answerer) next() (stream uint32, said string) {
	for {
		f, err := c.ReadFrame()
		if err != nil {
			return 0, ""
		}
		stream = f.Header().StreamID
		end := ""
		switch f := f.(type) {
		case *http2.HeadersFrame:
			fields, err := c.heap.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				c.t.Error(err)
			}
			if f.StreamEnded() {
				end = ", ended"
			}
			for _, field := range fields {
				switch {
				case strings.HasPrefix(field.Name, ":"), field.Name == "te", field.Name == "cookie", field.Name == "content-length", strings.HasPrefix(field.Name, "x-after"), field.Name == "grpc-timeout":
					said += field.Name + " " + field.Value + ", "
				}
			}
			return stream, strings.TrimSuffix(said, ", ") + end
		case *http2.DataFrame:
			if f.StreamEnded() {
				end = ", ended"
			}
			return stream, "data " + string(f.Data()) + end
		case *http2.RSTStreamFrame:
			return stream, "reset " + f.ErrCode.String()
		case *http2.PingFrame:
			return 0, "ping " + string(f.Data[:])
		case *http2.GoAwayFrame:
			return 0, "goaway " + f.ErrCode.String()
		}
	}
}

// head waits for the next request, passing over what belongs to others.
func (c *answerer) head() (stream uint32) {
	for {
		switch stream, said := c.next(); {
		case said == "":
			return 0
		case strings.Contains(said, ":method "):
			return stream
		}
	}
}

// say sends fields, given as "name value".
func (c *answerer) say(stream uint32, ended bool, fields ...string) {
	c.text.Reset()
	for _, f := range fields {
		name, value, _ := strings.Cut(f, " ")
		_ = c.pack.WriteField(hpack.HeaderField{Name: name, Value: value}) // into memory
	}
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: bytes.Clone(c.text.Bytes()), EndStream: ended, EndHeaders: true})
}

// rest keeps a connection open until the edge ends it.
func (c *answerer) rest() {
	for {
		if _, said := c.next(); said == "" {
			return
		}
	}
}

// helloByHTTP2 answers requests that end with their heads, and allocates nothing for that.
// What it says repeats, as that of most servers does, so that it is packed by reference.
func helloByHTTP2(conn net.Conn) {
	var block bytes.Buffer
	pack := hpack.NewEncoder(&block)
	var answers [2][]byte // the first, and all others
	for i := range answers {
		block.Reset()
		for _, f := range []hpack.HeaderField{{Name: ":status", Value: "200"}, {Name: "content-type", Value: "text/plain"}, {Name: "content-length", Value: "5"}} {
			_ = pack.WriteField(f) // into memory
		}
		answers[i] = append(h2.AppendFrame(nil, block.Len(), h2.Headers, h2.EndHeaders, 1), block.Bytes()...)
		answers[i] = append(h2.AppendFrame(answers[i], len("hello"), h2.Data, h2.EndStream, 1), "hello"...)
	}
	_, _ = conn.Write(h2.AppendSettings(nil))
	buf, come, answer := make([]byte, 16<<10), -len(h2.Preface), answers[0]
	for {
		n, err := conn.Read(buf[max(0, come):])
		if err != nil {
			return
		}
		if come < 0 {
			n = copy(buf, buf[-come:n]) // the edge says its first words at once
			come = 0
		}
		come += n
		for {
			f, n, err := h2.Next(buf[:come])
			if n == 0 || err != nil {
				break
			}
			if f.Type == h2.Headers {
				binary.BigEndian.PutUint32(answer[5:], f.Stream)
				binary.BigEndian.PutUint32(answer[len(answer)-len("hello")-4:], f.Stream)
				_, _ = conn.Write(answer)
				answer = answers[1]
			}
			come = copy(buf, buf[n:come])
		}
	}
}

// What a request says comes to the server as HTTP/2 has it.
func TestHTTP2ToServers(t *testing.T) { eachPicker(t, testHTTP2ToServers) }

func testHTTP2ToServers(t *testing.T) {
	said := make(chan string, 10)
	p := to(framing(t, nil, func(c *answerer, _ int) {
		for {
			stream, line := c.next()
			if line == "" {
				return
			}
			if said <- line; strings.HasSuffix(line, "ended") {
				c.say(stream, true, ":status 204")
			}
		}
	}))
	r := runH2C(t, p, speaksHTTP2)
	c := r.talker()
	cookies := "cookie a=1; b=2"
	for _, want := range []struct {
		talk func() uint32
		said []string
	}{
		{func() uint32 { return c.open(true, "te trailers", "cookie a=1", "cookie b=2", "grpc-timeout 1S") },
			[]string{":method POST, :scheme http, :authority a, :path /, grpc-timeout 1S, " + cookies + ", te trailers, ended"}},
		{func() uint32 {
			id := c.open(false, "content-length 4")
			_ = c.WriteData(id, true, []byte("body"))
			return id
		}, []string{":method POST, :scheme http, :authority a, :path /, content-length 4", "data body, ended"}},
	} {
		id := want.talk()
		if got := c.hear(id, nil); got != ":status 204\nended\n" {
			t.Errorf("got %q", got)
		}
		for _, line := range want.said {
			if got := <-said; sorted(got) != sorted(line) {
				t.Errorf("the server was told %q, want %q", got, line)
			}
		}
	}
}

// sorted puts what is separated by commas into an order.
func sorted(list string) string {
	parts := strings.Split(list, ", ")
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// A response that is one head, as gRPC's errors are, stays that.
func TestHTTP2TrailersOnly(t *testing.T) { eachPicker(t, testHTTP2TrailersOnly) }

func testHTTP2TrailersOnly(t *testing.T) {
	p := to(framing(t, nil, func(c *answerer, _ int) {
		for id := c.head(); id != 0; id = c.head() {
			c.say(id, true, ":status 200", "content-type application/grpc", "x-after 5")
		}
	}))
	r := runH2C(t, p, speaksHTTP2)
	c := r.talker()
	if got := c.hear(c.open(true), nil); got != ":status 200\nx-after 5\nended\n" {
		t.Errorf("got %q", got)
	}
	p.wantResults(t, balance.OK)
}

// What the server says of a stream, and what its client gets.
func TestHTTP2ServerStreams(t *testing.T) { eachPicker(t, testHTTP2ServerStreams) }

func testHTTP2ServerStreams(t *testing.T) {
	for _, c := range []struct {
		name  string
		talk  func(c *answerer, stream uint32)
		want  string
		ended balance.Result
	}{
		{"interim", func(c *answerer, id uint32) {
			c.say(id, false, ":status 103", "x-after 0")
			c.say(id, false, ":status 200", "content-length 2")
			_ = c.WriteDataPadded(id, true, []byte("ok"), make([]byte, 20))
		}, ":status 103\nx-after 0\n:status 200\ndata ok\nended\n", balance.OK},
		{"a head in pieces", func(c *answerer, id uint32) {
			c.text.Reset()
			_ = c.pack.WriteField(hpack.HeaderField{Name: ":status", Value: "404"})
			_ = c.pack.WriteField(hpack.HeaderField{Name: "x-after", Value: "y"})
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.text.Bytes()[:2], EndStream: true})
			_ = c.WriteContinuation(id, true, c.text.Bytes()[2:])
		}, ":status 404\nx-after y\nended\n", balance.ClientError},
		{"trailers behind a known length", func(c *answerer, id uint32) {
			c.say(id, false, ":status 200", "content-length 2", "content-type application/grpc")
			_ = c.WriteData(id, false, []byte("ok"))
			c.say(id, true, "x-after 0")
		}, ":status 200\ndata ok\nx-after 0\nended\n", balance.OK},
		{"an empty end", func(c *answerer, id uint32) {
			c.say(id, false, ":status 200", "content-length 0")
			_ = c.WriteData(id, true, nil)
		}, ":status 200\nended\n", balance.OK},
		{"a reset instead", func(c *answerer, id uint32) { _ = c.WriteRSTStream(id, http2.ErrCodeInternal) }, ":status 502\n", balance.Broken},
		{"a reset within", func(c *answerer, id uint32) {
			c.say(id, false, ":status 200")
			_ = c.WriteData(id, false, []byte("ha"))
			_ = c.WriteRSTStream(id, http2.ErrCodeCancel)
		}, ":status 200\ndata ha\nreset INTERNAL_ERROR\n", balance.Broken},
		{"a reset of no fault behind it", func(c *answerer, id uint32) {
			c.say(id, false, ":status 200", "content-length 2")
			_ = c.WriteData(id, true, []byte("ok"))
			_ = c.WriteRSTStream(id, http2.ErrCodeNo)
		}, ":status 200\ndata ok\nended\n", balance.OK},
		{"more than was said", func(c *answerer, id uint32) {
			c.say(id, false, ":status 200", "content-length 2")
			_ = c.WriteData(id, true, []byte("too much"))
		}, ":status 200\nreset INTERNAL_ERROR\n", balance.Broken},
		{"less than was said", func(c *answerer, id uint32) {
			c.say(id, false, ":status 200", "content-length 9")
			_ = c.WriteData(id, true, []byte("short"))
		}, ":status 200\nreset INTERNAL_ERROR\n", balance.Broken},
		{"a body first", func(c *answerer, id uint32) { _ = c.WriteData(id, true, []byte("x")) }, ":status 502\n", balance.Broken},
		{"no status", func(c *answerer, id uint32) { c.say(id, true, "x-after 0") }, ":status 502\n", balance.Broken},
		{"a status that is none", func(c *answerer, id uint32) { c.say(id, true, ":status 2x0") }, ":status 502\n", balance.Broken},
		{"a capital letter", func(c *answerer, id uint32) { c.say(id, true, ":status 200", "X-After 0") }, ":status 502\n", balance.Broken},
		{"a push", func(c *answerer, id uint32) {
			_ = c.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: 2, BlockFragment: []byte{0x82}, EndHeaders: true})
		}, ":status 502\n", balance.Broken},
		{"nothing any more", func(c *answerer, _ uint32) { _ = c.Close() }, ":status 502\n", balance.Broken},
	} {
		p := to(framing(t, nil, func(a *answerer, _ int) {
			if id := a.head(); id != 0 {
				c.talk(a, id)
				a.rest()
			}
		}))
		r := runH2C(t, p, speaksHTTP2)
		client := r.talker()
		got := client.hear(client.open(true), func(said string) bool { return strings.Contains(said, ":status 502") })
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		p.wantResults(t, c.ended)
		r.stop()
	}
}

// A stream that the server has not looked at is tried again, even one that must not be
// sent twice: on another connection, or with another server.
func TestHTTP2NotTaken(t *testing.T) { eachPicker(t, testHTTP2NotTaken) }

func testHTTP2NotTaken(t *testing.T) {
	refusing := framing(t, nil, func(c *answerer, _ int) {
		for id := c.head(); id != 0; id = c.head() {
			_ = c.WriteRSTStream(id, http2.ErrCodeRefusedStream)
		}
	})
	refusing.Server = "refusing"
	good := granted("good", http2Server(t, echo))
	p := newFakePicker()
	p.pick = among(refusing, good)
	r := runH2C(t, p, speaksHTTP2)
	c := r.talker()
	if got := c.hear(c.open(true), nil); got != ":status 200\ndata POST / \nended\n" {
		t.Errorf("refused: got %q", got)
	}
	p.wantResults(t, balance.Full, balance.OK)

	leaving := framing(t, nil, func(c *answerer, before int) {
		id := c.head()
		c.say(id, true, ":status 204")
		if id = c.head(); id == 3 && before == 0 {
			_ = c.WriteGoAway(1, http2.ErrCodeNo, nil)
		} else if id != 0 {
			c.say(id, true, ":status 204")
		}
		c.rest()
	})
	p = to(leaving)
	r = runH2C(t, p, speaksHTTP2)
	c = r.talker()
	for range 2 {
		if got := c.hear(c.open(true), nil); got != ":status 204\nended\n" {
			t.Errorf("sent away: got %q", got)
		}
	}
	p.wantResults(t, balance.OK, balance.OK)
}

// A server that goes away finishes what it has taken.
func TestHTTP2ServerGoesAway(t *testing.T) { eachPicker(t, testHTTP2ServerGoesAway) }

func testHTTP2ServerGoesAway(t *testing.T) {
	ended := make(chan struct{})
	p := to(framing(t, nil, func(c *answerer, before int) {
		id := c.head()
		if before == 0 {
			_ = c.WriteGoAway(id, http2.ErrCodeNo, nil)
			c.say(id, false, ":status 200")
			_ = c.WriteData(id, false, []byte("ha"))
			<-ended
			_ = c.WriteData(id, true, []byte("lf"))
		} else if id != 0 {
			c.say(id, true, ":status 204")
		}
		c.rest()
	}))
	r := runH2C(t, p, speaksHTTP2)
	c := r.talker()
	first := c.open(true)
	if got := c.hear(first, func(said string) bool { return strings.Contains(said, "ha") }); got != ":status 200\ndata ha\n" {
		t.Errorf("got %q", got)
	}
	if got := c.hear(c.open(true), nil); got != ":status 204\nended\n" { // by another connection
		t.Errorf("got %q", got)
	}
	close(ended)
	if got := c.hear(first, nil); got != "data lf\nended\n" {
		t.Errorf("got %q", got)
	}
	p.wantResults(t, balance.OK, balance.OK)
}

// No more goes to a server than its windows let through, and all of it when they open.
func TestHTTP2ServersWindows(t *testing.T) { eachPicker(t, testHTTP2ServersWindows) }

func testHTTP2ServersWindows(t *testing.T) {
	const body = "0123456789abcdefghijklmnopqrstuvwxyz"
	p := to(framing(t, []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 10}, {ID: http2.SettingHeaderTableSize, Val: 0}}, func(c *answerer, _ int) {
		c.heap.SetAllowedMaxDynamicTableSize(0)
		for id := c.head(); id != 0; id = c.head() {
			_, said := c.next()
			if want := "data 0123456789"; said != want {
				t.Errorf("got %q, want %q", said, want)
			}
			_ = c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 5}) // five less than nothing
			_ = c.WriteWindowUpdate(id, 6)
			if _, said := c.next(); said != "data a" {
				t.Errorf("got %q, want one byte", said)
			}
			_ = c.WriteWindowUpdate(id, 1000)
			all := ""
			for last := false; !last; {
				_, said := c.next()
				all += strings.TrimSuffix(strings.TrimPrefix(said, "data "), ", ended")
				if last = strings.HasSuffix(said, ", ended"); said == "" {
					break
				}
			}
			if all != body[11:] {
				t.Errorf("got %q, want the rest", all)
			}
			_ = c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10}) // before the next request can be made
			c.say(id, true, ":status 204")
		}
	}))
	r := runH2C(t, p, speaksHTTP2)
	for _, method := range []string{"PUT", "POST"} { // the one is read whole before it is sent
		for _, sent := range []io.Reader{strings.NewReader(body), io.MultiReader(strings.NewReader(body))} {
			if res, _ := r.do(r.two(method, "/", sent)); res.StatusCode != 204 {
				t.Errorf("%s: got %s", method, res.Status)
			}
		}
	}
}

// A client that gives a request up is not worked for any more.
func TestHTTP2CancelReachesTheServer(t *testing.T) { eachPicker(t, testHTTP2CancelReachesTheServer) }

func testHTTP2CancelReachesTheServer(t *testing.T) {
	arrived, said := make(chan struct{}), make(chan string, 1)
	p := to(framing(t, nil, func(c *answerer, _ int) {
		if c.head() != 0 {
			close(arrived)
			_, line := c.next()
			said <- line
			c.rest()
		}
	}))
	r := runH2C(t, p, speaksHTTP2)
	c := r.talker()
	id := c.open(false)
	<-arrived
	_ = c.WriteRSTStream(id, http2.ErrCodeCancel)
	if got := <-said; got != "reset CANCEL" {
		t.Errorf("the server got %q", got)
	}
	p.wantResults(t, balance.Canceled)
}

// No connection carries more streams than its server takes.
func TestHTTP2ServersLimit(t *testing.T) { eachPicker(t, testHTTP2ServersLimit) }

func testHTTP2ServersLimit(t *testing.T) {
	const most, all = 3, 8
	var mu sync.Mutex
	var begun sync.WaitGroup
	begun.Add(all)
	p := to(framing(t, []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: most}}, func(c *answerer, _ int) {
		var ids []uint32
		for id := c.head(); id != 0; id = c.head() {
			mu.Lock()
			if ids = append(ids, id); len(ids) > most {
				t.Errorf("%d streams at once, want at most %d", len(ids), most)
			}
			mu.Unlock()
			begun.Done()
			go func() {
				begun.Wait()
				mu.Lock()
				defer mu.Unlock()
				c.say(id, true, ":status 204")
			}()
		}
	}))
	r := runH2C(t, p, func(c *Config) { speaksHTTP2(c); c.Loops = 1 })
	c := r.talker()
	for range all {
		c.open(true)
	}
	ended := 0
	for ended < all {
		f, err := c.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := f.(*http2.HeadersFrame); ok && f.StreamEnded() {
			ended++
		}
	}
}

// Servers that speak something else are not sent a request.
func TestHTTP2ServerSpeaksNone(t *testing.T) { eachPicker(t, testHTTP2ServerSpeaksNone) }

func testHTTP2ServerSpeaksNone(t *testing.T) {
	one := granted("one", server(t, echo))
	good := granted("good", http2Server(t, echo))
	p := newFakePicker()
	p.pick = among(dead(t, "dead"), one, good)
	r := runH2C(t, p, speaksHTTP2)
	if res, body := r.do(r.two("POST", "/", strings.NewReader("once"))); res.StatusCode != 200 || body != "POST / once" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	p.wantResults(t, balance.Unreachable, balance.Unreachable, balance.OK)
}

// One that takes connections and says nothing is given up in time.
func TestHTTP2SilentServer(t *testing.T) { eachPicker(t, testHTTP2SilentServer) }

func testHTTP2SilentServer(t *testing.T) {
	silent := scripted(t, func(_ *net.TCPConn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	p := newFakePicker()
	p.pick = among(silent)
	r := runH2C(t, p, func(c *Config) { speaksHTTP2(c); c.ConnectTimeout = 50 * time.Millisecond })
	res, body := r.do(r.two("POST", "/", nil))
	wantStatus(t, res, body, 502, "unreachable")
	p.wantResults(t, balance.Unreachable)
}

// A client need not wait for a connection that is being made for it.
func TestHTTP2CancelBeforeTheServerSpeaks(t *testing.T) {
	eachPicker(t, testHTTP2CancelBeforeTheServerSpeaks)
}

func testHTTP2CancelBeforeTheServerSpeaks(t *testing.T) {
	said := make(chan struct{})
	p := to(scripted(t, func(conn *net.TCPConn, r *bufio.Reader) {
		_, _ = r.ReadByte()
		close(said)
		_, _ = io.Copy(io.Discard, r)
	}))
	r := runH2C(t, p, func(c *Config) { speaksHTTP2(c); c.ConnectTimeout = time.Minute })
	c := r.talker()
	id := c.open(true)
	<-said
	_ = c.WriteRSTStream(id, http2.ErrCodeCancel)
	p.wantResults(t, balance.Canceled)
}

// A server that takes no streams is as good as none.
func TestHTTP2ServerTakesNone(t *testing.T) { eachPicker(t, testHTTP2ServerTakesNone) }

func testHTTP2ServerTakesNone(t *testing.T) {
	none := framing(t, []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: 0}}, func(c *answerer, _ int) { c.rest() })
	p := newFakePicker()
	p.pick = among(none, granted("good", http2Server(t, echo)))
	r := runH2C(t, p, speaksHTTP2)
	if res, body := r.do(r.two("POST", "/", strings.NewReader("once"))); res.StatusCode != 200 || body != "POST / once" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	p.wantResults(t, balance.Unreachable, balance.OK)
}

// All who have waited for a server's first words go on when it has spoken.
func TestHTTP2ServerSpeaksLate(t *testing.T) { eachPicker(t, testHTTP2ServerSpeaksLate) }

func testHTTP2ServerSpeaksLate(t *testing.T) {
	asked := make(chan struct{})
	good := framing(t, nil, func(c *answerer, _ int) {
		for id := c.head(); id != 0; id = c.head() {
			c.say(id, true, ":status 204")
		}
	})
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var joining sync.WaitGroup
	joining.Go(func() {
		conn, err := front.Accept()
		if err != nil {
			return
		}
		<-asked // all who wait for the server do
		behind, err := net.Dial("tcp", good.Address)
		if err != nil {
			t.Error(err)
			return
		}
		joining.Go(func() { _, _ = io.Copy(behind, conn); _ = behind.Close() })
		_, _ = io.Copy(conn, behind)
		_ = conn.Close()
	})
	t.Cleanup(func() { _ = front.Close(); joining.Wait() })
	p := to(balance.Grant{Server: "a", Address: front.Addr().String()})
	r := runH2C(t, p, func(c *Config) { speaksHTTP2(c); c.Loops = 1 })
	c := r.talker()
	const all = 20
	for range all {
		c.open(true)
	}
	r.asked(all)
	close(asked)
	for ended := 0; ended < all; {
		f, err := c.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := f.(*http2.HeadersFrame); ok && f.StreamEnded() {
			ended++
		}
	}
}

// A server's name is looked up, and those who wait for it share the connection.
func TestHTTP2ServerByName(t *testing.T) { eachPicker(t, testHTTP2ServerByName) }

func testHTTP2ServerByName(t *testing.T) {
	s := http2Server(t, echo)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	p := to(balance.Grant{Server: "a", Address: "localhost:" + port})
	r := runH2C(t, p, speaksHTTP2)
	var clients sync.WaitGroup
	for range 5 {
		clients.Go(func() {
			res, err := r.client.Do(r.two("GET", "/", nil))
			if err != nil {
				t.Error(err)
				return
			}
			body, _ := io.ReadAll(res.Body)
			if _ = res.Body.Close(); string(body) != "GET / " {
				t.Errorf("got %q", body)
			}
		})
	}
	clients.Wait()
}

// The edge answers a server's PING.
func TestHTTP2ServersPing(t *testing.T) { eachPicker(t, testHTTP2ServersPing) }

func testHTTP2ServersPing(t *testing.T) {
	p := to(framing(t, nil, func(c *answerer, _ int) {
		id := c.head()
		_ = c.WritePing(false, [8]byte([]byte("12345678")))
		for said := ""; said != "ping 12345678"; _, said = c.next() {
		}
		c.say(id, true, ":status 204")
		c.rest()
	}))
	r := runH2C(t, p, speaksHTTP2)
	if res, _ := r.do(r.two("GET", "/", nil)); res.StatusCode != 204 {
		t.Errorf("got %s", res.Status)
	}
}

// Whatever a server says, the edge goes on, and its client gets an answer or a reset.
func FuzzHTTP2Server(f *testing.F) {
	settings := h2.AppendSettings(nil)
	f.Add(settings)
	f.Add(append(bytes.Clone(settings), "\x00\x00\x01\x01\x05\x00\x00\x00\x01\x88"...))
	f.Add(append(bytes.Clone(settings), "\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88\x00\x00\x02\x00\x01\x00\x00\x00\x01ok"...))
	f.Add(h2.AppendGoAway(bytes.Clone(settings), 0, h2.NoError, ""))
	f.Add(h2.AppendReset(bytes.Clone(settings), 1, h2.RefusedStream))
	var says atomic.Pointer[[]byte]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write(*says.Load())
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn) // until the edge ends it
			_ = conn.Close()
		}
	}()
	p := newFakePicker()
	p.pick = among(balance.Grant{Server: "a", Address: l.Addr().String()})
	address := fuzzed(f, Config{ID: "e1", Loops: 1, Listeners: []routing.Listener{{Listen: "127.0.0.1:0", H2C: true, Routes: []routing.Route{{Pool: "web", ServerProtocol: routing.HTTP2}}}}}, p)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	f.Cleanup(transport.CloseIdleConnections)
	client := http.Client{Transport: transport, Timeout: time.Minute}
	f.Fuzz(func(t *testing.T, said []byte) {
		says.Store(&said)
		res, err := client.Get(fmt.Sprintf("http://%s/", address))
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body) // whatever it is
			_ = res.Body.Close()
		}
		if late := (interface{ Timeout() bool })(nil); errors.As(err, &late) && late.Timeout() {
			t.Fatal("neither an answer nor a reset in a minute")
		}
	})
}
