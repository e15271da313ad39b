package edge

import (
	"golang.org/x/net/http2/hpack"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/h2"
)

// block is a block of fields that comes in several frames.
type block struct {
	stream uint32 // zero: none
	ended  bool   // the stream, with it
	octets []byte
	frames int
	since  balance.Instant
}

const blockFrames = 1000 // that one may come in

// begin takes the first frame.
func (b *block) begin(f *h2.Frame, now balance.Instant) {
	*b = block{stream: f.Stream, ended: f.Has(h2.EndStream), octets: append(b.octets[:0], f.Payload...), frames: 1, since: now}
}

// goOn takes another frame. whole: it was the last, and there is no block any more.
func (b *block) goOn(f *h2.Frame, most int) (last block, whole bool, err error) {
	if b.stream == 0 {
		return last, false, &h2.Error{Code: h2.ProtocolError, Reason: "CONTINUATION of nothing"}
	}
	b.frames++
	if b.octets = append(b.octets, f.Payload...); len(b.octets) > most || b.frames > blockFrames {
		return last, false, &h2.Error{Code: h2.EnhanceYourCalm, Reason: "a block of fields is larger than is taken here"}
	}
	if !f.Has(h2.EndHeaders) {
		return last, false, nil
	}
	last, *b = *b, block{}
	return last, true, nil
}

// unpack gives the fields of a whole block to whom the decoder emits them.
func unpack(packed *hpack.Decoder, octets []byte) error {
	_, err := packed.Write(octets)
	if err == nil {
		err = packed.Close()
	}
	if err != nil {
		return &h2.Error{Code: h2.CompressionError, Reason: "a block of fields cannot be unpacked"}
	}
	return nil
}
