package h2

import "encoding/binary"

// Type is a frame's.
type Type uint8

const (
	Data         Type = 0x0
	Headers      Type = 0x1
	Priority     Type = 0x2
	RSTStream    Type = 0x3
	Settings     Type = 0x4
	PushPromise  Type = 0x5
	Ping         Type = 0x6
	GoAway       Type = 0x7
	WindowUpdate Type = 0x8
	Continuation Type = 0x9
)

// Flags are a frame's.
type Flags uint8

const (
	EndStream   Flags = 0x1
	Ack         Flags = 0x1
	EndHeaders  Flags = 0x4
	Padded      Flags = 0x8
	Prioritised Flags = 0x20
)

const (
	// HeadSize is what stands before every payload.
	HeadSize = 9
	// FrameMost is the largest payload that is taken, the least that may be asked for.
	FrameMost = 16 << 10
	// WindowMost is the largest that a window may be.
	WindowMost = 1<<31 - 1
	// WindowFirst is what a window is before anything is said of it.
	WindowFirst = 1<<16 - 1
	// StreamMost is the largest number of a stream.
	StreamMost = 1<<31 - 1
)

// Preface is what a client begins with.
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Frame is one that has come. Its payload is what was read, without padding and priority.
type Frame struct {
	Type    Type
	Flags   Flags
	Stream  uint32
	Payload []byte
	Size    int // bytes of the payload as it came, which is what windows count
}

// Has reports whether a flag is set.
func (f *Frame) Has(flag Flags) bool { return f.Flags&flag != 0 }

// Next reads the frame that buf begins with, and returns how many bytes it has; zero
// and no error: it has not come whole. What can be said against a frame by itself has
// been, if there is no error.
func Next(buf []byte) (f Frame, n int, err error) {
	if len(buf) < HeadSize {
		return f, 0, nil
	}
	size := int(buf[0])<<16 | int(buf[1])<<8 | int(buf[2])
	if size > FrameMost {
		return f, 0, bad(FrameSizeError, "a frame is larger than was allowed")
	}
	if n = HeadSize + size; len(buf) < n {
		return f, 0, nil
	}
	f = Frame{Type: Type(buf[3]), Flags: Flags(buf[4]), Stream: binary.BigEndian.Uint32(buf[5:]) & StreamMost, Payload: buf[HeadSize:n], Size: size}
	if e := f.check(); e != nil {
		return f, 0, e
	}
	return f, n, nil
}

// shapes tell of each type whether it belongs to a stream or to the connection, and how
// large its payload is.
var shapes = [...]struct {
	stream, connection bool // where it must not stand
	size               int  // negative: any
}{
	Data:         {connection: true, size: -1},
	Headers:      {connection: true, size: -1},
	Priority:     {connection: true, size: 5},
	RSTStream:    {connection: true, size: 4},
	Settings:     {stream: true, size: -1},
	PushPromise:  {connection: true, stream: true, size: -1}, // RFC 9113, 8.4: "A client cannot push"
	Ping:         {stream: true, size: 8},
	GoAway:       {stream: true, size: -1},
	WindowUpdate: {size: 4},
	Continuation: {connection: true, size: -1},
}

func (f *Frame) check() *Error {
	if int(f.Type) >= len(shapes) {
		return nil // RFC 9113, 5.5: unknown ones are ignored
	}
	s := &shapes[f.Type]
	switch {
	case f.Stream == 0 && s.connection, f.Stream != 0 && s.stream:
		return bad(ProtocolError, "a frame stands where its type does not belong")
	case s.size >= 0 && f.Size != s.size:
		return bad(FrameSizeError, "a frame has not the size of its type")
	}
	switch f.Type {
	case Data, Headers:
		return f.strip()
	case Priority:
		return f.depends()
	case Settings:
		if f.Size%6 != 0 || f.Has(Ack) && f.Size > 0 {
			return bad(FrameSizeError, "SETTINGS of a size that it cannot have")
		}
	case GoAway:
		if f.Size < 8 {
			return bad(FrameSizeError, "GOAWAY is too short")
		}
	}
	return nil
}

// strip takes padding and priority off.
func (f *Frame) strip() *Error {
	if f.Has(Padded) {
		if len(f.Payload) == 0 || int(f.Payload[0]) >= len(f.Payload) {
			return bad(ProtocolError, "more padding than payload")
		}
		f.Payload = f.Payload[1 : len(f.Payload)-int(f.Payload[0])]
	}
	if f.Type != Headers || !f.Has(Prioritised) {
		return nil
	}
	if len(f.Payload) < 5 {
		return bad(FrameSizeError, "HEADERS is too short for its priority")
	}
	e := f.depends()
	f.Payload = f.Payload[5:]
	return e
}

// depends looks at a priority, of which nothing else is wanted.
func (f *Frame) depends() *Error {
	if f.Number() == f.Stream {
		return bad(ProtocolError, "a stream depends on itself")
	}
	return nil
}

// Number is what the payload begins with, without its first bit: the increment of
// WINDOW_UPDATE, the last stream of GOAWAY.
func (f *Frame) Number() uint32 { return binary.BigEndian.Uint32(f.Payload) & StreamMost }

// Setting is one of those that a peer may choose (RFC 9113, 6.5.2).
type Setting uint16

const (
	HeaderTableSize      Setting = 0x1
	EnablePush           Setting = 0x2
	MaxConcurrentStreams Setting = 0x3
	InitialWindowSize    Setting = 0x4
	MaxFrameSize         Setting = 0x5
	MaxHeaderListSize    Setting = 0x6
)

// NextSetting reads the first of the settings in p, of which there is one, and returns
// the rest.
func NextSetting(p []byte) (s Setting, value uint32, rest []byte, err error) {
	s, value, rest = Setting(binary.BigEndian.Uint16(p)), binary.BigEndian.Uint32(p[2:]), p[6:]
	switch {
	case s == EnablePush && value > 1:
		err = bad(ProtocolError, "ENABLE_PUSH is neither 0 nor 1")
	case s == InitialWindowSize && value > WindowMost:
		err = bad(FlowControlError, "INITIAL_WINDOW_SIZE is larger than a window may be")
	case s == MaxFrameSize && (value < FrameMost || value > 1<<24-1):
		err = bad(ProtocolError, "MAX_FRAME_SIZE is out of its bounds")
	}
	return s, value, rest, err
}
