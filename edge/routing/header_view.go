package routing

import "github.com/evenkeel-lb/evenkeel/http1"

// HeaderView is the fields of a parsed head.
type HeaderView struct {
	Head *http1.Head
	Buf  []byte
}

func (v *HeaderView) First(lower string) string {
	value, _ := v.Head.Value(v.Buf, lower)
	return UnsafeString(value)
}

// HasInitial reports whether a field's name begins with a letter, in lower case.
func (v *HeaderView) HasInitial(letter byte) bool {
	for i := range v.Head.Fields {
		if v.Buf[v.Head.Fields[i].Name.Start]|0x20 == letter {
			return true
		}
	}
	return false
}

func (v *HeaderView) All(lower string) (values []string) {
	for i := v.Head.Index(v.Buf, lower, 0); i >= 0; i = v.Head.Index(v.Buf, lower, i+1) {
		values = append(values, UnsafeString(v.Head.Fields[i].Value.Of(v.Buf)))
	}
	return values
}

// TrailerView is the fields of parsed trailers.
type TrailerView struct {
	Trailers *http1.Trailers
	Buf      []byte
}

func (v *TrailerView) First(lower string) string {
	if i := v.Trailers.Index(v.Buf, lower, 0); i >= 0 {
		return UnsafeString(v.Trailers.Fields[i].Value.Of(v.Buf))
	}
	return ""
}

func (v *TrailerView) All(lower string) (values []string) {
	for i := v.Trailers.Index(v.Buf, lower, 0); i >= 0; i = v.Trailers.Index(v.Buf, lower, i+1) {
		values = append(values, UnsafeString(v.Trailers.Fields[i].Value.Of(v.Buf)))
	}
	return values
}
