package preface

import (
	"encoding/binary"
	"slices"
	"strings"
)

// Errors of a ClientHello.
const (
	ErrNoTLS Error = "not the beginning of TLS"
	ErrHello Error = "a malformed ClientHello"
)

const (
	recordHead  = 5
	recordMost  = 1 << 14 // bytes in a record (RFC 8446, 5.1)
	helloHead   = 4
	handshake   = 22
	clientHello = 1
	nameLongest = 255
	serverName  = 0 // the extension, and the type of name in it
	randomBytes = 32
)

// ServerName finds in a client's first message the server it asks for, in lower case
// and without the root's dot; empty if it asks for none. b is what has come from the
// connection's first byte on, of which nothing is consumed. whole is false while the
// message has not come in full; how long it may get is up to the caller.
func ServerName(b []byte) (name string, whole bool, err error) {
	message, whole, err := unrecord(b)
	if !whole || err != nil {
		return "", false, err
	}
	m := cursor{rest: message}
	m.skip(2 + randomBytes) // version, random
	m.take(1)               // session
	m.take(2)               // cipher suites
	m.take(1)               // compression
	if m.bad {
		return "", false, ErrHello
	}
	if len(m.rest) == 0 {
		return "", true, nil // a client older than extensions
	}
	extensions := m.take(2)
	if m.bad || len(m.rest) > 0 {
		return "", false, ErrHello
	}
	name, ok := nameAmong(extensions)
	if !ok {
		return "", false, ErrHello
	}
	return name, true, nil
}

// nameAmong reads the server's name among extensions, none of which may come twice that concern us.
func nameAmong(extensions []byte) (name string, ok bool) {
	x := cursor{rest: extensions}
	found := false
	for len(x.rest) > 0 {
		kind := x.number()
		body := x.take(2)
		if x.bad {
			return "", false
		}
		if kind != serverName {
			continue
		}
		if found {
			return "", false
		}
		if found, name, ok = true, "", true; len(body) > 0 {
			name, ok = hostName(body)
		}
		if !ok {
			return "", false
		}
	}
	return name, true
}

// hostName reads a list of names (RFC 6066, 3), of which one is a host's.
func hostName(body []byte) (name string, ok bool) {
	l := cursor{rest: body}
	n := cursor{rest: l.take(2)}
	if l.bad || len(l.rest) > 0 || len(n.rest) == 0 {
		return "", false
	}
	for len(n.rest) > 0 {
		kind := n.rest[0]
		n.skip(1)
		text := n.take(2)
		if n.bad {
			return "", false
		}
		if kind != serverName {
			continue
		}
		if name != "" || !isName(text) {
			return "", false
		}
		name = strings.ToLower(strings.TrimSuffix(string(text), "."))
	}
	return name, true
}

func isName(text []byte) bool {
	if len(text) == 0 || len(text) > nameLongest || text[0] == '.' {
		return false
	}
	for _, c := range text {
		if letter := c | 0x20; (letter < 'a' || letter > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

// unrecord returns the ClientHello without its own head. One that was cut into several
// records is put together.
func unrecord(b []byte) (message []byte, whole bool, err error) {
	var joined []byte
	for first := true; ; first = false {
		if len(b) > 0 && b[0] != handshake || len(b) > 1 && b[1] != 3 {
			return nil, false, ErrNoTLS
		}
		if len(b) < recordHead {
			return nil, false, nil
		}
		size := int(binary.BigEndian.Uint16(b[3:]))
		if size == 0 || size > recordMost {
			return nil, false, ErrNoTLS
		}
		part := b[recordHead:min(len(b), recordHead+size)]
		if first {
			joined = slices.Clip(part) // what is appended goes elsewhere
		} else {
			joined = append(joined, part...)
		}
		if len(joined) > 0 && joined[0] != clientHello {
			return nil, false, ErrNoTLS
		}
		if len(joined) >= helloHead {
			length := int(joined[1])<<16 | int(joined[2])<<8 | int(joined[3])
			if len(joined)-helloHead >= length {
				return joined[helloHead : helloHead+length], true, nil
			}
		}
		if len(b) < recordHead+size {
			return nil, false, nil
		}
		b = b[recordHead+size:]
	}
}

// cursor reads a message from front to end; bad is set when it was too short.
type cursor struct {
	rest []byte
	bad  bool
}

func (c *cursor) skip(n int) []byte {
	if c.bad || len(c.rest) < n {
		c.bad, c.rest = true, nil
		return nil
	}
	part := c.rest[:n]
	c.rest = c.rest[n:]
	return part
}

// take reads bytes behind their number, which is itself so many bytes long.
func (c *cursor) take(size int) []byte {
	length := 0
	for _, b := range c.skip(size) {
		length = length<<8 | int(b)
	}
	return c.skip(length)
}

func (c *cursor) number() int {
	if part := c.skip(2); part != nil {
		return int(binary.BigEndian.Uint16(part))
	}
	return 0
}
