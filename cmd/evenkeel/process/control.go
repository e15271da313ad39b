package process

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/pprof"
	"strings"
	"sync"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/internal/logs"
	"github.com/evenkeel-lb/evenkeel/internal/redact"
)

// Where operators control a process, whatever its role.
const (
	ReloadPath     = "/process/reload"
	LogPath        = "/process/log"
	RecordsPath    = "/process/records"
	ConfigPath     = "/process/config"
	GoroutinesPath = "/process/goroutines"
)

// Logging is what may be changed of a process's log, and what it keeps of it.
type Logging struct {
	Level  slog.LevelVar
	Recent logs.Recent
}

// control is what the endpoints of this file need of a process.
type control struct {
	reloadRequests chan chan ReloadReport // from the endpoint to Serve; nil: there is no endpoint
	settingsMu     sync.Mutex             // guards Process.Settings
}

// ReloadReport is what became of a reload.
type ReloadReport struct {
	Reloaded bool     `json:"reloaded"`
	File     string   `json:"file,omitempty"`            // empty: only certificates were read anew
	Changed  []string `json:"changed"`                   // values of the file that are others now
	Restart  []string `json:"needs_a_restart,omitempty"` // keys that have changed since the start, and that a reload does not take up
	Problems []string `json:"problems,omitempty"`        // why not, or why not all
}

// LogLevel is the level of a log.
type LogLevel struct {
	Level string `json:"level"`
	Was   string `json:"was,omitempty"`
}

func (p *Process) currentSettings() *settings.Settings {
	p.settingsMu.Lock()
	defer p.settingsMu.Unlock()
	if p.Settings == nil {
		return new(settings.Settings)
	}
	return p.Settings
}

// setSettings takes up what a reload has read. The flags stay.
func (p *Process) setSettings(next *settings.Settings) {
	p.settingsMu.Lock()
	defer p.settingsMu.Unlock()
	if p.Settings != nil {
		next.KeepFlags(p.Settings)
	}
	p.Settings = next
}

func (p *Process) controlEndpoints() []admin.Endpoint {
	p.reloadRequests = make(chan chan ReloadReport)
	return []admin.Endpoint{
		{Method: "POST", Path: ReloadPath, Role: admin.Operate, Action: "reload", Handle: p.postReload},
		{Method: "GET", Path: LogPath, Role: admin.Operate, Handle: p.getLog},
		{Method: "POST", Path: LogPath, Role: admin.Operate, Action: "set the log level", Handle: p.postLog},
		{Method: "GET", Path: RecordsPath, Role: admin.Operate, Action: "read the log", Handle: p.getRecords},
		{Method: "GET", Path: ConfigPath, Role: admin.Operate, Action: "read the configuration", Handle: p.getConfig},
		{Method: "GET", Path: GoroutinesPath, Role: admin.Operate, Action: "profile", Handle: getGoroutines},
	}
}

func (p *Process) postReload(w http.ResponseWriter, r *http.Request) {
	answer := make(chan ReloadReport, 1)
	select {
	case p.reloadRequests <- answer:
		writeJSON(w, http.StatusOK, <-answer)
	case <-r.Context().Done():
	}
}

func (p *Process) getLog(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, LogLevel{Level: levelName(p.Level.Level())})
}

func levelName(l slog.Level) string { return strings.ToLower(l.String()) }

func (p *Process) postLog(w http.ResponseWriter, r *http.Request) {
	var want LogLevel
	level, known := slog.LevelInfo, false
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&want); err == nil {
		level, known = ParseLevel(want.Level)
	}
	if !known {
		http.Error(w, fmt.Sprintf("level %q is not known: want debug, info, warn or error", want.Level), http.StatusBadRequest)
		return
	}
	was := p.Level.Level()
	p.Level.Set(min(was, level))
	logs.Unlimited(p.Log).Log(r.Context(), max(slog.LevelWarn, level, was), "an operator has set the log level", "level", levelName(level), "was", levelName(was))
	p.Level.Set(level)
	writeJSON(w, http.StatusOK, LogLevel{Level: levelName(level), Was: levelName(was)})
}

// ParseLevel returns the level that a word names.
func ParseLevel(word string) (level slog.Level, known bool) {
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if levelName(l) == word {
			return l, true
		}
	}
	return 0, false
}

// getRecords shows the newest records, without what comes from the environment.
func (p *Process) getRecords(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	_, _ = w.Write([]byte(redact.Text(p.currentSettings().HideValues(string(p.Recent.Text()))))) // the caller may be gone
}

func (p *Process) getConfig(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"role": p.info.Role, "file": p.File, "values": p.currentSettings().Effective(p.info.Role)})
}

func getGoroutines(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_ = pprof.Lookup("goroutine").WriteTo(w, 1) // the caller may be gone
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller may be gone
}
