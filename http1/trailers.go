package http1

// Trailers reads the trailer section of a chunked body. The zero value is ready;
// Limits may be set before the first use.
type Trailers struct{ lines }

// ReadTrailers reads the trailers that begin at in[0], in the manner of
// RequestHead.Parse: it returns 0 and no error when more is needed, and their length
// with the empty line when the body is Done. It may be called when AtTrailers. The first call for a body begins
// t anew: what t has read of another body's trailers, whose peer left before their end, is forgotten.
func (b *Body) ReadTrailers(t *Trailers, in []byte) (int, error) {
	if b.state != inTrailers {
		panic("http1: ReadTrailers where no trailers are")
	}
	if b.reader != t {
		t.Reset()
		b.reader = t
	}
	n, err := t.read(in)
	if n > 0 {
		b.state = ended
	}
	if n > 0 || err != nil {
		t.begun = false
	}
	return n, err
}

func (t *Trailers) read(buf []byte) (int, error) {
	if !t.begun {
		t.begin()
	}
	limit := t.Limits.head()
	if t.waiting(buf, limit) {
		return 0, nil
	}
	view := buf[:min(len(buf), limit)]
	for {
		switch what, err := t.next(view); {
		case err != nil:
			return 0, err
		case what == more:
			return 0, t.wait(buf, limit, ErrLongHead)
		case what == end:
			return t.line, nil
		}
	}
}

// Append appends the trailers that may be forwarded, and the empty line after them.
// It belongs right behind what Pass returned, or behind "0\r\n".
func (t *Trailers) Append(dst, buf []byte, drop *Names) []byte {
	for i := range t.Fields {
		f := &t.Fields[i]
		name := f.Name.Of(buf)
		if notInTrailers.Has(name) || drop.Has(name) {
			continue
		}
		dst = appendField(dst, name, f.Value.Of(buf))
	}
	return append(dst, "\r\n"...)
}

// notInTrailers: RFC 9110 6.5.1: fields "necessary for message framing, routing,
// authentication, request modifiers, response controls, or content format", and those
// that are for one connection only.
var notInTrailers = NewNames(
	"content-length", "transfer-encoding", "trailer",
	"host", "forwarded", "x-forwarded-*", "via",
	"authorization", "www-authenticate", "proxy-*", "cookie", "set-cookie", "authentication-info",
	"cache-control", "expect", "max-forwards", "pragma", "range", "te", "if-*",
	"age", "date", "expires", "location", "retry-after", "vary", "warning",
	"content-encoding", "content-type", "content-range",
	"connection", "keep-alive", "upgrade", "http2-settings",
)
