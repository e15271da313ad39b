package http1

// ResponseHead reads the heads of responses, one after another. The zero value is
// ready; Limits may be set before the first Parse.
type ResponseHead struct {
	Head
	Status int  // 100 to 999
	Reason Span // may be empty
	Tunnel bool // no more HTTP: 101, or 2xx to CONNECT
}

// Asked is what a response must be told of its request to be read right.
type Asked struct {
	Method  Method
	Upgrade bool // the request asked for an upgrade
	Ended   bool // nothing follows the head, which it need not say: it came by HTTP/2, or goes there
}

// Interim reports whether the response is 1xx and another one will follow.
func (h *ResponseHead) Interim() bool { return h.Status < 200 && !h.Tunnel }

// Parse is RequestHead.Parse for responses to a request that asked for to. A
// response in error is the server's fault, whatever the Error's Status.
func (h *ResponseHead) Parse(buf []byte, to Asked) (int, error) {
	if !h.begun {
		h.begin()
	}
	n, err := h.parse(buf, to)
	if n > 0 || err != nil {
		h.begun = false
	}
	return n, err
}

func (h *ResponseHead) begin() {
	h.Head.begin()
	h.Status, h.Reason, h.Tunnel = 0, Span{}, false
}

func (h *ResponseHead) parse(buf []byte, to Asked) (int, error) {
	limit := h.Limits.head()
	if h.waiting(buf, limit) {
		return 0, nil
	}
	view := buf[:min(len(buf), limit)]
	if h.Status == 0 {
		full, err := h.statusLine(view)
		if err != nil {
			return 0, err
		}
		if !full {
			return 0, h.wait(buf, limit, ErrLongHead)
		}
	}
	for {
		switch what, err := h.next(view); {
		case err != nil:
			return 0, err
		case what == more:
			return 0, h.wait(buf, limit, ErrLongHead)
		case what == end:
			if err := h.settle(buf, to); err != nil {
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

// statusLine reads the first line. It returns false and no error when buf ends
// within it.
func (h *ResponseHead) statusLine(buf []byte) (bool, error) {
	const digits = len("HTTP/1.1 ")
	if len(buf) <= digits+3 {
		return false, badStart(buf)
	}
	minor, ok := version(buf)
	status := 0
	for _, c := range buf[digits : digits+3] {
		ok = ok && '0' <= c && c <= '9'
		status = status*10 + int(c-'0')
	}
	if !ok || status < 100 || buf[digits-1] != ' ' {
		return false, ErrStatusLine
	}
	// RFC 9112 4: "A server MUST send the space that separates the status-code from
	// the reason-phrase even when the reason-phrase is absent". Many do not, and
	// nothing can be mistaken for it.
	start := digits + 3
	if buf[start] == ' ' {
		start++
	} else if buf[start] != '\r' {
		return false, ErrStatusLine
	}
	cr := text(buf, start)
	if cr == len(buf) {
		return false, nil
	}
	if full, err := lineEnd(buf, cr); !full {
		return false, err
	}
	h.Minor, h.Status = minor, status
	h.Reason = Span{uint32(start), uint32(cr)}
	h.line = cr + 2
	return true, nil
}

// badStart refuses what is shorter than a status line and cannot become one.
func badStart(buf []byte) error {
	for i, c := range buf {
		if c == '\n' || i < len("HTTP/1.") && c != "HTTP/1."[i] {
			return ErrStatusLine
		}
	}
	return nil
}

// settle finds where the body ends: RFC 9112 6.3, in its order.
func (h *ResponseHead) settle(buf []byte, to Asked) error {
	if err := h.Head.settle(buf); err != nil {
		return err
	}
	coded := h.seen.has(TransferEncoding)
	switch {
	case h.Status == 101:
		// RFC 9110 15.2.2: it "MUST generate an Upgrade header field", and only a
		// request that asked for it can be answered so.
		if !to.Upgrade || h.Upgrade.Len() == 0 {
			return ErrUpgrade
		}
		h.Tunnel = true
		h.bodiless(coded)
	case to.Method == MethodConnect && h.Status/100 == 2:
		h.Tunnel = true
		h.bodiless(coded)
	case h.Status < 200 || h.Status == 204:
		h.bodiless(coded)
	case to.Method == MethodHead || h.Status == 304 || to.Ended:
		h.Framing = NoBody
	case coded:
		h.Framing = ByChunks
	case h.Length > 0:
		h.Framing = ByLength
	case h.Length == 0:
		h.Framing = NoBody
	default:
		h.Framing, h.KeepAlive = ByClose, false
	}
	return nil
}

// bodiless is for responses that end with their head and may not say otherwise (RFC
// 9112 6.1, RFC 9110 8.6). A server that does, sends perhaps a body too: what it
// said is not forwarded and its connection not used again.
func (h *ResponseHead) bodiless(coded bool) {
	h.Framing = NoBody
	if coded || h.Length > 0 {
		h.KeepAlive = false
	}
	h.Length = -1
}

// Body returns the follower of the response's body. Blanks between the size of a chunk and
// the end of its line are taken, which old servers pad it with and RFC 9112, 7.1.1 has
// recipients read. Of a request they are not: two recipients may part ways over them.
func (h *ResponseHead) Body() Body {
	b := h.Head.Body()
	b.padded = true
	return b
}
