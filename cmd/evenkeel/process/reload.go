package process

import (
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
)

// ReloadResult is what became of the last reload of a process. Safe for concurrent use.
type ReloadResult struct{ failure atomic.Pointer[string] }

// set takes the error of a reload, nil if it was good.
func (r *ReloadResult) set(err error) {
	if err == nil {
		r.failure.Store(nil)
		return
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	r.failure.Store(&text)
}

// Failure returns why the last reload failed; empty: it did not, or there was none.
func (r *ReloadResult) Failure() string {
	if text := r.failure.Load(); text != nil {
		return *text
	}
	return ""
}

// warnRestartNeeded says which changes a reload could not take up.
func warnRestartNeeded(before, now settings.StartupKeys, log *slog.Logger) {
	if keys := before.Changed(now); len(keys) > 0 {
		log.Warn(strings.Join(keys, ", ")+" "+have(len(keys))+" changed: needs a restart", "keys", keys)
	}
}

func have(n int) string {
	if n == 1 {
		return "has"
	}
	return "have"
}
