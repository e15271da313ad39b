package h2

import "strings"

// Head makes of a request's fields, one after another, the head that HTTP/1.1 would have
// of them, and of the fields of its trailers what would stand behind the last chunk. The
// zero value is ready. It holds to the rules that HTTP/1.1 has no place for; whether
// target, names and values are good there its parser says.
type Head struct {
	Limit   int     // bytes of text beyond which nothing is added any more
	Schemes Schemes // that a request may name
	Length  int64   // what Content-Length says; negative: nothing
	Chunked bool    // the body goes on in chunks: nothing tells how long it is

	text                            []byte
	method, scheme, path, authority string
	said                            pseudo
	hosted                          bool // a Host field has come
	cookies                         []byte
	lined                           bool // the request line is there
	trailing                        bool
	err                             *Error
}

// Schemes is a set of those that a request may be for. The zero value is both.
type Schemes uint8

const (
	HTTP  Schemes = 1 << iota // without TLS
	HTTPS                     // by TLS
)

// Take reports whether a scheme is among them.
func (s Schemes) Take(scheme string) bool {
	switch scheme {
	case "http":
		return s == 0 || s&HTTP != 0
	case "https":
		return s == 0 || s&HTTPS != 0
	}
	return false
}

// pseudo is a set of pseudo-fields.
type pseudo uint8

const (
	method pseudo = 1 << iota
	scheme
	path
	authority
)

// Begin begins the head of a request, whose text goes behind dst.
func (h *Head) Begin(dst []byte) {
	*h = Head{Limit: h.Limit, Schemes: h.Schemes, Length: -1, text: dst, cookies: h.cookies[:0]}
}

// BeginTrailers begins the trailers of one.
func (h *Head) BeginTrailers(dst []byte) {
	h.Begin(dst)
	h.trailing = true
}

// Field adds the next field.
func (h *Head) Field(name, value string) {
	switch {
	case h.err != nil, len(h.text) > h.Limit: // nothing makes it better
	case strings.HasPrefix(name, ":"):
		h.pseudo(name, value)
	case !nameFits(name):
		h.fail("a field's name has letters that it must not have")
	case !valueFits(value):
		h.fail("a field's value has bytes that it must not have")
	case h.trailing:
		h.append(name, value)
	default:
		h.requestLine()
		h.field(name, value)
	}
}

func (h *Head) fail(reason string) {
	if h.err == nil {
		h.err = bad(ProtocolError, reason)
	}
}

// pseudo takes in one of those that say what HTTP/1.1's first line does (RFC 9113, 8.3).
func (h *Head) pseudo(name, value string) {
	which, to := pseudo(0), (*string)(nil)
	switch name {
	case ":method":
		which, to = method, &h.method
	case ":scheme":
		which, to = scheme, &h.scheme
	case ":path":
		which, to = path, &h.path
	case ":authority":
		which, to = authority, &h.authority
	}
	switch {
	case to == nil:
		h.fail("an unknown pseudo-field")
	case h.lined || h.trailing:
		h.fail("a pseudo-field behind other fields")
	case h.said&which != 0:
		h.fail("a pseudo-field twice")
	case !valueFits(value):
		h.fail("a pseudo-field has bytes that it must not have")
	}
	if to != nil {
		h.said |= which
		*to = value
	}
}

// requestLine writes what the pseudo-fields say.
func (h *Head) requestLine() {
	if h.lined || h.err != nil {
		return
	}
	h.lined = true
	target := h.path
	switch {
	case h.method == "CONNECT" && h.said == method|authority:
		target = h.authority // RFC 9113, 8.5
	case h.said|authority != method|scheme|path|authority, h.method == "", h.path == "", h.scheme == "":
		h.fail("a request without all of its pseudo-fields")
		return
	case h.said&authority != 0 && h.authority == "":
		h.fail("an empty :authority")
		return
	case h.path[0] != '/' && (h.path != "*" || h.method != "OPTIONS"):
		// RFC 9113, 8.3.1: :path is the path and query, or * of OPTIONS. What HTTP/1.1 would take
		// for a URL names another authority.
		h.fail("a :path that is no path")
		return
	case !h.Schemes.Take(h.scheme):
		h.fail("a :scheme that is not the connection's")
		return
	}
	h.text = append(append(append(append(h.text, h.method...), ' '), target...), " HTTP/1.1\r\n"...)
	if h.authority != "" {
		h.append("Host", h.authority)
	}
}

// connection are the fields that RFC 9113, 8.2.2 forbids.
func connection(name string) bool {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return true
	}
	return false
}

// field adds one that is none of those.
func (h *Head) field(name, value string) {
	switch {
	case connection(name), name == "te" && value != "trailers":
		h.fail("a field that is for connections of HTTP/1 only")
	case name == "host":
		h.host(value)
	case name == "cookie":
		// RFC 9113, 8.2.3: they "MUST be concatenated into a single byte string".
		if len(h.text)+len(h.cookies)+len(value) > h.Limit {
			h.overfill()
			return
		}
		if len(h.cookies) > 0 {
			h.cookies = append(h.cookies, "; "...)
		}
		h.cookies = append(h.cookies, value...)
	case name == "content-length":
		h.length(value)
		h.append(name, value)
	default:
		h.append(name, value)
	}
}

// host takes in a Host field, which may be there in the place of :authority, or say the same (RFC
// 9113, 8.3.1: a Host that "identifies an entity that differs" makes a request malformed).
func (h *Head) host(value string) {
	switch {
	case h.hosted:
		h.fail("Host twice")
	case h.said&authority == 0:
		h.append("Host", value)
	case !strings.EqualFold(value, h.authority):
		h.fail("a Host that is not the :authority")
	}
	h.hosted = true
}

// overfill makes the text too long, as it would be with what is left out.
func (h *Head) overfill() {
	if len(h.text) > h.Limit {
		return
	}
	h.text = append(h.text, "Cookie: "...)
	h.text = append(h.text, strings.Repeat("x", max(0, h.Limit+1-len(h.text)))...)
}

// length takes in what a request says of its body. What is no number the parser refuses.
func (h *Head) length(value string) {
	h.Length = 0
	for i := range len(value) {
		if c := value[i]; c < '0' || c > '9' || i == 18 {
			return
		}
		h.Length = h.Length*10 + int64(value[i]-'0')
	}
}

func (h *Head) append(name, value string) {
	if len(h.text) <= h.Limit {
		h.text = append(append(append(append(h.text, name...), ": "...), value...), "\r\n"...)
	}
}

// End returns the text, behind what Begin was given. ended: no body follows, nor
// trailers. With an error the request is malformed.
func (h *Head) End(ended bool) ([]byte, error) {
	if !h.trailing {
		h.requestLine()
	}
	switch {
	case h.err != nil:
		return h.text, h.err
	case h.trailing && len(h.text) > h.Limit:
		return h.text, bad(EnhanceYourCalm, "trailers are larger than is taken here")
	case !h.trailing && ended && h.Length > 0:
		return h.text, bad(ProtocolError, "a request without a body says that it has one")
	}
	if len(h.cookies) > 0 {
		h.text = append(append(append(h.text, "Cookie: "...), h.cookies...), "\r\n"...)
	}
	if !h.trailing && !ended && h.Length < 0 && h.method != "CONNECT" {
		h.Chunked = true
		h.text = append(h.text, "Transfer-Encoding: chunked\r\n"...)
	}
	if !h.trailing && ended && h.Length < 0 && anticipatesBody(h.method) {
		h.text = append(h.text, "Content-Length: 0\r\n"...)
	}
	return append(h.text, "\r\n"...), nil
}

// anticipatesBody reports whether a request of HTTP/1.1 without a body should say so (RFC 9110, 8.6).
func anticipatesBody(method string) bool {
	return method == "POST" || method == "PUT" || method == "PATCH"
}

// nameFits reports whether a name is a token without capital letters (RFC 9113, 8.2.1).
func nameFits(name string) bool {
	for i := range len(name) {
		if !inName[name[i]] {
			return false
		}
	}
	return name != ""
}

var inName = func() (t [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz" {
		t[c] = true
	}
	return t
}()

// valueFits reports whether a value has nothing that would end its line, and no blanks at
// its ends (RFC 9113, 8.2.1).
func valueFits(value string) bool {
	n := len(value)
	return !breaksLine(value) && (n == 0 || !blank(value[0]) && !blank(value[n-1]))
}

func blank(c byte) bool { return c == ' ' || c == '\t' }
