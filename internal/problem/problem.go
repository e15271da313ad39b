// Package problem writes the error responses of our APIs: problem documents of RFC 9457.
package problem

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
)

// Document is an answer that says what went wrong, and the error that becomes one. Reason is our extension: a word for
// programs.
type Document struct {
	Type       string        `json:"type"`  // empty: about:blank
	Title      string        `json:"title"` // empty: the status's
	Status     int           `json:"status"`
	Detail     string        `json:"detail,omitempty"`
	Reason     string        `json:"reason,omitempty"`
	Leader     string        `json:"leader,omitempty"` // of a master that does not lead: where edges and agents reach the one that does
	RetryAfter time.Duration `json:"-"`                // zero: unknown
}

// Error implements error.
func (d *Document) Error() string { return d.Detail }

// Write answers with it. The caller of the API may be gone; that is no error.
func (d *Document) Write(w http.ResponseWriter) {
	told := *d
	if told.Type == "" {
		told.Type = "about:blank"
	}
	if told.Title == "" {
		told.Title = http.StatusText(told.Status)
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if d.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(d.RetryAfter.Seconds()))))
	}
	w.WriteHeader(told.Status)
	_ = json.NewEncoder(w).Encode(&told)
}
