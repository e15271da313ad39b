package main

import (
	"log/slog"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"

	"github.com/evenkeel-lb/evenkeel/internal/logs"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// This file has what the roles open alike when they start.

// startup is what each role opens first, and its process keeps to the end.
type startup struct {
	console  process.Console
	dropped  func() uint64 // lines of the log that were dropped
	log      *slog.Logger
	keeper   *trust.Keeper // the role's certificate; nil: it has none
	insecure bool          // it may do without
	access   *process.AdminAccess
	failing  *process.ReloadResult
	logging  *process.Logging
}

// open makes the log of a role.
func (f *logFlags) open(sink *logs.Sink) (*startup, error) {
	log, own, err := f.logger(sink)
	return &startup{logging: own, console: f.consoleOn(sink), dropped: sink.Dropped, log: log, failing: new(process.ReloadResult)}, err
}

// authenticate reads the role's certificate, which has the name that the role goes by: *name, at key of the file, if that is given.
func (st *startup) authenticate(role trust.Role, files trustFlags, name *string, key string) (err error) {
	st.insecure = files.insecure
	if st.keeper, err = files.open(role, st.log); err != nil {
		return err
	}
	*name, err = nameBy(st.keeper, *name, key)
	return err
}

// openAccess reads who may use the role's admin address.
func (st *startup) openAccess(a settings.Access) (err error) {
	st.access, err = process.OpenAdmin(a, st.log)
	return err
}

// process returns the process of a role that has opened all it needs, without its endpoints and its own components.
func (st *startup) process(about *process.Overview, file string, serving ...any) *process.Process {
	return &process.Process{Overview: about, Log: st.log, Console: st.console, Trust: st.keeper, Access: st.access, File: file, Serving: serving, Logging: st.logging}
}

// reloads has SIGHUP read the file that the role was started with, if it was.
func (st *startup) reloads(p *process.Process, began settings.StartupKeys, reload func() (*settings.Settings, settings.StartupKeys, error)) {
	if p.File != "" {
		p.StartupKeys, p.LastReload, p.Reload = began, st.failing, reload
	}
}
