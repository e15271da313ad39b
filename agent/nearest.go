package agent

// families are the names of the families of an exposition, each where it begins, as far as
// there is room for them.
type families struct {
	names []string
	bytes int
}

// mostFamilyBytes bounds the names that are kept of one exposition.
const mostFamilyBytes = 256 << 10

// add takes the family of a line. Lines of one family stand together.
func (f *families) add(name []byte) {
	if n := len(f.names); len(name) == 0 || n > 0 && f.names[n-1] == string(name) || f.bytes+len(name) > mostFamilyBytes {
		return
	}
	f.names = append(f.names, string(name))
	f.bytes += len(name)
}

// nearest returns the family whose name is most like another, "" if none is much like it.
func (f *families) nearest(name string) string {
	best, least := "", len(name)*2/5+1 // changes that may be needed, at most
	for _, other := range f.names {
		if d := distance(name, other, least); d < least {
			best, least = other, d
		}
	}
	return best
}

// distance is how many bytes must be replaced, put in or taken out to make b of a
// (Levenshtein's), or most if it is as much or more.
func distance(a, b string, most int) int {
	if len(a)-len(b) >= most || len(b)-len(a) >= most {
		return most
	}
	row := make([]int, len(b)+1) // of the table, for the part of a that has been read
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return min(row[len(b)], most)
}
