package http1

// Framing tells where a body ends.
type Framing uint8

const (
	_        Framing = iota
	NoBody           // with the head
	ByLength         // after as many bytes as Content-Length says
	ByChunks         // with the last chunk and the trailers
	ByClose          // when the server closes the connection; responses only
)

// Head is what heads of requests and of responses have in common. Its facts hold
// from Parse's success to the next Parse; spans are of the buffer that was parsed.
type Head struct {
	lines
	Minor     uint8 // of the version: HTTP/1.Minor
	Framing   Framing
	Length    int64 // of the body with ByLength; what Content-Length says with NoBody; else -1
	KeepAlive bool  // the sender will go on using the connection after this message
	Upgrade   Span  // protocols that the sender offers or has switched to; empty: none, or not in earnest

	seen     names
	close    bool // options of Connection
	keep     bool
	upgrade  bool
	offer    Span // value of Upgrade, whether or not Connection has the option
	options  [maxOptions]Span
	nOptions int
}

// maxOptions is how many fields Connection may name. Few name any; the bound keeps
// the search for them while forwarding short.
const maxOptions = 16

func (h *Head) begin() {
	h.lines.begin()
	h.Length, h.Framing, h.KeepAlive = -1, NoBody, false
	h.Upgrade, h.offer = Span{}, Span{}
	h.seen, h.nOptions = 0, 0
	h.close, h.keep, h.upgrade = false, false, false
}

// note takes in a field that bears on framing or on the connection.
func (h *Head) note(buf []byte, f *Field) error {
	again := h.seen.has(f.Known)
	h.seen |= 1 << f.Known
	value := f.Value.Of(buf)
	switch f.Known {
	case ContentLength:
		return h.noteLength(f.Name.Of(buf), value, again)
	case TransferEncoding:
		return noteCoding(f.Name.Of(buf), value, again)
	case Connection:
		return h.noteConnection(buf, f.Value)
	case Upgrade:
		if again {
			return ErrUpgrade
		}
		h.offer = f.Value
	case Trailer:
		return noteTrailer(value)
	}
	return nil
}

// noteLength: RFC 9112 6.3: a message with "an invalid Content-Length" is an
// unrecoverable error. A list of equal numbers may be mended says the RFC; that
// needs all who read it to mend alike, so it is refused. So are leading zeros, which
// some take for octal.
func (h *Head) noteLength(name, value []byte, again bool) error {
	if name[7] != '-' {
		return ErrLookalike
	}
	if again || len(value) == 0 || len(value) > 18 || value[0] == '0' && len(value) > 1 {
		return ErrContentLength
	}
	h.Length = 0
	for _, c := range value {
		if c < '0' || c > '9' {
			return ErrContentLength
		}
		h.Length = h.Length*10 + int64(c-'0')
	}
	return nil
}

// noteCoding: RFC 9112 6.1: "A server that receives a request message with a
// transfer coding it does not understand SHOULD respond with 501".
func noteCoding(name, value []byte, again bool) error {
	switch {
	case name[8] != '-':
		return ErrLookalike
	case again:
		return ErrTransferCoding
	case is(value, "chunked"):
		return nil
	}
	for rest, last := value, false; !last; {
		var item []byte
		item, rest, last = element(rest)
		if len(item) == 0 || span(item, 0, isToken) < len(item) {
			return ErrTransferCoding
		}
	}
	return ErrUnknownCoding
}

// noteTrailer: RFC 9110 6.5.1: fields for "message framing" cannot be trailers. To
// announce them is to hope that a recipient accepts them.
func noteTrailer(value []byte) error {
	for rest, last := value, false; !last; {
		var item []byte
		item, rest, last = element(rest)
		if is(item, "content-length") || is(item, "transfer-encoding") || is(item, "trailer") {
			return ErrTrailer
		}
	}
	return nil
}

// element cuts the first element off a comma-separated list. last: no comma follows.
func element(list []byte) (item, rest []byte, last bool) {
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:], false
		}
	}
	return trim(list), nil, true
}

// noteConnection: RFC 9110 7.6.1. Empty elements are ignored as 5.6.1.2 has it.
func (h *Head) noteConnection(buf []byte, value Span) error {
	for at := value.Start; at < value.End; {
		start := at
		for at < value.End && buf[at] != ',' {
			at++
		}
		option := trimSpan(buf, Span{start, at})
		at++
		if option.Len() == 0 {
			continue
		}
		if err := h.noteOption(option.Of(buf), option); err != nil {
			return err
		}
	}
	return nil
}

func (h *Head) noteOption(name []byte, at Span) error {
	switch {
	case span(name, 0, isToken) < len(name):
		return ErrConnection
	case is(name, "keep-alive"):
		h.keep = true
	case is(name, "close"):
		h.close = true
	case is(name, "upgrade"):
		h.upgrade = true
	case is(name, "te"):
	case is(name, "host"), is(name, "content-length"), is(name, "transfer-encoding"), h.nOptions == maxOptions:
		// "A sender MUST NOT send a connection option corresponding to a field that
		// is intended for all recipients of the content."
		return ErrConnection
	default:
		h.options[h.nOptions] = at
		h.nOptions++
	}
	return nil
}

func trimSpan(buf []byte, s Span) Span {
	for s.Start < s.End && (buf[s.Start] == ' ' || buf[s.Start] == '\t') {
		s.Start++
	}
	for s.Start < s.End && (buf[s.End-1] == ' ' || buf[s.End-1] == '\t') {
		s.End--
	}
	return s
}

// settle draws the conclusions that need the whole head.
func (h *Head) settle(buf []byte) error {
	coded := h.seen.has(TransferEncoding)
	if coded && h.seen.has(ContentLength) {
		// RFC 9112 6.3: it "might indicate an attempt to perform request smuggling
		// or response splitting and ought to be handled as an error".
		return ErrTwoLengths
	}
	if coded && h.Minor == 0 {
		// RFC 9112 6.1: such a message must be treated "as if the framing is faulty".
		return ErrTransferCoding
	}
	// RFC 9112 9.3, in its order.
	h.KeepAlive = !h.close && (h.Minor == 1 || h.keep)
	// RFC 9110 7.8: "A server MUST ignore an Upgrade header field that is received
	// in an HTTP/1.0 request"; and one that Connection does not name is not meant
	// for us.
	if h.Minor == 1 && h.upgrade && h.offer.Len() > 0 {
		if !protocols(h.offer.Of(buf)) {
			return ErrUpgrade
		}
		h.Upgrade = h.offer
	}
	return nil
}

// protocols checks the value of Upgrade: a list of token or token/token.
func protocols(value []byte) bool {
	for rest, last := value, false; !last; {
		var item []byte
		item, rest, last = element(rest)
		n := span(item, 0, isToken)
		if n == 0 {
			return false
		}
		if n < len(item) && (item[n] != '/' || n+1 == len(item) || span(item, n+1, isToken) < len(item)) {
			return false
		}
	}
	return true
}

// named reports whether Connection names the field.
func (h *Head) named(buf []byte, f *Field) bool {
	for _, o := range h.options[:h.nOptions] {
		if o.Len() == f.Name.Len() && same(o.Of(buf), f.Name.Of(buf)) {
			return true
		}
	}
	return false
}

// Body returns what follows the body of this message.
func (h *Head) Body() Body { return NewBody(h.Framing, h.Length) }
