package e2e

import (
	"bytes"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// piece is a frame of a stream, as it goes out.
type piece []byte

// stream makes a request's frames by HTTP/2.
func (d *dialogue) stream(id uint32, pack *hpack.Encoder, text *bytes.Buffer) (frames []piece) {
	w := d.describe()
	text.Reset()
	field := func(name, value string) { _ = pack.WriteField(hpack.HeaderField{Name: name, Value: value}) } // into memory
	pseudo := [][2]string{{":method", w.method}, {":scheme", "http"}, {":path", w.target}, {":authority", w.host}}
	if d.loose && d.IntN(2) == 0 {
		change := &pseudo[d.IntN(len(pseudo))]
		change[1] = one(d, "", "/", "*", "http://evil.example/x", "https", "GET /smuggled HTTP/1.1", "a b", "evil.example", "/\r\n", "é", "/x#y", "CONNECT", change[1]+"\x00", change[1]+" ")
	}
	d.Shuffle(len(pseudo), func(i, j int) { pseudo[i], pseudo[j] = pseudo[j], pseudo[i] })
	for _, p := range pseudo {
		field(p[0], p[1])
	}
	field("x-case", w.number)
	if w.id != "" {
		field("x-request-id", w.id)
	}
	var body []byte
	w.body = hashed(nil)
	hasBody := d.IntN(3) == 0 || w.method == "POST"
	if hasBody {
		body = d.payload(w.number)
		body = body[:min(len(body), 9000)] // all streams fit into a window
		w.body = hashed(body)
		if d.IntN(2) == 0 {
			field("content-length", strconv.Itoa(len(body)))
		}
	}
	for range d.IntN(4) {
		field(one(d, "x-a", "accept", "cookie", "x-long"), one(d, "", "1", strings.Repeat("z", d.IntN(1500))))
	}
	if d.loose && d.IntN(2) == 0 {
		field(one(d, "Host", "host", "connection", "content-length", "transfer-encoding", ":path", "x y", "", "te", "evenkeel-lease"), one(d, "1", "h.example", "evil.example", "chunked", "a\r\nX-Case: other"))
	}
	block := bytes.Clone(text.Bytes())
	trailers := hasBody && d.IntN(5) == 0
	last := len(block)
	if d.IntN(4) == 0 {
		last = 1 + d.IntN(len(block))
	}
	write := func(do func(f *http2.Framer)) {
		var out bytes.Buffer
		f := http2.NewFramer(&out, nil)
		f.AllowIllegalWrites = true
		do(f)
		frames = append(frames, out.Bytes())
	}
	write(func(f *http2.Framer) { // a block is never interrupted
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:last], EndStream: !hasBody, EndHeaders: last == len(block), PadLength: uint8(d.IntN(9))})
		if last < len(block) {
			_ = f.WriteContinuation(id, true, block[last:])
		}
	})
	for hasBody {
		n := min(len(body), d.IntN(4000))
		part := body[:n]
		body = body[n:]
		over := len(body) == 0
		write(func(f *http2.Framer) { _ = f.WriteDataPadded(id, over && !trailers, part, make([]byte, d.IntN(9))) })
		if over {
			break
		}
	}
	if trailers {
		text.Reset()
		field("x-trailer", "t")
		block := bytes.Clone(text.Bytes())
		write(func(f *http2.Framer) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true})
		})
	}
	if d.loose && d.IntN(4) == 0 {
		bad := frames[d.IntN(len(frames))]
		bad[d.IntN(len(bad))] = byte(d.Uint32())
	}
	return frames
}

// talk2 says requests by HTTP/2, their frames mixed, and hears the answers.
func (d *dialogue) talk2(address string) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		d.problem = err.Error()
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var out, text bytes.Buffer
	pack := hpack.NewEncoder(&text)
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, nil)
	_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	_ = f.WriteWindowUpdate(0, 1<<24)
	// Fields are packed in the order in which their streams begin; frames behind them mix.
	var begun [][]piece
	for i := range 1 + d.IntN(8) {
		frames := d.stream(uint32(2*i+1), pack, &text)
		out.Write(frames[0])
		if last := frames[len(frames)-1]; len(frames) > 1 && last[3] == byte(http2.FrameHeaders) {
			for _, p := range frames[1:] { // trailers come in their turn, for they are packed
				out.Write(p)
			}
			continue
		}
		begun = append(begun, frames[1:])
		if d.IntN(2) == 0 {
			begun = d.mix(&out, begun, d.IntN(4))
		}
	}
	d.mix(&out, begun, 1<<20)
	d.out = out.Bytes()
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.read2(conn, 2*len(d.requests)-1)
	}()
	d.inPieces(conn, d.out)
	if d.loose {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	<-done
}

// mix writes some frames, each of any stream that has more.
func (d *dialogue) mix(out *bytes.Buffer, of [][]piece, most int) [][]piece {
	for ; most > 0 && len(of) > 0; most-- {
		i := d.IntN(len(of))
		if len(of[i]) > 0 {
			out.Write(of[i][0])
			of[i] = of[i][1:]
		}
		if len(of[i]) == 0 {
			of = append(of[:i], of[i+1:]...)
		}
	}
	return of
}

// read2 reads what comes until all streams have ended, or the connection has.
func (d *dialogue) read2(conn net.Conn, streams int) {
	f := http2.NewFramer(nil, conn) // an acknowledgement could come into the middle of a frame
	heap := hpack.NewDecoder(4096, nil)
	answers := make(map[uint32]*heardAnswer)
	whole, ended := make(map[uint32]bool), 0
	for ended < (streams+1)/2 {
		frame, err := f.ReadFrame()
		if err != nil {
			var fault http2.ConnectionError
			if !d.loose || errors.As(err, &fault) {
				d.wrong("%d of %d streams have ended: %v", ended, (streams+1)/2, err)
			}
			return
		}
		id := frame.Header().StreamID
		a := answers[id]
		if a == nil {
			a = new(heardAnswer)
			answers[id] = a
		}
		over := false
		switch frame := frame.(type) {
		case *http2.GoAwayFrame:
			if !d.loose {
				d.wrong("GOAWAY %v %s", frame.ErrCode, frame.DebugData())
			}
		case *http2.RSTStreamFrame:
			if whole[id] { // the rest of its request is not needed
				continue
			}
			if !d.loose {
				d.wrong("stream %d is reset: %v", id, frame.ErrCode)
			}
			ended++
		case *http2.HeadersFrame:
			fields, err := heap.DecodeFull(frame.HeaderBlockFragment())
			if err != nil {
				d.wrong("%v", err)
				return
			}
			for _, field := range fields {
				switch field.Name {
				case ":status":
					a.status, _ = strconv.Atoi(field.Value)
				case "x-case":
					a.number = field.Value
				case "x-request-id":
					a.id = field.Value
				}
			}
			over = frame.StreamEnded()
		case *http2.DataFrame:
			a.body = append(a.body, frame.Data()...)
			over = frame.StreamEnded()
		}
		if over {
			ended++
			whole[id] = true
			d.answers = append(d.answers, *a)
			if !d.loose && a.number != d.requests[id/2].number {
				d.wrong("stream %d has the answer to %s, want %s", id, a.number, d.requests[id/2].number)
			}
		}
	}
}
