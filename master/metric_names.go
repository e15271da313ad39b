package master

import (
	"fmt"
	"strings"
	"sync"

	"github.com/evenkeel-lb/evenkeel/wire"
)

// metricNames keeps one copy of the names of each form, since thousands of agents send the same.
type metricNames struct {
	mu   sync.Mutex
	kept map[string][]string // by the names, joined
}

// maxForms bounds them; further forms are kept by their connections.
const maxForms = 1024

func (f *metricNames) intern(names []string) []string {
	joined := strings.Join(names, "\x00")
	f.mu.Lock()
	defer f.mu.Unlock()
	if kept, ok := f.kept[joined]; ok && len(kept) == len(names) {
		return kept
	}
	joined = strings.Clone(joined) // Join does not copy a single name
	kept, rest := make([]string, len(names)), joined
	for i, name := range names {
		kept[i], rest = rest[:len(name)], rest[min(len(name)+1, len(rest)):]
	}
	if len(f.kept) < maxForms {
		if f.kept == nil {
			f.kept = make(map[string][]string)
		}
		f.kept[joined] = kept
	}
	return kept
}

// defineMetrics handles a Form.
func (c *conn) defineMetrics(all *metricNames, payload []byte) error {
	var m wire.Form
	if err := m.Decode(payload); err != nil {
		return err
	}
	if m.Number == 0 {
		return &wire.FrameError{What: "form: no number"}
	}
	for len(c.metricNames) < int(m.Number) {
		c.metricNames = append(c.metricNames, nil)
	}
	c.metricNames[m.Number-1] = all.intern(m.Names)
	return nil
}

// expandMetrics puts the names of its form into a report. Its error is a *wire.FrameError.
func (c *conn) expandMetrics(r *wire.PoolReport) error {
	if r.Form == 0 {
		return nil
	}
	var names []string
	if int(r.Form) <= len(c.metricNames) {
		names = c.metricNames[r.Form-1]
	}
	if len(names) != len(r.Report.Metrics) || names == nil {
		return &wire.FrameError{What: fmt.Sprintf("report of form %d: %d values, the form has %d", r.Form, len(r.Report.Metrics), len(names))}
	}
	for i := range names {
		r.Report.Metrics[i].Name = names[i]
	}
	return nil
}
