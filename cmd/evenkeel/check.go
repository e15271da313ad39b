package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/agent"
	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/hint"
	"github.com/evenkeel-lb/evenkeel/policy"
	"github.com/spf13/cobra"
)

func checkCommand() *cobra.Command {
	live := false
	cmd := &cobra.Command{
		Use:   "check FILE …",
		Short: "check a file: report every problem, or say what the roles would do with it",
		Long: `Check reads a file as start and reload would and prints every problem with its line,
its column and an excerpt; then its exit code is 1. What a start without further flags
would refuse is a problem too, such as an address beyond loopback without certificates. Of
a file without problems it prints what the roles would do with it, and which of them refuse it. Of
several files, such as the masters' and an edge's, it also finds routes of the one to pools
that the others do not have.

With --live it also finds out, from this machine: whether it has the addresses to listen on, and
who has them if not; whether it has the memory that an edge may use; where the names of servers
lead; whether each server and master can be reached and proves itself; until when certificates
are good; whether the masters have the pools that routes lead to. It asks servers for nothing
but a connection and the pool's health check. If the file is good but something of this is not,
the exit code is 3.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 {
				return hint.Usagef("such as evenkeel check evenkeel.yaml", "check takes a file, or several that belong together")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			together, err := readTogether(args)
			if err != nil {
				return err
			}
			var problems []error
			var trouble error
			for _, path := range args {
				switch err := checkFile(cmd, path, together, live); {
				case errors.Is(err, errTrouble):
					trouble = err
				case err != nil:
					problems = append(problems, err)
				}
			}
			return cmp.Or(errors.Join(problems...), trouble)
		},
	}
	cmd.ValidArgsFunction = completeYAML
	cmd.Flags().BoolVar(&live, "live", false, "also find out what of this can be had and reached now: addresses to listen on, servers, masters and their pools, certificates")
	return cmd
}

// filesTogether are the pools that several files have.
type filesTogether struct {
	pools []string // of all files; empty: one file is checked, or none has pools
	whose string   // the files that have them
	open  bool     // agents may open more
}

// readTogether reads what several files have. What is wrong with one is found when it is checked.
func readTogether(paths []string) (t filesTogether, err error) {
	if len(paths) < 2 {
		return t, nil
	}
	var files []string
	for _, path := range paths {
		s, err := settings.Read(path)
		if err != nil {
			return t, err
		}
		t.open = t.open || s.Master != nil && s.Master.OpenPools
		if len(s.Pools) > 0 {
			files, t.pools = append(files, path), append(t.pools, s.PoolNames()...)
		}
	}
	t.whose = strings.Join(files, ", ")
	return t, nil
}

// checkFile checks one file, and prints what it means if nothing is wrong with it.
func checkFile(cmd *cobra.Command, path string, together filesTogether, live bool) error {
	var running []string // addresses that our own processes have
	s, err := settings.Read(path, func(s *settings.Settings, bad func(path, problem string)) {
		s.ValidateTrust(bad)
		if len(together.pools) > 0 && !together.open && len(s.Pools) == 0 {
			s.ValidateRoutesTo(together.pools, together.whose, bad)
		}
		if live {
			running = badLive(cmd.Context(), s, bad)
		}
	})
	if err != nil {
		return err
	}
	lines := append(summary(s), roleLines(s)...)
	var found []finding
	if live {
		all, fine := checkLive(cmd.Context(), s, time.Now())
		found, lines = all, slices.Concat(lines, running, whereNamesLead(cmd.Context(), s), fine)
	}
	head := path + " is fine"
	if len(found) > 0 {
		head = fmt.Sprintf("%s has no problem by itself; found now: %d", path, len(found))
	}
	terminal.PrintLine(cmd.OutOrStdout(), head+"\n"+s.HideValues(strings.Join(lines, "\n")))
	return printFindings(cmd.OutOrStdout(), s, found)
}

// printFindings prints what a check of the running system has found. It returns errTrouble if requests fail for any of it.
func printFindings(out io.Writer, s *settings.Settings, found []finding) (err error) {
	for i, f := range found {
		if f.harmed {
			err = errTrouble
		}
		if i >= mostFindings {
			continue
		}
		text := s.At(f.path) + ": " + f.what
		if !f.harmed {
			text = s.At(f.path) + ": warning: " + f.what
		}
		terminal.PrintLine(out, s.HideValues(balance.PlainText(text)))
		if f.cure != "" {
			terminal.PrintLine(out, "  hint: "+s.HideValues(balance.PlainText(f.cure)))
		}
	}
	if more := len(found) - mostFindings; more > 0 {
		terminal.PrintLine(out, fmt.Sprintf("and %d more", more))
	}
	return err
}

// summary says what was understood, a line each.
func summary(s *settings.Settings) []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf("  "+format, args...)) }
	if m := s.Master; m != nil {
		say("master: edges and agents at %s, admin at %s", cmp.Or(m.Listen, settings.DefaultWire), cmp.Or(m.Admin, settings.DefaultMasterAdmin))
		if m.Listen != "" && !settings.IsLoopback(m.Listen) {
			say("        %s", proofBeyond(m.TLS, m.Insecure))
		}
		if m.OpenPools {
			say("        agents may open more pools")
		}
	}
	for _, name := range s.PoolNames() {
		p := s.Pools[name]
		say("pool %s: %s, %s", name, cmp.Or(p.Policy, policy.Default), members(s.ServersOf(name)))
		for _, line := range poolMeaning(&p, s.ServersOf(name)) {
			say("        %s", line)
		}
	}
	for _, server := range s.SharedServers() {
		say("server %s stands in pools %s: it counts once for all of them", server.Address, strings.Join(server.Pools, ", "))
	}
	if e := s.Edge; e != nil {
		say("edge: asks %s, admin at %s", strings.Join(e.MasterAddresses(), ", "), cmp.Or(e.Admin, settings.DefaultEdgeAdmin))
		for _, l := range e.Listeners {
			for _, r := range l.Routes {
				say("      %s", routeMeaning(&l, &r))
			}
		}
	}
	if a := s.Agent; a != nil {
		say("agent: server %s at %s in %s, reports to %s", a.Spec().ID, a.Address, pluralPools(a.JoinedPools()), strings.Join(a.MasterAddresses(), ", "))
	}
	if len(lines) == 0 {
		say("the file is empty: it has no master, pools, edge or agent")
	}
	return lines
}

// poolMeaning says what is not the same for all requests and servers of a pool.
func poolMeaning(p *settings.Pool, servers []settings.Server) (lines []string) {
	of := func(is func(s *settings.Server) bool) string {
		some := slices.DeleteFunc(slices.Clone(servers), func(s settings.Server) bool { return !is(&s) })
		if len(some) == 0 {
			return "no server of the file"
		}
		return members(some)
	}
	for labels, part := range p.Share {
		want, _ := settings.ParseLabels(strings.Split(labels, ","))
		lines = append(lines, fmt.Sprintf("%.4g%% of the requests go to what carries %s: %s", 100*float64(part), labels, of(func(s *settings.Server) bool { return !s.Backup && settings.Carries(s.Labels, want) })))
	}
	if some := of(func(s *settings.Server) bool { return s.Backup }); slices.ContainsFunc(servers, func(s settings.Server) bool { return s.Backup }) {
		lines = append(lines, "only for what would be refused otherwise: "+some)
	}
	if o := p.Overflow; o != nil {
		lines = append(lines, fmt.Sprintf("requests that would wait longer than %v go on to pool %s", time.Duration(o.When), o.Pool))
	}
	return lines
}

// roleLines say which roles can start with the file, and why the others cannot.
func roleLines(s *settings.Settings) (lines []string) {
	var fit []string
	for _, role := range settings.Roles {
		if problem, _ := s.Unfit(role); problem == "" {
			fit = append(fit, string(role))
		} else {
			lines = append(lines, fmt.Sprintf("  evenkeel %s refuses it: it %s", role, problem))
		}
	}
	if len(fit) == 0 {
		return append([]string{"  no role starts with it"}, lines...)
	}
	return append([]string{"  for evenkeel " + strings.Join(fit, ", evenkeel ")}, lines...)
}

// protocolNote names the protocol of clients, if it is not plain.
func protocolNote(t *settings.ListenerTLS) string {
	if t == nil {
		return ""
	}
	return " (TLS)"
}

// routeMeaning says where the listener sends what a route takes.
func routeMeaning(l *settings.Listener, r *settings.Route) string {
	if routing.Mode(l.Mode) == routing.ModeTCP {
		return fmt.Sprintf("%s tcp, %s -> pool %s", l.Listen, cmp.Or(r.Host, "any name"), r.Pool)
	}
	return fmt.Sprintf("%s%s %s %s -> pool %s (%s)", l.Listen, protocolNote(l.TLS), cmp.Or(r.Host, "any host"), cmp.Or(r.Path, "/"), r.Pool, balance.Link(r.Link))
}

func members(servers []settings.Server) string {
	if len(servers) == 0 {
		return "servers join through agents"
	}
	var ids []string
	for _, s := range servers {
		ids = append(ids, string(s.Spec().ID))
	}
	shown := strings.Join(ids[:min(len(ids), 8)], ", ")
	if len(ids) > 8 {
		shown += ", …"
	}
	return fmt.Sprintf("%d %s: %s", len(ids), terminal.Plural(len(ids), "server"), shown)
}

// badLive finds addresses of the file that cannot be listened on now, on this machine, and more memory than it has. It returns a line for
// each address that one of our own processes has, which a reload does not take from it.
func badLive(ctx context.Context, s *settings.Settings, bad func(path, problem string)) (running []string) {
	tried := make(map[string]bool)
	for _, addresses := range s.ListenAddresses() {
		for _, p := range addresses {
			if tried[p.Key] {
				continue
			}
			tried[p.Key] = true
			l, err := process.Listen(ctx, p.Address)
			if err == nil {
				_ = l.Close() // nothing was taken from it
				continue
			}
			if ours := ownListener(ctx, p.Address); ours != "" && errors.Is(err, syscall.EADDRINUSE) {
				running = append(running, fmt.Sprintf("  %s (%s) is held by %s, which runs: evenkeel reload --at %s has it read its file", p.Address, p.Key, ours, ours))
				continue
			}
			text := err.Error()
			if advice := hint.Of(err); advice != "" {
				text += "; " + advice
			}
			bad(p.Key, text)
		}
	}
	if e := s.Edge; e != nil {
		if problem := process.TooMuchMemory(int64(e.BufferMemory), agent.MemoryLimit()); problem != "" {
			bad("edge.buffer_memory", problem)
		}
	}
	return running
}

// ownListener returns the name of the process of ours on this machine that listens at a port; empty: none that is known.
func ownListener(ctx context.Context, address string) string {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return ""
	}
	pid, _ := agent.WhoListens(uint16(port))
	if pid == 0 {
		return ""
	}
	all, _ := findAll(ctx)
	for _, f := range all {
		if f.PID == pid || f.told.PID == pid {
			return f.Name
		}
	}
	return ""
}
