package http1

import (
	"math"
	"strconv"
)

// Body follows one message body through the bytes that carry it. It is a value of
// a few words; copying it copies the position. Every byte is shown to it once, in
// order, by Pass or Decode, or reported by Skip.
type Body struct {
	Limit int64 // most bytes of data; 0: no limit

	left    int64 // bytes of data still to come: of the body, or of the chunk
	size    int64 // bytes of data so far
	framing Framing
	state   bodyState
	padded  bool   // blanks behind a chunk size are taken
	digits  uint8  // of the chunk size so far, and blanks behind it
	extra   uint16 // bytes of chunk extensions in the whole body

	reader *Trailers // has begun to read this body's trailers; nil: none has
}

type bodyState uint8

const (
	inData     bodyState = iota
	inSize               // first or a later digit of a chunk size
	inPad                // in the blanks behind it
	inExt                // after ';'
	inQuote              // in a quoted string of an extension
	inEscape             // after '\\' in there
	sizeCR               // LF must follow
	dataEnd              // CR must follow the data of a chunk
	dataCR               // LF must follow
	lastChunk            // CR ends the body, anything else begins the trailers
	lastCR               // LF must follow
	inTrailers           // ReadTrailers must be called
	ended
)

const (
	maxPadding    = 16   // blanks behind the size; some servers pad it to a fixed width
	maxSizeDigits = 8    // chunks of 4 GiB; more digits only serve to overflow a recipient's integer
	maxExtensions = 1024 // bytes in one body; no use of them is known
)

// NewBody returns the follower of a body with this framing. length is for ByLength.
func NewBody(f Framing, length int64) Body {
	b := Body{framing: f}
	switch f {
	case ByLength:
		b.left = length
		if length <= 0 {
			b.state = ended
		}
	case ByChunks:
		b.state = inSize
	case ByClose:
		b.left = math.MaxInt64
	default:
		b.state = ended
	}
	return b
}

// Done reports whether the message has ended: later bytes belong to the next one.
func (b *Body) Done() bool { return b.state == ended }

// AtTrailers reports whether the last chunk is over and trailers follow. Pass and Decode take no more;
// ReadTrailers does.
func (b *Body) AtTrailers() bool { return b.state == inTrailers }

// Size returns how many bytes of data there have been.
func (b *Body) Size() int64 { return b.size }

// Run returns how many of the next bytes are data for certain, whatever they are:
// as many can be moved without looking, and then be told to Skip. With ByClose it is
// all there will ever be.
func (b *Body) Run() int64 {
	if b.state != inData {
		return 0
	}
	if b.Limit > 0 {
		return min(b.left, b.Limit-b.size)
	}
	return b.left
}

// Skip says that n bytes of data were moved, at most Run().
func (b *Body) Skip(n int64) {
	if n < 0 || n > b.Run() {
		panic("http1: Skip beyond Run")
	}
	b.took(n)
}

func (b *Body) took(n int64) {
	b.size += n
	if b.framing == ByClose {
		return
	}
	b.left -= n
	if b.left > 0 {
		return
	}
	b.state = ended
	if b.framing == ByChunks {
		b.state = dataEnd
	}
}

// Close says that the sender closed the connection. That ends a body ByClose; any
// other must have ended before.
func (b *Body) Close() error {
	if b.framing == ByClose {
		b.state = ended
	}
	if b.state != ended {
		return ErrTruncated
	}
	return nil
}

// Pass returns how many bytes at the front of in belong to the body as it was
// sent, chunk sizes and all, and have been found good: they can be forwarded as they
// are. It is len(in) unless the body is Done, AtTrailers or in error. Chunk
// extensions pass too: RFC 9112 7.1.1 lets any recipient ignore them.
func (b *Body) Pass(in []byte) (int, error) {
	n := 0
	for n < len(in) && b.state < inTrailers {
		_, m, err := b.Decode(in[n:])
		n += m
		if err != nil {
			return n, err
		}
		if m == 0 {
			break
		}
	}
	return n, nil
}

// Decode finds the next data in in. It returns where they are, empty if there are
// none yet, and how many bytes of in are dealt with, up to the end of the data.
// Call it with the rest until that is empty or the body is Done, AtTrailers or in
// error.
func (b *Body) Decode(in []byte) (data Span, n int, err error) {
	for n < len(in) && b.state != inData && b.state < inTrailers {
		took, err := b.step(in[n])
		if err != nil {
			return Span{}, n, err
		}
		n += took
	}
	if b.state != inData || n == len(in) {
		return Span{uint32(n), uint32(n)}, n, nil
	}
	run := min(int64(len(in)-n), b.left)
	told := b.left // what is sure to come counts, not only what is here
	if b.framing == ByClose {
		told = run
	}
	if b.Limit > 0 && told > b.Limit-b.size {
		return Span{}, n, ErrLongBody
	}
	b.took(run)
	return Span{uint32(n), uint32(n) + uint32(run)}, n + int(run), nil
}

// step takes one byte of chunked framing. It returns how many it took, 1 or 0.
func (b *Body) step(c byte) (int, error) {
	switch b.state {
	case inSize, inPad:
		return 1, b.sizeByte(c)
	case inExt, inQuote, inEscape:
		return 1, b.extByte(c)
	case sizeCR:
		if c != '\n' {
			return 0, ErrBareCR
		}
		b.state = inData
		if b.left == 0 {
			b.state = lastChunk
		}
	case dataEnd:
		if c != '\r' {
			return 0, ErrChunkEnd
		}
		b.state = dataCR
	case dataCR:
		if c != '\n' {
			return 0, ErrChunkEnd
		}
		b.state, b.digits = inSize, 0
	case lastChunk:
		if c != '\r' {
			b.state = inTrailers
			return 0, nil
		}
		b.state = lastCR
	case lastCR:
		if c != '\n' {
			return 0, ErrBareCR
		}
		b.state = ended
	}
	return 1, nil
}

func (b *Body) sizeByte(c byte) error {
	switch {
	case b.state == inPad && b.digits >= maxSizeDigits+maxPadding:
		return ErrChunkSize
	case b.padded && b.digits > 0 && (c == ' ' || c == '\t'):
		b.state = inPad
		b.digits++
	case b.state == inSize && class[c]&isHex != 0:
		if b.digits == maxSizeDigits {
			return ErrChunkSize
		}
		b.digits++
		b.left = b.left<<4 | int64(hex(c))
	case b.digits == 0:
		return ErrChunkSize
	case c == '\r':
		b.state = sizeCR
	case c == ';':
		b.state = inExt
	case c == '\n':
		return ErrBareLF
	default:
		return ErrChunkSize
	}
	return nil
}

func hex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// extByte takes one byte of a chunk extension. Extensions are ignored (RFC 9112 7.1.1), but quoted strings must be complete: another
// recipient might look for their end beyond the end of the line.
func (b *Body) extByte(c byte) error {
	b.extra++
	switch {
	case c == '\n':
		return ErrBareLF
	case c == '\r' && b.state == inExt:
		b.state = sizeCR
	case b.extra > maxExtensions, c != '\t' && class[c]&isControl != 0, c >= 0x80:
		return ErrChunkExtension
	case b.state == inEscape:
		b.state = inQuote
	case b.state == inQuote && c == '\\':
		b.state = inEscape
	case c == '"' && b.state == inExt:
		b.state = inQuote
	case c == '"':
		b.state = inExt
	}
	return nil
}

// AppendChunkSize appends the line that goes before n bytes of data when a body is
// put into chunks. The data end with CRLF, the body with LastChunk.
func AppendChunkSize(dst []byte, n int) []byte {
	dst = strconv.AppendUint(dst, uint64(n), 16)
	return append(dst, "\r\n"...)
}

// LastChunk ends a body in chunks that has no trailers.
const LastChunk = "0\r\n\r\n"
