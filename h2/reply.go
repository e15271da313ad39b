package h2

import "strings"

// Reply makes of a response's fields, one after another, the head that HTTP/1.1 would
// have of them, and of the fields of its trailers what would stand behind the last chunk.
// The zero value is ready.
type Reply struct {
	Limit    int   // bytes of text beyond which nothing is added any more
	Status   int   // 100 to 999
	Length   int64 // bytes of the body, if that was said and nothing stands behind it; else negative
	Chunked  bool  // the body goes on in chunks
	Bodiless bool  // to be set once the head has begun: no body follows, whatever is said of one

	text     []byte // from from on
	from     int
	length   string // what Content-Length says
	sized    bool   // it is there
	behind   bool   // trailers are announced, or to be expected
	trailing bool
	err      *Error
}

// Begin begins the head of a response, whose text goes behind dst.
func (r *Reply) Begin(dst []byte) { *r = Reply{Limit: r.Limit, Length: -1, text: dst, from: len(dst)} }

// BeginTrailers begins the trailers of one.
func (r *Reply) BeginTrailers(dst []byte) {
	r.Begin(dst)
	r.trailing = true
}

// Field adds the next field.
func (r *Reply) Field(name, value string) {
	switch {
	case r.err != nil:
	case strings.HasPrefix(name, ":"):
		r.pseudo(name, value)
	case r.Status == 0 && !r.trailing:
		r.fail("a response without its status")
	case !nameFits(name):
		r.fail("a field's name has letters that it must not have")
	case breaksLine(value):
		r.fail("a field's value has bytes that it must not have")
	case connection(name):
		r.fail("a field that is for connections of HTTP/1 only")
	case name == "content-length" && r.sized:
		r.fail("a length of the body twice")
	case name == "content-length" && !r.trailing && number(value) < 0:
		r.fail("a length of the body that is no number")
	case name == "content-length" && !r.trailing:
		r.length, r.sized = value, true
	default:
		r.behind = r.behind || name == "trailer" || name == "content-type" && strings.HasPrefix(value, "application/grpc")
		r.append(name, value)
	}
}

func (r *Reply) fail(reason string) {
	if r.err == nil {
		r.err = bad(ProtocolError, reason)
	}
}

// pseudo takes the status in, the only one that responses have (RFC 9113, 8.3.2).
func (r *Reply) pseudo(name, value string) {
	switch {
	case name != ":status", r.trailing:
		r.fail("an unknown pseudo-field")
	case r.Status != 0:
		r.fail("a second status")
	case len(value) != 3 || value[0] < '1' || value[0] > '9' || value[1] < '0' || value[1] > '9' || value[2] < '0' || value[2] > '9':
		r.fail("a status that is none")
	case value == "101":
		r.fail("a switch of protocols, of which HTTP/2 knows none") // RFC 9113, 8.6
	default:
		r.Status = int(value[0]-'0')*100 + int(value[1]-'0')*10 + int(value[2]-'0')
		r.text = append(append(append(r.text, "HTTP/1.1 "...), value...), " \r\n"...)
	}
}

func (r *Reply) append(name, value string) {
	if len(r.text)-r.from > r.Limit {
		if r.err == nil {
			r.err = bad(EnhanceYourCalm, "a response's fields are larger than is taken here")
		}
		return
	}
	r.text = append(append(append(append(r.text, name...), ": "...), value...), "\r\n"...)
}

// End returns the text, behind what Begin was given. ended: no body follows, nor trailers. Then the text has no body framing, unless the
// response had, and the reader of the text must know that. With an error the response is malformed.
func (r *Reply) End(ended bool) ([]byte, error) {
	switch {
	case r.err != nil:
		return r.text, r.err
	case r.trailing:
		return append(r.text, "\r\n"...), nil
	case r.Status == 0:
		return r.text, bad(ProtocolError, "a response without its status")
	case r.Status < 200 && ended:
		return r.text, bad(ProtocolError, "a response that ends before it has begun")
	}
	r.frame(ended)
	return append(r.text, "\r\n"...), nil
}

// frame says where the body ends. Behind one of known length HTTP/1.1 has no place for
// trailers, so where those are to come, as they are with gRPC, that is not said.
func (r *Reply) frame(ended bool) {
	ended = ended || r.Bodiless || r.Status < 200 || r.Status == 204 || r.Status == 304
	switch {
	case r.sized && (ended || !r.behind):
		r.append("content-length", r.length)
		if !ended {
			r.Length = number(r.length)
		}
	case !ended:
		r.Chunked = true
		r.append("transfer-encoding", "chunked")
	}
}

// number returns what Content-Length says; negative: it is no number.
func number(s string) (n int64) {
	if s == "" {
		return -1
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || i == 18 {
			return -1
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n
}

// breaksLine reports whether a value would end its line.
func breaksLine(value string) bool {
	for i := range len(value) {
		if c := value[i]; c <= '\r' && (c == 0 || c == '\n' || c == '\r') {
			return true
		}
	}
	return false
}
