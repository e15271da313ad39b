// Package config turns the bytes of a YAML file into structs, or into every problem
// they have, each with its line, its column, an excerpt and a caret:
//
//	evenkeel.yaml:12:15: pools.web: policy: "best" is not known: want one of …
//	   12 |       policy: best
//	      |               ^
//
// It is strict. A key that no field stands for, a key that stands twice, a value of
// the wrong type are problems, and none hides the next. It knows nothing of what the
// values mean: the rooms do, and say so by field; File.Bad finds where that field
// stood and files the problem with the others.
//
// It is pure: bytes in, structs or problems out.
//
// YAML is read as its core says, with what a file of settings has no use for refused:
// tags, directives, keys that are not plain words, several documents. Anchors, aliases
// and merge keys work, within a bound on what they may grow to.
package config

import (
	"strconv"
	"strings"
)

// Position is a place in a file; both count from 1, columns in characters.
type Position struct{ Line, Column int }

// File is one parsed file and the problems found in it so far. It is not safe for concurrent use.
type File struct {
	name     string
	lines    []string
	root     *node // nil: the bytes are not YAML, or nothing stands in them
	problems []Problem
	seen     map[string]bool // problems already filed, by position and text
	bad      map[string]bool // paths whose value could not be used
	written  int             // values in the bytes
	grown    int             // values decoded, those of aliases each time
	env      Env             // nil: values are as they are written
	secrets  []secret        // what came from it
}

// Parse reads the bytes of a file; name stands in its problems. Bytes that are not
// YAML make a problem, which Err returns. In values, ${NAME} is what env has for it, and
// ${NAME:-default} that or the default; $$ is a dollar. With a nil env, values are as they are written.
func Parse(name string, src []byte, env Env) *File {
	f := &File{name: name, env: env, seen: make(map[string]bool), bad: make(map[string]bool)}
	f.read(src)
	return f
}

// Bad files a problem with the field at a path, such as pools.render.servers[1].address.
// Where the path leads beyond what the file has, the problem stands at the nearest
// place above it. A field that already has a problem of its form gets no second one.
func (f *File) Bad(path, problem string) {
	if f.root == nil && len(f.problems) > 0 {
		return
	}
	for at := path; at != ""; at = parent(at) {
		if f.bad[at] {
			return
		}
	}
	where, leaf := split(path)
	f.add(Problem{Position: f.Position(path), Where: where, Text: join(leaf, f.hideAt(path, problem))})
}

// Position returns where the field at a path stands: its value if that is on one
// line, else its key, or the nearest place above it. In an empty file that is 1:1.
func (f *File) Position(path string) Position {
	if f.root == nil {
		return Position{1, 1}
	}
	at, n := f.root.at, f.root
	for _, step := range steps(path) {
		next, where, ok := n.step(step)
		if !ok {
			break
		}
		n, at = next, where
	}
	return at
}

// Field returns the path of a field of what stands at a path. Keys that are no plain
// words are quoted: pools["a.b"].
func Field(path, key string) string {
	if key == "" || strings.ContainsAny(key, `.[]"\`) {
		return path + "[" + strconv.Quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// Item returns the path of an item of the list at a path.
func Item(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// steps takes a path apart; list items keep their bracket: pools, render, servers, [1].
func steps(path string) []string {
	var all []string
	for path != "" {
		step, rest := firstStep(path)
		all = append(all, step)
		path = rest
	}
	return all
}

func firstStep(path string) (step, rest string) {
	path = strings.TrimPrefix(path, ".")
	if quoted, err := strconv.QuotedPrefix(strings.TrimPrefix(path, "[")); err == nil && strings.HasPrefix(path, "[") {
		key, _ := strconv.Unquote(quoted)
		return key, strings.TrimPrefix(path[1+len(quoted):], "]")
	}
	if strings.HasPrefix(path, "[") {
		end := strings.IndexByte(path, ']')
		if end < 0 {
			return path, ""
		}
		return path[:end+1], path[end+1:]
	}
	end := strings.IndexAny(path, ".[")
	if end < 0 {
		return path, ""
	}
	return path[:end], path[end:]
}

// split parts a path into where a person would look and the field to look for
// there; a list's item goes with the list's name.
func split(path string) (where, leaf string) {
	where = parent(path)
	for where != "" && isItem(path[len(where):]) {
		path, where, leaf = where, parent(where), path[len(where):]+leaf
	}
	return where, strings.TrimPrefix(path[len(where):], ".") + leaf
}

func isItem(step string) bool {
	return strings.HasPrefix(step, "[") && !strings.HasPrefix(step, `["`)
}

// parent returns the path without its last step; of one step it is empty.
func parent(path string) string {
	cut := 0
	for rest := path; rest != ""; {
		cut = len(path) - len(rest)
		_, rest = firstStep(rest)
	}
	return path[:cut]
}

func join(parts ...string) string {
	var filled []string
	for _, p := range parts {
		if p != "" {
			filled = append(filled, p)
		}
	}
	return strings.Join(filled, ": ")
}
