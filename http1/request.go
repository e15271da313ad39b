package http1

import (
	"bytes"
	"encoding/binary"
)

// RequestHead reads the heads of requests, one after another. The zero value is
// ready; Limits may be set before the first Parse.
type RequestHead struct {
	Head
	Method Method
	Verb   Span // the method as it was sent
	Form   TargetForm
	Target Span // as it was sent
	Path   Span // path and query of the target; empty with Authority, and when the URI has none
	Host   Span // the requested host, with the port if there is one: of the target if it says, else of the Host field; empty only in HTTP/1.0
	Expect bool // the client waits for 100 Continue before it sends the body

	// Continued says that the client has been told 100 Continue, or needs not be: Expect is not forwarded.
	// The caller sets it.
	Continued bool

	Trailers bool // TE says that trailers are welcome

	unmet bool // Expect says what cannot be met
}

// Method is a request method that is known here.
type Method uint8

const (
	MethodOther Method = iota
	MethodGet
	MethodHead
	MethodPost
	MethodPut
	MethodDelete
	MethodPatch
	MethodOptions
	MethodConnect
	MethodTrace
)

func method(verb []byte) Method {
	switch string(verb) {
	case "GET":
		return MethodGet
	case "HEAD":
		return MethodHead
	case "POST":
		return MethodPost
	case "PUT":
		return MethodPut
	case "DELETE":
		return MethodDelete
	case "PATCH":
		return MethodPatch
	case "OPTIONS":
		return MethodOptions
	case "CONNECT":
		return MethodConnect
	case "TRACE":
		return MethodTrace
	}
	return MethodOther
}

// longestMethod is in bytes. The longest registered with IANA has 17.
const longestMethod = 32

// Parse reads the head that begins at buf[0] and returns its length when it is
// complete. It returns 0 and no error when more is needed: then call it again with
// the same bytes and more behind them, in this or another buffer. One empty line
// before the head is skipped and counts to its length. An error is always an Error.

// After a success or an error, the next call begins another head.
func (h *RequestHead) Parse(buf []byte) (int, error) {
	if !h.begun {
		h.begin()
	}
	n, err := h.parse(buf)
	if n > 0 || err != nil {
		h.begun = false
	}
	return n, err
}

func (h *RequestHead) begin() {
	h.Head.begin()
	h.Method, h.Form = MethodOther, 0
	h.Verb, h.Target, h.Path, h.Host = Span{}, Span{}, Span{}, Span{}
	h.Expect, h.Continued, h.Trailers, h.unmet = false, false, false, false
}

func (h *RequestHead) parse(buf []byte) (int, error) {
	if h.Form == 0 {
		limit := h.Limits.line()
		if h.waiting(buf, limit) {
			return 0, nil
		}
		full, err := h.requestLine(buf[:min(len(buf), limit)])
		if err != nil {
			return 0, err
		}
		if !full {
			return 0, h.wait(buf, limit, ErrLongLine)
		}
		h.scan = 0
	}
	limit := h.Limits.head()
	if h.waiting(buf, limit) {
		return 0, nil
	}
	view := buf[:min(len(buf), limit)]
	for {
		switch what, err := h.next(view); {
		case err != nil:
			return 0, err
		case what == more:
			return 0, h.wait(buf, limit, ErrLongHead)
		case what == end:
			if err := h.settle(buf); err != nil {
				return 0, err
			}
			return h.line, nil
		}
		if f := &h.Fields[len(h.Fields)-1]; f.Known != Other {
			if err := h.note(buf, f); err != nil {
				return 0, err
			}
		}
	}
}

// requestLine reads the first line. It returns false and no error when buf ends
// within it.
func (h *RequestHead) requestLine(buf []byte) (bool, error) {
	at := 0
	if len(buf) > 0 && buf[0] == '\r' {
		// RFC 9112 2.2: a server "SHOULD ignore at least one empty line (CRLF)
		// received prior to the request-line".
		if full, err := lineEnd(buf, 0); !full {
			return false, err
		}
		at = 2
	}
	blank := span(buf, at, isToken)
	switch {
	case blank-at > longestMethod:
		return false, ErrLongMethod
	case blank == len(buf):
		return false, nil
	case blank == at || buf[blank] != ' ':
		return false, ErrRequestLine
	}
	to, all := blank+1, uint8(0)
	for to < len(buf) && class[buf[to]]&isTarget != 0 {
		all |= class[buf[to]]
		to++
	}
	switch {
	case to == len(buf):
		return false, nil
	case to == blank+1:
		return false, ErrRequestLine
	case buf[to] == '#' || buf[to] >= 0x80:
		return false, ErrTarget
	case buf[to] != ' ':
		return false, ErrRequestLine
	}
	rest := buf[to+1:]
	if len(rest) < len("HTTP/1.1\r\n") && bytes.IndexByte(rest, '\n') < 0 {
		return false, nil
	}
	h.Verb = Span{uint32(at), uint32(blank)}
	h.Method = method(buf[at:blank])
	h.Target = Span{uint32(blank + 1), uint32(to)}
	minor, ok := version(rest)
	if !ok || rest[8] != '\r' || rest[9] != '\n' {
		return false, badVersion(rest, h.Verb.Of(buf))
	}
	h.Minor = minor
	h.line = to + 1 + len("HTTP/1.1\r\n")
	return true, h.target(buf, all&isPercent != 0)
}

// version reads HTTP/1.0 or HTTP/1.1 at the start of b, if b has ten bytes.
func version(b []byte) (uint8, bool) {
	const http10 = uint64('H') | 'T'<<8 | 'T'<<16 | 'P'<<24 | '/'<<32 | '1'<<40 | '.'<<48 | '0'<<56
	if len(b) < 10 {
		return 0, false
	}
	minor := (binary.LittleEndian.Uint64(b) - http10) >> 56
	return uint8(minor), binary.LittleEndian.Uint64(b)-minor<<56 == http10 && minor <= 1
}

// badVersion tells what is wrong with the end of a request line, by its first ten
// bytes or those up to the LF.
func badVersion(b []byte, verb []byte) error {
	b = b[:min(len(b), len("HTTP/1.1\r\n"))]
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[:i+1]
	}
	digit := func(i int) bool { return '0' <= b[i] && b[i] <= '9' }
	if len(b) < 9 || string(b[:5]) != "HTTP/" || !digit(5) || b[6] != '.' || !digit(7) {
		return ErrRequestLine
	}
	switch {
	case b[8] == '\n':
		return ErrBareLF
	case len(b) < 10 || b[8] != '\r' || b[9] != '\n':
		return ErrRequestLine
	case string(b[5:8]) == "2.0" && string(verb) == "PRI":
		return ErrPreface
	}
	return ErrVersion
}

// note takes in a field that bears on the request.
func (h *RequestHead) note(buf []byte, f *Field) error {
	switch f.Known {
	case Host:
		// RFC 9112 3.2: "A server MUST respond with a 400 (Bad Request) status code
		// to any HTTP/1.1 request message that lacks a Host header field and to any
		// request message that contains more than one Host header field line or a
		// Host header field with an invalid field value."
		if h.seen.has(Host) || !authority(f.Value.Of(buf), false) {
			return ErrHost
		}
		h.seen |= 1 << Host
		switch {
		case h.Form == OriginForm || h.Form == AsteriskForm:
			h.Host = f.Value
		case h.Form == AbsoluteForm && !bytes.EqualFold(portless(f.Value.Of(buf)), portless(h.Host.Of(buf))):
			// RFC 9112 3.2.2 would have us ignore it. A client must send the same
			// (3.2), and one that does not means that someone reads the other.
			return ErrOtherHost
		}
		return nil
	case Expect:
		h.unmet = h.unmet || !is(f.Value.Of(buf), "100-continue")
	case TE:
		h.noteTE(f.Value.Of(buf))
	}
	return h.Head.note(buf, f)
}

// portless returns a host without its port if that is the default one of a scheme that is taken.
func portless(host []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(host, []byte(":80")), []byte(":443"))
}

func (h *RequestHead) noteTE(value []byte) {
	for rest, last := value, false; !last; {
		var item []byte
		item, rest, last = element(rest)
		h.Trailers = h.Trailers || is(item, "trailers")
	}
}

func (h *RequestHead) settle(buf []byte) error {
	if err := h.Head.settle(buf); err != nil {
		return err
	}
	if h.Minor == 1 && !h.seen.has(Host) {
		return ErrHost
	}
	coded := h.seen.has(TransferEncoding)
	switch {
	case h.Method == MethodConnect && (coded || h.Length >= 0):
		return ErrConnectBody
	case coded:
		h.Framing = ByChunks
	case h.Length > 0:
		h.Framing = ByLength
	}
	// RFC 9110 10.1.1: "A server that receives a 100-continue expectation in an
	// HTTP/1.0 request MUST ignore that expectation."
	if h.unmet && h.Minor == 1 {
		return ErrExpect
	}
	h.Expect = h.seen.has(Expect) && h.Minor == 1 && h.Framing != NoBody
	return nil
}

// BodyUnlooked reports whether a body comes with a method for which some servers look for none. What
// such a server leaves unread it takes for the next request on the connection.
func (h *RequestHead) BodyUnlooked() bool { return h.Framing != NoBody && h.Method.Bodiless() }

// Bodiless reports whether a method is usually without a body.
func (m Method) Bodiless() bool {
	switch m {
	case MethodGet, MethodHead, MethodDelete, MethodOptions, MethodTrace:
		return true
	}
	return false
}

// Asked returns what the response to this request is read by. upgrade: the request
// went to the server with its Upgrade.
func (h *RequestHead) Asked(upgrade bool) Asked {
	return Asked{Method: h.Method, Upgrade: upgrade && h.Upgrade.Len() > 0}
}
