// Package logtest is a log for tests.
package logtest

import (
	"bytes"
	"strings"
	"sync"
)

// Log is what was logged. It may be read while it is written. The zero value is empty.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns all that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Count returns how often a text stands in it.
func (l *Log) Count(text string) int { return strings.Count(l.String(), text) }
