package http1

// Names is a set of field names, without regard to case and with '_', '.' and the like as '-'. It is
// made once and then only read. A nil set is empty.
type Names struct {
	by [32][]pattern // by the low bits of the letter that key gives; most are empty
}

// key gives the letter that tells names apart best of those that all have: many begin
// with x and a hyphen.
func key(name []byte) byte { return fold[name[min(keyAt, len(name)-1)]] & 31 }

const keyAt = 2

type pattern struct {
	name   string
	prefix bool
}

// NewNames makes a set. A name that ends in '*' stands for all that begin so.
func NewNames(list ...string) *Names {
	s := new(Names)
	for _, name := range list {
		p := pattern{name: lower(name)}
		if n := len(name) - 1; n > 0 && name[n] == '*' {
			p = pattern{p.name[:n], true}
		}
		switch {
		case p.name == "":
		case p.prefix && len(p.name) <= keyAt: // the letter may be any
			for i := range s.by {
				s.by[i] = append(s.by[i], p)
			}
		default:
			at := &s.by[key([]byte(p.name))]
			*at = append(*at, p)
		}
	}
	return s
}

func lower(name string) string {
	b := []byte(name)
	for i := range b {
		b[i] = fold[b[i]]
	}
	return string(b)
}

// Has reports whether the set has the name, which is not empty.
func (s *Names) Has(name []byte) bool {
	if s == nil {
		return false
	}
	for _, p := range s.by[key(name)] {
		if len(name) == len(p.name) || p.prefix && len(name) > len(p.name) {
			if is(name[:len(p.name)], p.name) {
				return true
			}
		}
	}
	return false
}
