package agent

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// mostExposition is how much of an endpoint's answer is read, in bytes; mostLine is the longest line of it.
const (
	mostExposition = 64 << 20
	mostLine       = 64 << 10
)

// label is a label's name and its value.
type label struct{ name, value string }

// selector picks series of one family that carry all of its labels.
type selector struct {
	family string
	labels []label
}

// parseSelector reads family or family{label="value",…}.
func parseSelector(s string) (selector, error) {
	rest := []byte(strings.TrimSpace(s))
	family, rest := word(rest)
	sel := selector{family: string(family)}
	if len(family) == 0 {
		return sel, fmt.Errorf("selector %q: want family or family{label=\"value\"}", s)
	}
	if len(rest) == 0 {
		return sel, nil
	}
	rest, ok := eachLabel(rest, func(name, value []byte) {
		sel.labels = append(sel.labels, label{string(name), string(unescape(value))})
	})
	if !ok || len(rest) > 0 {
		return sel, fmt.Errorf("selector %q: after %s: want {label=\"value\"}, with equality only", s, family)
	}
	return sel, nil
}

// readSeries reads the text format line by line and returns the metrics whose
// selectors found a series. Lines of other families are passed over unread, and lines
// that make no sense are passed over too; the error counts them and names the metrics
// that are missing.
func readSeries(r io.Reader, want []Series) ([]balance.Metric, error) {
	sums := make([]sum, len(want))
	for i, s := range want {
		sel, err := parseSelector(s.Selector)
		if err != nil {
			return nil, err
		}
		sums[i].selector = sel
	}
	var seen families
	senseless, err := addUp(bufio.NewReaderSize(r, mostLine), sums, &seen)
	var metrics []balance.Metric
	var missing []string
	for i, s := range want {
		if sums[i].found {
			metrics = append(metrics, balance.Metric{Name: canonical(s.Name), Value: sums[i].value * cmp.Or(s.Scale, 1)})
		} else {
			missing = append(missing, sums[i].missing(s.Selector, &seen))
		}
	}
	if len(missing) > 0 {
		err = errors.Join(err, errors.New(strings.Join(missing, "; ")))
	}
	if senseless > 0 {
		err = errors.Join(err, fmt.Errorf("%d lines of the selected families are malformed", senseless))
	}
	return metrics, err
}

// mostOther is how much of another series' labels is told, in bytes.
const mostOther = 200

// sum adds up the series that a selector finds.
type sum struct {
	selector
	value float64
	found bool
	other string // labels of a series of the family that do not match; empty: there is none
}

// missing says that no series was found, and which one may be meant.
func (s *sum) missing(selector string, seen *families) string {
	text := "no series " + selector
	if s.other != "" {
		return text + "; nearest: " + s.family + s.other
	}
	switch near := seen.nearest(s.family); near {
	case "":
	case s.family:
		return "no value of " + selector + " yet: NaN"
	default:
		return text + "; nearest: " + near
	}
	return fmt.Sprintf("%s, nor one like it among %d families", text, len(seen.names))
}

func addUp(r *bufio.Reader, sums []sum, seen *families) (senseless int, err error) {
	for {
		line, err := r.ReadSlice('\n')
		whole := err != bufio.ErrBufferFull
		for err == bufio.ErrBufferFull { // no series of use is that long: skip to its end
			_, err = r.ReadSlice('\n')
		}
		if whole && !addLine(line, sums, seen) {
			senseless++
		}
		if err == io.EOF {
			return senseless, nil
		}
		if err != nil {
			return senseless, err
		}
	}
}

// addLine adds the series of one line to the sums that want it; false: one wants its
// family, but it cannot be read.
func addLine(line []byte, sums []sum, seen *families) bool {
	line = bytes.TrimSpace(line)
	family, rest := word(line)
	seen.add(family)
	sane := true
	for i := range sums {
		if s := &sums[i]; len(family) > 0 && s.family == string(family) {
			v, matches, ok := s.sample(rest)
			sane = sane && ok
			if ok && matches {
				s.value, s.found = s.value+v, true
			} else if ok && s.other == "" && len(s.labels) > 0 {
				after, _ := eachLabel(rest, func(_, _ []byte) {})
				s.other = string(rest[:min(len(rest)-len(after), mostOther)])
			}
		}
	}
	return sane
}

// sample reads what follows a series' family: labels, value, and a time that is of no
// interest. NaN is how some exporters say that there is no value.
func (s *selector) sample(rest []byte) (v float64, matches, ok bool) {
	left, rest := len(s.labels), bytes.TrimLeft(rest, " \t")
	if len(rest) > 0 && rest[0] == '{' {
		if rest, ok = eachLabel(rest, func(name, value []byte) {
			for _, want := range s.labels {
				if want.name == string(name) && want.value == string(unescape(value)) {
					left--
				}
			}
		}); !ok {
			return 0, false, false
		}
	}
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0, false, false
	}
	v, err := strconv.ParseFloat(string(fields[0]), 64)
	return v, left == 0 && !math.IsNaN(v), err == nil
}

// word splits a family's or a label's name off.
func word(b []byte) (name, rest []byte) {
	for i, c := range b {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == ':'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return b[:i], b[i:]
		}
	}
	return b, nil
}

// eachLabel reads {name="value",…}, values still escaped, and returns what follows it.
func eachLabel(b []byte, take func(name, value []byte)) (rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '{' {
		return nil, false
	}
	b = bytes.TrimLeft(b[1:], " \t")
	for len(b) > 0 && b[0] != '}' {
		var name, value []byte
		name, b = word(b)
		b, ok = bytes.CutPrefix(bytes.TrimLeft(b, " \t"), []byte("="))
		if !ok || len(name) == 0 {
			return nil, false
		}
		if value, b, ok = quoted(bytes.TrimLeft(b, " \t")); !ok {
			return nil, false
		}
		take(name, value)
		b = bytes.TrimLeft(b, " \t")
		if len(b) > 0 && b[0] == ',' {
			b = bytes.TrimLeft(b[1:], " \t")
		} else if len(b) > 0 && b[0] != '}' {
			return nil, false
		}
	}
	if len(b) == 0 {
		return nil, false
	}
	return b[1:], true
}

func quoted(b []byte) (value, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return b[1:i], b[i+1:], true
		}
	}
	return nil, nil, false
}

// unescape resolves \\, \" and \n in a label's value.
func unescape(b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) {
			i++
			if b[i] == 'n' {
				out = append(out, '\n')
				continue
			}
		}
		out = append(out, b[i])
	}
	return out
}
