package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Env looks a variable of the environment up; ok is false if it is not set.
type Env func(name string) (value string, ok bool)

// leastHidden is the length in bytes from which a value that came from the environment is
// taken for one wherever it stands in a text. Shorter ones, such as a port, stand there by chance.
const leastHidden = 4

// secret is a text that came from the environment, and what the file has in its place.
type secret struct{ value, written string }

// expand replaces what a scalar has of the environment. Its node keeps what is written.
func (f *File) expand(n *node) {
	if f.env == nil || n.kind != scalar || !strings.Contains(n.text, "$") {
		return
	}
	n.written = n.text
	text, err := f.expanded(n.text)
	if err != nil {
		f.add(Problem{Position: n.at, Text: fmt.Sprintf("%q: %v", n.written, err)})
		n.kind = broken
		return
	}
	if n.text = text; n.text != n.written {
		n.quoted = false // "${COUNT}" has to be in quotes where YAML reads braces
		f.secrets = append(f.secrets, secret{n.text, n.written})
	}
}

// expanded replaces ${NAME} by the variable's value, ${NAME:-default} by the default if that is
// not set or empty, and $$ by a dollar.
func (f *File) expanded(text string) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		b.WriteString(before)
		switch {
		case !found:
			return b.String(), nil
		case strings.HasPrefix(rest, "$"):
			b.WriteByte('$')
			text = rest[1:]
		case strings.HasPrefix(rest, "{"):
			inside, after, closed := strings.Cut(rest[1:], "}")
			if !closed {
				return "", errors.New("${ without a }, want ${NAME}; $$ is a dollar")
			}
			value, err := f.variable(inside)
			if err != nil {
				return "", err
			}
			b.WriteString(value)
			text = after
		default:
			if name := rest[:nameLength(rest)]; name != "" {
				return "", fmt.Errorf("$%s is not replaced, want ${%s}; $$ is a dollar", name, name)
			}
			b.WriteByte('$')
			text = rest
		}
	}
}

// variable returns what stands for the inside of ${…}.
func (f *File) variable(inside string) (string, error) {
	name, otherwise, has := strings.Cut(inside, ":-")
	if name == "" || nameLength(name) != len(name) {
		return "", fmt.Errorf("${%s}, want ${NAME} or ${NAME:-default}; $$ is a dollar", inside)
	}
	value, set := f.env(name)
	switch {
	case has && value == "":
		return otherwise, nil
	case !set:
		return "", fmt.Errorf("the environment has no %s: set it, or write ${%s:-default}", name, name)
	case value != "":
		f.secrets = append(f.secrets, secret{value, "${" + name + "}"})
	}
	return value, nil
}

// nameLength returns how many bytes at the beginning of a text can be a variable's name.
func nameLength(text string) int {
	for i := range len(text) {
		c := text[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(text)
}

// Hide returns a text in which what came from the environment is shown as the file has it.
func (f *File) Hide(text string) string {
	all := slices.Clone(f.secrets)
	slices.SortStableFunc(all, func(a, b secret) int { return cmp.Compare(len(b.value), len(a.value)) })
	for _, s := range all {
		if len(s.value) >= leastHidden {
			text = strings.ReplaceAll(text, s.value, s.written)
		}
	}
	return text
}

// hideAt is Hide of a text about the value at a path, which is replaced however short it is.
func (f *File) hideAt(path, text string) string {
	n := f.root
	for _, step := range steps(path) {
		if n == nil {
			break
		}
		n, _, _ = n.step(step)
	}
	if n != nil && n.written != "" && n.text != "" {
		text = strings.ReplaceAll(text, fmt.Sprintf("%q", n.text), fmt.Sprintf("%q", n.written))
	}
	return f.Hide(text)
}
