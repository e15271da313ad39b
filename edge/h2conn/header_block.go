package h2conn

import (
	"golang.org/x/net/http2/hpack"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/h2"
)

// headerBlock is a header block that comes in several frames (RFC 9113, 4.3).
type headerBlock struct {
	stream    uint32 // zero: none
	endStream bool   // END_STREAM was set
	bytes     []byte
	frames    int
	startedAt balance.Instant
}

const maxBlockFrames = 1000 // of one block

// start takes the HEADERS frame.
func (b *headerBlock) start(f *h2.Frame, now balance.Instant) {
	*b = headerBlock{stream: f.Stream, endStream: f.Has(h2.EndStream), bytes: append(b.bytes[:0], f.Payload...), frames: 1, startedAt: now}
}

// add takes a CONTINUATION frame. whole reports that it was the last; then the block is empty again.
func (b *headerBlock) add(f *h2.Frame, most int) (last headerBlock, whole bool, err error) {
	if b.stream == 0 {
		return last, false, &h2.Error{Code: h2.ProtocolError, Reason: "CONTINUATION of nothing"}
	}
	b.frames++
	if b.bytes = append(b.bytes, f.Payload...); len(b.bytes) > most || b.frames > maxBlockFrames {
		return last, false, &h2.Error{Code: h2.EnhanceYourCalm, Reason: "a header block is larger than allowed"}
	}
	if !f.Has(h2.EndHeaders) {
		return last, false, nil
	}
	last, *b = *b, headerBlock{}
	return last, true, nil
}

// decodeBlock decodes a whole block; the decoder emits its fields.
func decodeBlock(packed *hpack.Decoder, block []byte) error {
	_, err := packed.Write(block)
	if err == nil {
		err = packed.Close()
	}
	if err != nil {
		return &h2.Error{Code: h2.CompressionError, Reason: "a header block cannot be decoded"}
	}
	return nil
}
