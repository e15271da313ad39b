package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// headerSize is the length and the type.
const headerSize = 5

// FrameError says what is wrong with bytes that came in.
type FrameError struct {
	What   string // such as "ask: field 2: 300 bytes, at most 255"
	Offset int    // of the offending byte: from the start of the payload, or of the buffer if no payload was found
}

func (e *FrameError) Error() string { return fmt.Sprintf("bad frame: byte %d: %s", e.Offset, e.What) }

// Next finds the first frame in buf. A size of zero says that the frame is not
// complete yet. The payload lies in buf; the next frame starts at buf[size:]. The error
// is a *FrameError: nothing behind it can be made sense of, and the connection is lost.
func Next(buf []byte) (t Type, payload []byte, size int, err error) {
	if len(buf) < headerSize {
		return 0, nil, 0, nil
	}
	length := binary.LittleEndian.Uint32(buf)
	if length == 0 {
		return 0, nil, 0, &FrameError{What: "a frame of length 0 has no type"}
	}
	if length > MaxFrame-4 {
		return 0, nil, 0, &FrameError{What: fmt.Sprintf("a frame of length %d, at most %d", length, MaxFrame-4)}
	}
	if len(buf)-4 < int(length) {
		return 0, nil, 0, nil
	}
	size = 4 + int(length)
	return Type(buf[4]), buf[headerSize:size:size], size, nil
}

// begin opens a frame at the end of dst; end closes the frame that was opened at start.
func begin(dst []byte, t Type) []byte { return append(dst, 0, 0, 0, 0, byte(t)) }

func end(dst []byte, start int) []byte {
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// Foreign tells which other protocol the first bytes of a connection look like, such as
// "HTTP", or "" if like none that it knows.
func Foreign(first []byte) string {
	for _, known := range foreign {
		if bytes.HasPrefix(first, []byte(known.prefix)) {
			return known.name
		}
	}
	return ""
}

var foreign = []struct{ prefix, name string }{
	{"PRI * HTTP/2", "HTTP/2"}, {"HTTP/", "HTTP"},
	{"GET ", "HTTP"}, {"POST", "HTTP"}, {"PUT ", "HTTP"}, {"HEAD", "HTTP"}, {"DELE", "HTTP"}, {"OPTI", "HTTP"}, {"PATC", "HTTP"}, {"CONN", "HTTP"}, {"TRAC", "HTTP"},
	{"<!DOCTYPE", "HTTP"}, {"<html", "HTTP"},
	{"\x16\x03", "TLS"}, {"\x15\x03", "TLS"}, {"SSH-", "SSH"}, {"PROXY ", "the PROXY protocol"}, {"\r\n\r\n\x00\r\nQUIT\n", "the PROXY protocol"},
}
