//go:build !evenkeel_portable

package h2conn

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// peer is the other end of a connection under test. It writes frames and reads those that come as text, one a line:
// type, stream, END_STREAM, and what the frame says.
type peer struct {
	t       *testing.T
	shared  *Shared
	conn    *conn
	socket  *fd.FD
	streams []*eventloop.Conn // of the users of the connection under test
	fields  *hpack.Decoder
	read    []byte // that is no whole frame
}

// newPeer makes the socket of a connection; begin takes its other end, as the connection's user does.
func newPeer(t *testing.T, begin func(shared *Shared, own *fd.FD) *conn) *peer {
	t.Helper()
	own, other, err := fd.Pair()
	if err != nil {
		t.Fatal(err)
	}
	shared := &Shared{Loop: loopWithTurns(t, time.Hour)}
	shared.Loop.Now = begun
	p := &peer{t: t, shared: shared, socket: other, fields: hpack.NewDecoder(4096, nil)}
	p.conn = begin(shared, own)
	t.Cleanup(func() {
		p.conn.Conn.Close()
		p.socket.Close()
	})
	return p
}

// sends sends bytes, and returns what comes back, after all has been read.
func (p *peer) sends(pieces ...[]byte) []string {
	p.t.Helper()
	for _, text := range pieces {
		for len(text) > 0 && p.conn.IsOpen() {
			n, err := p.socket.Send(text)
			if err != nil {
				p.t.Fatal(err)
			}
			text = text[n:]
			p.conn.Readable = true
			p.turn()
		}
	}
	return p.receives()
}

// turn does what the loop does in an iteration.
func (p *peer) turn() {
	if p.conn.IsOpen() {
		p.conn.Conn.Owner.OnReady()
	}
	p.shared.Flush()
	for _, c := range append(p.streams, &p.conn.Conn) {
		if c.Deferred {
			c.Deferred = false
			c.Owner.OnReady()
		}
	}
	p.shared.Flush()
}

// receives returns the frames that have come.
func (p *peer) receives() (lines []string) {
	p.t.Helper()
	buf := make([]byte, 1<<16)
	ended := false
	for {
		n, err := p.socket.Receive(buf)
		if n > 0 {
			p.read = append(p.read, buf[:n]...)
			continue
		}
		ended = err == nil
		break
	}
	for len(p.read) > 0 {
		f, n, err := h2.Next(p.read)
		if err != nil || n == 0 {
			p.t.Fatalf("%x is no frame: %v", p.read, err)
		}
		lines = append(lines, p.line(&f))
		p.read = p.read[n:]
	}
	if ended {
		lines = append(lines, "the end")
	}
	return lines
}

var types = map[h2.Type]string{h2.Data: "DATA", h2.Headers: "HEADERS", h2.RSTStream: "RST_STREAM", h2.Settings: "SETTINGS", h2.Ping: "PING", h2.GoAway: "GOAWAY", h2.WindowUpdate: "WINDOW_UPDATE"}

var codes = map[h2.Code]string{h2.NoError: "NO_ERROR", h2.ProtocolError: "PROTOCOL_ERROR", h2.InternalError: "INTERNAL_ERROR", h2.FlowControlError: "FLOW_CONTROL_ERROR", h2.StreamClosed: "STREAM_CLOSED",
	h2.FrameSizeError: "FRAME_SIZE_ERROR", h2.RefusedStream: "REFUSED_STREAM", h2.Cancel: "CANCEL", h2.CompressionError: "COMPRESSION_ERROR", h2.EnhanceYourCalm: "ENHANCE_YOUR_CALM"}

func (p *peer) line(f *h2.Frame) string {
	words := []string{types[f.Type]}
	if f.Stream > 0 {
		words = append(words, fmt.Sprint(f.Stream))
	}
	if f.Flags&h2.EndStream != 0 {
		words = append(words, map[bool]string{true: "ack", false: "end"}[f.Stream == 0])
	}
	switch f.Type {
	case h2.Data:
		words = append(words, size(f.Payload))
	case h2.Headers:
		fields, err := p.fields.DecodeFull(f.Payload)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, field := range fields {
			words = append(words, field.Name+"="+field.Value)
		}
	case h2.RSTStream:
		words = append(words, codes[h2.Code(f.Number())])
	case h2.GoAway:
		words = append(words, fmt.Sprint(f.Number()), codes[h2.Code(binary.BigEndian.Uint32(f.Payload[4:]))])
	case h2.WindowUpdate:
		words = append(words, fmt.Sprint(f.Number()))
	case h2.Ping:
		words = append(words, string(f.Payload))
	case h2.Settings:
		for rest := f.Payload; len(rest) > 0; {
			s, value, more, _ := h2.NextSetting(rest)
			words, rest = append(words, fmt.Sprintf("%d=%d", s, value)), more
		}
	}
	return strings.Join(words, " ")
}

// size is data as text, or its length if it is long.
func size(p []byte) string {
	if len(p) > 20 {
		return fmt.Sprintf("(%d bytes)", len(p))
	}
	return string(p)
}

// The frames that a peer sends. end sets END_STREAM.

const end = h2.EndStream

func frame(t h2.Type, flags h2.Flags, stream uint32, payload string) []byte {
	return append(h2.AppendFrame(nil, len(payload), t, flags, stream), payload...)
}

func data(stream uint32, flags h2.Flags, text string) []byte {
	return frame(h2.Data, flags, stream, text)
}

// packed returns the fields "name=value ..." as a header block has them.
func packed(fields string) string {
	var text []byte
	for _, field := range strings.Fields(fields) {
		name, value, _ := strings.Cut(strings.TrimPrefix(field, ":"), "=")
		if field[0] == ':' {
			name = ":" + name
		}
		text = h2.AppendField(text, []byte(name), []byte(value))
	}
	return string(text)
}

func headers(stream uint32, flags h2.Flags, fields string) []byte {
	return frame(h2.Headers, flags|h2.EndHeaders, stream, packed(fields))
}

func settings(all ...h2.Chosen) []byte      { return h2.AppendSettings(nil, all...) }
func reset(stream uint32, c h2.Code) []byte { return h2.AppendReset(nil, stream, c) }
func windowUpdate(stream, n uint32) []byte  { return h2.AppendWindowUpdate(nil, stream, n) }
func window(n uint32) h2.Chosen             { return h2.Chosen{Setting: h2.InitialWindowSize, Value: n} }
func goAway(last uint32, c h2.Code) []byte  { return h2.AppendGoAway(nil, last, c, "") }
func maxStreams(n uint32) h2.Chosen         { return h2.Chosen{Setting: h2.MaxConcurrentStreams, Value: n} }
func unknownFrame(stream uint32) []byte     { return frame(0xfa, 0, stream, "what is this") }
func without(lines []string, of string) []string {
	return slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, of) })
}
