package routing

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonPointer says where in a JSON document a value is (RFC 6901): its reference tokens, decoded.
type jsonPointer []string

// parseJSONPointer reads a pointer such as /options/frames or /items/0.
func parseJSONPointer(text string) (jsonPointer, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, fmt.Errorf("%q, want a JSON pointer, such as /options/frames", text)
	}
	tokens := strings.Split(text[1:], "/")
	for i, token := range tokens {
		plain := strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		if strings.Count(token, "~") != strings.Count(token, "~0")+strings.Count(token, "~1") {
			return nil, fmt.Errorf("%q: a ~ stands before 0, for a ~, or 1, for a /", text)
		}
		tokens[i] = plain
	}
	return tokens, nil
}

// Read returns the number, text or boolean at the pointer, as text. It takes time in proportion to the bytes before
// the value, and looks at none behind it. Of two members of one name the first counts.
func (p jsonPointer) Read(b *RequestBody) (string, Reading) {
	text, _, how := p.readTyped(b)
	return text, how
}

// readTyped is Read. isText: the value is a text.
func (p jsonPointer) readTyped(b *RequestBody) (text string, isText bool, how Reading) {
	if b == nil || len(b.First) == 0 && len(b.Rest) == 0 {
		return "", false, Absent
	}
	r := pointerReaders.Get().(*pointerReader)
	defer pointerReaders.Put(r)
	r.open(b)
	text, isText, err := p.find(&r.decoder)
	r.close()
	switch {
	case err == nil:
		return text, isText, Found
	case errors.Is(err, errNoMember):
		return "", false, Absent
	case !b.Complete && errors.Is(err, io.ErrUnexpectedEOF):
		return "", false, Unbuffered
	}
	return "", false, Unreadable
}

var (
	errNoMember  = errors.New("the document has no such member")
	errNotScalar = errors.New("an object or array, want a number, a text or a boolean")
)

// pointerReader is what reading a value needs, kept for the next one. The decoder reads a body that lies in one
// piece where it lies.
type pointerReader struct {
	decoder jsontext.Decoder
	piece   bytes.Buffer
}

var pointerReaders = sync.Pool{New: func() any { return new(pointerReader) }}

func (r *pointerReader) open(b *RequestBody) {
	options := []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}
	if piece, ok := b.single(); ok {
		r.piece = *bytes.NewBuffer(piece)
		r.decoder.Reset(&r.piece, options...)
		return
	}
	r.decoder.Reset(newBodyReader(b), options...)
}

// close drops the body, whose buffers are used again, and what the decoder has copied of it.
func (r *pointerReader) close() { r.decoder, r.piece = jsontext.Decoder{}, bytes.Buffer{} }

// find returns the value as text. Its error is errNoMember, errNotScalar or the decoder's.
func (p jsonPointer) find(d *jsontext.Decoder) (text string, isText bool, err error) {
	for _, token := range p {
		switch d.PeekKind() {
		case '{':
			err = enterMember(d, token)
		case '[':
			err = enterElement(d, token)
		default:
			if err = d.SkipValue(); err == nil {
				err = errNoMember // a scalar has none
			}
		}
		if err != nil {
			return "", false, err
		}
	}
	return scalar(d)
}

// enterMember reads an object up to the value of a member.
func enterMember(d *jsontext.Decoder, name string) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() == '"' {
		quoted, err := d.ReadValue()
		if err != nil {
			return err
		}
		if isQuoted(quoted, name) {
			return nil
		}
		if err := d.SkipValue(); err != nil {
			return err
		}
	}
	if _, err := d.ReadToken(); err != nil { // the object's end, else what is wrong
		return err
	}
	return errNoMember
}

// isQuoted reports whether a text in quotes is name.
func isQuoted(quoted jsontext.Value, name string) bool {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1:len(quoted)-1]) == name
	}
	plain, err := jsontext.AppendUnquote(nil, quoted)
	return err == nil && string(plain) == name
}

// enterElement reads an array up to an element.
func enterElement(d *jsontext.Decoder, index string) error {
	n, err := strconv.ParseUint(index, 10, 31)
	if err != nil || len(index) > 1 && index[0] == '0' {
		return errNoMember
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for ; d.PeekKind() != ']'; n-- {
		if n == 0 {
			return nil
		}
		if err := d.SkipValue(); err != nil {
			return err
		}
	}
	return errNoMember
}

// scalar reads a number, text or boolean.
func scalar(d *jsontext.Decoder) (text string, isText bool, err error) {
	switch kind := d.PeekKind(); kind {
	case '{', '[':
		return "", false, errNotScalar
	case 'n':
		if _, err := d.ReadValue(); err != nil {
			return "", false, err
		}
		return "", false, errNoMember
	case '"':
		quoted, err := d.ReadValue()
		if err != nil {
			return "", false, err
		}
		plain, err := jsontext.AppendUnquote(nil, quoted)
		if len(plain) == 0 && err == nil {
			err = errNoMember
		}
		return UnsafeString(plain), true, err
	default:
		value, err := d.ReadValue()
		if err != nil {
			return "", false, err
		}
		text = string(value)
		if kind == '0' && d.PeekKind() == 0 && len(d.UnreadBuffer()) == 0 {
			return "", false, io.ErrUnexpectedEOF // digits may follow
		}
		return text, false, nil
	}
}
