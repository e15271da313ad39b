package edge

import "github.com/evenkeel-lb/evenkeel/http1"

// headerView is the fields of a parsed head.
type headerView struct {
	head *http1.Head
	buf  []byte
}

func (v *headerView) first(lower string) string {
	value, _ := v.head.Value(v.buf, lower)
	return unsafeString(value)
}

func (v *headerView) all(lower string) (values []string) {
	for i := v.head.Index(v.buf, lower, 0); i >= 0; i = v.head.Index(v.buf, lower, i+1) {
		values = append(values, unsafeString(v.head.Fields[i].Value.Of(v.buf)))
	}
	return values
}

// trailerView is the fields of parsed trailers.
type trailerView struct {
	trailers *http1.Trailers
	buf      []byte
}

func (v *trailerView) first(lower string) string {
	if i := v.trailers.Index(v.buf, lower, 0); i >= 0 {
		return unsafeString(v.trailers.Fields[i].Value.Of(v.buf))
	}
	return ""
}

func (v *trailerView) all(lower string) (values []string) {
	for i := v.trailers.Index(v.buf, lower, 0); i >= 0; i = v.trailers.Index(v.buf, lower, i+1) {
		values = append(values, unsafeString(v.trailers.Fields[i].Value.Of(v.buf)))
	}
	return values
}
