package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge"
	"github.com/evenkeel-lb/evenkeel/policy"
)

func checkCommand() *cobra.Command {
	live := false
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "say everything that is wrong with a file, or what it means",
		Long: `Check reads a file as start and reload would and prints every problem with its line,
its column and an excerpt; then its exit code is 1. What a start without further flags
would refuse is a problem too, such as an address beyond loopback without certificates. Of
a file without problems it prints what the roles would do with it. With --live it also finds
out whether this machine has the addresses to listen on, and who has them if not, and where
the names of servers lead.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("such as evenkeel check evenkeel.yaml", "check takes one file, got %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := readSettings(args[0], func(s *settings, bad func(path, problem string)) {
				s.badTrust(bad)
				if live {
					s.badLive(cmd.Context(), bad)
				}
			})
			if err != nil {
				return err
			}
			lines := s.summary()
			if live {
				lines = append(lines, s.whereNamesLead(cmd.Context())...)
			}
			printLine(cmd.OutOrStdout(), args[0]+" is fine\n"+s.hide(strings.Join(lines, "\n")))
			return nil
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "also find out whether the addresses to listen on can be had now, and where servers' names lead")
	return cmd
}

// summary says what was understood, a line each.
func (s *settings) summary() []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf("  "+format, args...)) }
	if m := s.Master; m != nil {
		say("master: edges and agents at %s, admin at %s", cmp.Or(m.Listen, defaultWire), cmp.Or(m.Admin, defaultMasterAdmin))
		if m.Listen != "" && !isLoopback(m.Listen) {
			say("        %s", m.TLS.beyond(m.Insecure))
		}
		if m.OpenPools {
			say("        agents may open further pools")
		}
	}
	for _, name := range s.poolNames() {
		p := s.Pools[name]
		say("pool %s: %s, %s", name, cmp.Or(p.Policy, policy.Default), p.members())
	}
	if e := s.Edge; e != nil {
		say("edge: asks %s, admin at %s", strings.Join(e.masters(), ", "), cmp.Or(e.Admin, defaultEdgeAdmin))
		for _, l := range e.Listeners {
			for _, r := range l.Routes {
				say("      %s", l.meaning(&r))
			}
		}
	}
	if a := s.Agent; a != nil {
		say("agent: server %s at %s in pool %s, reports to %s", a.spec().ID, a.Address, a.Pool, strings.Join(a.masters(), ", "))
	}
	if len(lines) == 0 {
		say("it says nothing: no master, no pools, no edge, no agent")
	}
	return lines
}

// brief names the protocol of clients, if it is not plain.
func (t *certsPart) brief() string {
	if t == nil {
		return ""
	}
	return " (TLS)"
}

// meaning says where the listener sends what a route takes.
func (l *listenerPart) meaning(r *routePart) string {
	if edge.Mode(l.Mode) == edge.ModeTCP {
		return fmt.Sprintf("%s tcp, %s -> pool %s", l.Listen, cmp.Or(r.Host, "any name"), r.Pool)
	}
	return fmt.Sprintf("%s%s %s %s -> pool %s (%s)", l.Listen, l.TLS.brief(), cmp.Or(r.Host, "any host"), cmp.Or(r.Path, "/"), r.Pool, balance.Link(r.Link))
}

func (p poolPart) members() string {
	if len(p.Servers) == 0 {
		return "servers join through agents"
	}
	var ids []string
	for _, s := range p.Servers {
		ids = append(ids, string(s.spec().ID))
	}
	shown := strings.Join(ids[:min(len(ids), 8)], ", ")
	if len(ids) > 8 {
		shown += ", …"
	}
	return fmt.Sprintf("%d %s: %s", len(ids), plural(len(ids), "server"), shown)
}

func (e *edgePart) masters() []string { return orMaster(e.Masters) }

func (a *agentPart) masters() []string { return orMaster(a.Masters) }

// orMaster returns the masters named, else the one of this machine.
func orMaster(named []string) []string {
	if len(named) > 0 {
		return named
	}
	return []string{defaultWire}
}
