// Package audit records who did what to a running system: who drained a server, reloaded a
// file, asked why a request went where it did, or was refused.
//
// A Log writes to a file of its own, one line of JSON for each entry, or to the log of the process. Traffic,
// such as a pick, makes no entries.
package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Outcomes of what was tried.
const (
	Done    = "done"
	Refused = "refused" // the caller may not do it
	Failed  = "failed"  // it could not be done
)

// Proofs of who the actor is.
const (
	ByCertificate = "certificate"
	ByToken       = "token"
	BySocket      = "socket" // a unix socket that only the process's user, and root, can open
	BySignal      = "signal" // only the process's user, and root, can send one
	ByNothing     = "none"   // the address was all that was asked for, as on loopback by default
)

// Entry is one thing that was done or tried.
type Entry struct {
	Time    time.Time `json:"time"`             // zero: when it is recorded
	Actor   string    `json:"actor,omitempty"`  // who did it, as far as Proof says; empty: unknown
	Proof   string    `json:"proof"`            // how that is known, one of the constants above
	From    string    `json:"from,omitempty"`   // the address of the other end
	Action  string    `json:"action"`           // a verb: drain, reload, explain
	Target  string    `json:"target,omitempty"` // what it was done to: pool/server, a file, a request's id
	Outcome string    `json:"outcome"`          // one of the constants above
	Detail  string    `json:"detail,omitempty"` // why it was refused or failed
}

// Log takes entries. A nil Log drops them. Its methods may be called from any goroutine.
type Log struct {
	process *slog.Logger // of the process: where entries go without a file, and what goes wrong with one
	path    string       // of the file; empty: there is none

	mu   sync.Mutex // held over one write, so that lines stay whole
	file *os.File   // nil: none, or it could not be opened again
}

// New returns a Log that writes to the log of the process. That must not be one that leaves
// lines out (logs.Unlimited).
func New(process *slog.Logger) *Log { return &Log{process: process} }

// Open returns a Log that appends to a file, which only its owner can read if Open makes it.
// Trouble with the file is told in the log of the process, and entries go there meanwhile.
func Open(path string, process *slog.Logger) (*Log, error) {
	l := &Log{process: process, path: path}
	return l, l.Reopen()
}

// Reopen opens the file by its name, so that one that was moved away is left behind. If that
// cannot be, the file that was open before is kept.
func (l *Log) Reopen() error {
	if l == nil || l.path == "" {
		return nil
	}
	if info, err := os.Stat(l.path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("audit log %s: want a regular file: writing to anything else may wait for its reader", l.path)
	}
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close() // each line was written by itself
	}
	l.file = file
	return nil
}

// Close closes the file.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// Record writes an entry. It returns when the kernel has it: an entry is there once the
// caller sees the effect. What cannot be written to the file goes to the process's log, so
// that a full disk keeps no operator from draining a server.
func (l *Log) Record(e Entry) {
	if l == nil {
		return
	}
	e.Time, e.Proof = cmp.Or(e.Time, time.Now()), cmp.Or(e.Proof, ByNothing)
	if l.path == "" {
		l.tell(slog.LevelInfo, "audit", &e)
		return
	}
	if err := l.write(&e); err != nil {
		l.process.Error("the audit log cannot be written", "file", l.path, "err", err)
		l.tell(slog.LevelError, "audit", &e)
	}
}

func (l *Log) write(e *Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return errors.New("it is closed")
	}
	_, err = l.file.Write(append(line, '\n'))
	return err
}

func (l *Log) tell(level slog.Level, message string, e *Entry) {
	all := []slog.Attr{slog.String("action", e.Action), slog.String("outcome", e.Outcome), slog.String("actor", e.Actor), slog.String("proof", e.Proof)}
	for _, more := range []struct{ key, value string }{{"from", e.From}, {"target", e.Target}, {"detail", e.Detail}} {
		if more.value != "" {
			all = append(all, slog.String(more.key, more.value))
		}
	}
	l.process.LogAttrs(context.Background(), level, message, all...)
}
