package http1

import "bytes"

// Span is a piece of the buffer that was parsed: buf[Start:End].
type Span struct{ Start, End uint32 }

// Of returns the piece of buf that s spans.
func (s Span) Of(buf []byte) []byte { return buf[s.Start:s.End] }

// Len returns its length in bytes.
func (s Span) Len() int { return int(s.End - s.Start) }

// Field is one field line.
type Field struct {
	Name, Value Span
	Known       Name
	plain       bool // stands in the buffer as we would write it: name, colon, one space, value, CRLF
}

// Name tells the fields apart that matter to framing and forwarding.
type Name uint8

const (
	Other Name = iota
	Host
	ContentLength
	TransferEncoding
	Connection
	KeepAlive
	ProxyConnection
	ProxyAuthenticate
	ProxyAuthorization
	HTTP2Settings
	TE
	Trailer
	Upgrade
	Expect
)

// known sorts a name by its length first, which settles it for most. Of two names of
// one length at most one matches.
func known(name []byte) Name {
	switch len(name) {
	case 2:
		return match(name, "te", TE)
	case 4:
		return match(name, "host", Host)
	case 6:
		return match(name, "expect", Expect)
	case 7:
		return match(name, "upgrade", Upgrade) + match(name, "trailer", Trailer)
	case 10:
		return match(name, "connection", Connection) + match(name, "keep-alive", KeepAlive)
	case 14:
		return match(name, "content-length", ContentLength) + match(name, "http2-settings", HTTP2Settings)
	case 16:
		return match(name, "proxy-connection", ProxyConnection)
	case 17:
		return match(name, "transfer-encoding", TransferEncoding)
	case 18:
		return match(name, "proxy-authenticate", ProxyAuthenticate)
	case 19:
		return match(name, "proxy-authorization", ProxyAuthorization)
	}
	return Other
}

func match(name []byte, lower string, n Name) Name {
	if fold[name[0]] == lower[0] && is(name, lower) {
		return n
	}
	return Other
}

// names is a set of Name.
type names uint32

func (s names) has(n Name) bool { return s>>n&1 != 0 }

func set(list ...Name) (s names) {
	for _, n := range list {
		s |= 1 << n
	}
	return s
}

// Limits bound a head. Zero means the default.
type Limits struct {
	Line   int // bytes of a request line; default 8 KiB
	Head   int // bytes of a head, or of trailers; default 32 KiB
	Fields int // default 100
}

const (
	defaultLine   = 8 << 10
	defaultHead   = 32 << 10
	defaultFields = 100
	usualFields   = 8 // that most heads have no more of
)

func (l *Limits) line() int {
	if l.Line == 0 {
		return min(defaultLine, l.head())
	}
	return min(l.Line, l.head())
}

func (l *Limits) head() int {
	if l.Head == 0 {
		return defaultHead
	}
	return l.Head
}

func (l *Limits) fields() int {
	if l.Fields == 0 {
		return defaultFields
	}
	return l.Fields
}

// lines reads what a head and trailers are made of, and remembers between calls how
// far it has come. While a line is incomplete only the new bytes are looked at, for
// its LF, so that a head which arrives byte by byte costs no more than twice.
type lines struct {
	Limits Limits
	Fields []Field // in order of arrival; the slice is used again for the next head

	lengths uint64 // of the fields' names, less 64 as often as can be: a bit for each

	line  int  // where the first line stands that is not yet read
	scan  int  // no LF in buf[line:scan]
	begun bool // a head is half read
}

func (l *lines) begin() {
	if l.Fields == nil {
		l.Fields = make([]Field, 0, usualFields)
	}
	l.Fields, l.lengths = l.Fields[:0], 0
	l.line, l.scan, l.begun = 0, 0, true
}

// Reset discards a partly read head, so that the next call begins again. After a success or an error it is
// not needed.
func (l *lines) Reset() { l.begun = false }

// waiting reports whether the line at l.line is still incomplete. At the limit it says
// no, so that what is wrong with the line as it stands comes before its length.
func (l *lines) waiting(buf []byte, limit int) bool {
	return l.scan != 0 && l.stillWaiting(buf, limit)
}

func (l *lines) stillWaiting(buf []byte, limit int) bool {
	if len(buf) >= limit {
		return false
	}
	if bytes.IndexByte(buf[l.scan:], '\n') >= 0 {
		return false
	}
	l.scan = len(buf)
	return true
}

// wait notes that buf ends within a line.
func (l *lines) wait(buf []byte, limit int, over Error) error {
	if len(buf) >= limit {
		return over
	}
	l.scan = len(buf)
	return nil
}

// field reads the field line at l.line into l.Fields. It returns false and no error
// when buf ends within the line.
func (l *lines) field(buf []byte) (bool, error) {
	at := l.line
	colon := span(buf, at, isToken)
	if colon == len(buf) {
		return false, nil
	}
	if buf[colon] != ':' || colon == at {
		return false, badName(buf, at, colon)
	}
	start := colon + 1
	plain := false
	if start < len(buf) && buf[start] == ' ' {
		start++
		plain = true
	}
	for start < len(buf) && (buf[start] == ' ' || buf[start] == '\t') {
		start++
		plain = false
	}
	cr := text(buf, start)
	if cr == len(buf) {
		return false, nil
	}
	if full, err := lineEnd(buf, cr); !full {
		return false, err
	}
	end := cr
	for end > start && (buf[end-1] == ' ' || buf[end-1] == '\t') {
		end--
		plain = false
	}
	if len(l.Fields) >= l.Limits.fields() {
		return false, ErrManyFields
	}
	l.lengths |= 1 << (uint(colon-at) % 64)
	l.Fields = append(l.Fields, Field{
		Name:  Span{uint32(at), uint32(colon)},
		Value: Span{uint32(start), uint32(end)},
		Known: known(buf[at:colon]),
		plain: plain,
	})
	l.line = cr + 2
	return true, nil
}

// lineEnd reports whether CRLF stands at i, where the text of a line ends. Without an
// error, false means that buf ends before the LF.
func lineEnd(buf []byte, i int) (bool, error) {
	switch {
	case buf[i] == '\n':
		// RFC 9112 2.2: "a recipient MAY recognize a single LF as a line
		// terminator": those who do and those who do not read two messages.
		return false, ErrBareLF
	case buf[i] != '\r':
		return false, ErrFieldValue
	case i+1 == len(buf):
		return false, nil
	case buf[i+1] != '\n':
		return false, ErrBareCR
	}
	return true, nil
}

// badName tells what is wrong with a field name that ends at i.
func badName(buf []byte, at, i int) error {
	blank := buf[i] == ' ' || buf[i] == '\t'
	switch {
	case blank && i == at:
		// RFC 9112 5.2: a server that gets obs-fold "MUST either reject the
		// message …": white space before the first field is no better.
		return ErrFold
	case blank:
		// RFC 9112 5.1: "A server MUST reject, with a response status code of 400
		// (Bad Request), any received request message that contains whitespace
		// between a header field name and colon."
		return ErrSpaceInName
	case buf[i] == '\n':
		return ErrBareLF
	}
	return ErrFieldName
}

// What next found.
const (
	more  = iota // buf ends within the line
	field        // another field
	end          // the empty line that ends the section
)

// next reads one line of a section of fields.
func (l *lines) next(buf []byte) (int, error) {
	if l.line < len(buf) && buf[l.line] == '\r' {
		full, err := lineEnd(buf, l.line)
		if !full {
			return more, err
		}
		l.line += 2
		return end, nil
	}
	full, err := l.field(buf)
	if !full {
		return more, err
	}
	return field, nil
}

// Value returns the value of the first field with this name, which is given in
// lower case and compared as Names does, and whether there is one. It points into buf.
func (l *lines) Value(buf []byte, lower string) ([]byte, bool) {
	if i := l.Index(buf, lower, 0); i >= 0 {
		return l.Fields[i].Value.Of(buf), true
	}
	return nil, false
}

// Index returns where in Fields the first field with this name stands, from the given
// place on; -1 if there is none. The name is given as Value has it.
func (l *lines) Index(buf []byte, lower string, from int) int {
	if l.lengths>>(uint(len(lower))%64)&1 == 0 {
		return -1 // most names that are asked for have a length of their own
	}
	for i := from; i < len(l.Fields); i++ {
		f := &l.Fields[i]
		if f.Name.Len() == len(lower) && is(f.Name.Of(buf), lower) {
			return i
		}
	}
	return -1
}
