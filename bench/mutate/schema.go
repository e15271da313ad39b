package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// switches goes into the room as another file. A test binary has all mutants of the room in it: each place that can change calls one of
// these functions with the number of the mutant. At most one mutant is on.
const switches = `package %s

import (
	"os"
	"strconv"
	"sync/atomic"
)

var (
	mutateOn, _     = strconv.Atoi(os.Getenv("` + envOn + `"))
	mutateReached   = os.Getenv("` + envReached + `")
	mutateRecorded [%d]atomic.Bool
)

// mutateIs reports whether mutant k is on.
func mutateIs(k int) bool {
	if mutateReached != "" && !mutateRecorded[k].Swap(true) {
		if f, err := os.OpenFile(mutateReached, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			f.WriteString(strconv.Itoa(k) + "\n")
			f.Close()
		}
	}
	return k == mutateOn
}

func mutateError(k int, err error) error {
	if mutateIs(k) {
		return nil
	}
	return err
}
`

// The variables by which a test binary is told the mutant that is on, and the file that gets the number of each mutant that it reaches.
const (
	envOn      = "EVENKEEL_MUTANT"
	envReached = "EVENKEEL_MUTANTS_REACHED"
)

// schema returns a file's source with all its mutants in it. all is in the order of the text; one of two that begin at the same
// place may hold the other.
func schema(source []byte, all []mutant) []byte {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b mutant) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return b.end - a.end
	})
	s := schemaWriter{source: source}
	s.piece(0, len(source), all)
	return s.out.Bytes()
}

type schemaWriter struct {
	source []byte
	out    bytes.Buffer
}

// piece writes a piece of the source with the mutants in it, the outer ones before those that they hold.
func (s *schemaWriter) piece(from, to int, all []mutant) {
	for len(all) > 0 {
		m := &all[0]
		n := 1
		for n < len(all) && all[n].start < m.end {
			n++
		}
		s.out.Write(s.source[from:m.start])
		before, after := m.switched()
		s.out.WriteString(before)
		s.piece(m.start, m.end, all[1:n])
		s.out.WriteString(after)
		from, all = m.end, all[n:]
	}
	s.out.Write(s.source[from:to])
}

// switched returns what stands before and after the original, so that the mutant takes its place when it is on.
func (m *mutant) switched() (before, after string) {
	switch m.kind {
	case droppedStatement:
		return fmt.Sprintf("if !mutateIs(%d) { ", m.number), " }"
	case droppedError:
		return fmt.Sprintf("mutateError(%d, ", m.number), ")"
	}
	return fmt.Sprintf("(mutateIs(%d) && (%s) || !mutateIs(%[1]d) && (", m.number, m.with), "))"
}

// overlay writes the room with all its mutants into a folder, and returns the name of the list by which the go command takes these files
// for the room's own.
func (r *room) overlay(dir string) (string, error) {
	replace := make(map[string]string)
	put := func(name string, source []byte) error {
		replace[filepath.Join(r.Dir, name)] = filepath.Join(dir, name)
		return os.WriteFile(filepath.Join(dir, name), source, 0o600)
	}
	err := put("mutate_switches.go", fmt.Appendf(nil, switches, r.Name, len(r.mutants)+1))
	for _, name := range r.GoFiles {
		of := slices.Collect(func(yield func(mutant) bool) {
			for i := range r.mutants {
				if strings.HasSuffix(r.mutants[i].file, "/"+name) && !yield(r.mutants[i]) {
					return
				}
			}
		})
		err = errors.Join(err, put(name, schema(r.sources[name], of)))
	}
	list, marshalErr := json.Marshal(map[string]map[string]string{"Replace": replace})
	name := filepath.Join(dir, "overlay.json")
	return name, errors.Join(err, marshalErr, os.WriteFile(name, list, 0o600))
}
