package master

import (
	"fmt"
	"strings"
	"sync"

	"github.com/evenkeel-lb/evenkeel/wire"
)

// forms keeps one copy of the names of a form, for thousands of agents tell the same.
type forms struct {
	mu   sync.Mutex
	kept map[string][]string // by the names, joined
}

// mostForms bounds them; a connection that brings more has copies of its own.
const mostForms = 1024

func (f *forms) share(names []string) []string {
	joined := strings.Join(names, "\x00")
	f.mu.Lock()
	defer f.mu.Unlock()
	if kept, ok := f.kept[joined]; ok && len(kept) == len(names) {
		return kept
	}
	joined = strings.Clone(joined) // Join copies nothing where there is one name only
	kept, rest := make([]string, len(names)), joined
	for i, name := range names {
		kept[i], rest = rest[:len(name)], rest[min(len(name)+1, len(rest)):]
	}
	if len(f.kept) < mostForms {
		if f.kept == nil {
			f.kept = make(map[string][]string)
		}
		f.kept[joined] = kept
	}
	return kept
}

// learn takes a form that the peer tells.
func (c *conn) learn(all *forms, payload []byte) error {
	var m wire.Form
	if err := m.Decode(payload); err != nil {
		return err
	}
	if m.Number == 0 {
		return &wire.FrameError{What: "form: no number"}
	}
	for len(c.forms) < int(m.Number) {
		c.forms = append(c.forms, nil)
	}
	c.forms[m.Number-1] = all.share(m.Names)
	return nil
}

// fill puts the names of its form into a report. Its error is a *wire.FrameError.
func (c *conn) fill(r *wire.PoolReport) error {
	if r.Form == 0 {
		return nil
	}
	var names []string
	if int(r.Form) <= len(c.forms) {
		names = c.forms[r.Form-1]
	}
	if len(names) != len(r.Report.Metrics) || names == nil {
		return &wire.FrameError{What: fmt.Sprintf("report of form %d: %d values, the form has %d", r.Form, len(r.Report.Metrics), len(names))}
	}
	for i := range names {
		r.Report.Metrics[i].Name = names[i]
	}
	return nil
}
