package main

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// What shells complete beyond the names of commands and flags. Words that a master knows are asked for at the
// master that the command line means, or the one of this machine; without an answer nothing is completed.

// completionTimeout is how long a person may wait for a completion.
const completionTimeout = time.Second

// completeFlag has a flag complete to one of the words that list returns.
func completeFlag(cmd *cobra.Command, flag string, list func(ctx context.Context) []string) {
	completeBegun(cmd, flag, func(ctx context.Context, _ string) []string { return list(ctx) })
}

// completeBegun has a flag complete to one of the words that list returns for what is begun of its value.
func completeBegun(cmd *cobra.Command, flag string, list func(ctx context.Context, begun string) []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(contextOf(cmd), completionTimeout)
		defer cancel()
		return list(ctx, begun), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the command has no such flag
	}
}

// completeWords has a flag complete to fixed words.
func completeWords(cmd *cobra.Command, flag string, words ...string) {
	completeFlag(cmd, flag, func(context.Context) []string { return words })
}

// completeList has a flag that takes words with commas between complete the last of them.
func completeList(cmd *cobra.Command, flag string, words ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		before := begun[:strings.LastIndex(begun, ",")+1]
		var all []string
		for _, word := range words {
			if !slices.Contains(strings.Split(before, ","), word) {
				all = append(all, before+word)
			}
		}
		return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
	if err != nil {
		panic(err) // the command has no such flag
	}
}

// contextOf returns the context of a command, which has none while only flags are completed.
func contextOf(cmd *cobra.Command) context.Context {
	if ctx := cmd.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}

// completeProcesses returns the names of the processes of this machine, for --at.
func completeProcesses(ctx context.Context) (names []string) {
	all, _ := findAll(ctx)
	for _, f := range all {
		if f.hasMaster() {
			names = append(names, f.Name)
		}
	}
	return names
}

// completeAllProcesses returns the names of all processes of this machine.
func completeAllProcesses(ctx context.Context) (names []string) {
	all, _ := findAll(ctx)
	for _, f := range all {
		names = append(names, f.Name)
	}
	return names
}

// knownServers returns the ids of the servers that the master knows, of one pool if that is named.
func (a *api) knownServers(ctx context.Context, pool string) (ids []string) {
	for _, p := range a.knownPools(ctx) {
		for _, s := range p.Servers {
			if (pool == "" || p.Name == pool) && !slices.Contains(ids, s.ID) {
				ids = append(ids, s.ID)
			}
		}
	}
	return ids
}

// poolNames returns the names of the pools that the master knows.
func (a *api) poolNames(ctx context.Context) (names []string) {
	for _, p := range a.knownPools(ctx) {
		names = append(names, p.Name)
	}
	return names
}

// knownPool is a pool as completion needs it.
type knownPool struct {
	Name    string
	Servers []struct{ ID string }
}

// known is what completion needs of a master.
type known struct {
	Pools []knownPool
	Edges []struct{ ID string }
}

// knownPools asks the master for its pools and their servers; nil: it does not answer.
func (a *api) knownPools(ctx context.Context) []knownPool { return a.known(ctx).Pools }

// edgeIDs returns the ids of the edges that are connected to the master.
func (a *api) edgeIDs(ctx context.Context) (ids []string) {
	for _, e := range a.known(ctx).Edges {
		ids = append(ids, e.ID)
	}
	return ids
}

// known asks the master; empty: it does not answer.
func (a *api) known(ctx context.Context) (told known) {
	answer, err := a.call(ctx, http.MethodGet, "/v1/status", nil)
	if err != nil || json.Unmarshal(answer, &told) != nil {
		return known{}
	}
	makePlain(&told)
	return told
}

// completeServer has the first argument of cmd complete to a server of the pool that --pool names, or of any.
func completeServer(cmd *cobra.Command, a *api) {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(contextOf(cmd), completionTimeout)
		defer cancel()
		pool, _ := cmd.Flags().GetString("pool")
		return a.knownServers(ctx, pool), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeRole completes the first argument of certs issue.
func completeRole(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var roles []string
	for _, role := range trust.Roles {
		roles = append(roles, string(role))
	}
	return roles, cobra.ShellCompDirectiveNoFileComp
}

// completeScenario completes an argument of simulate: a built-in scenario or a file.
func completeScenario(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []string
	for _, s := range builtInScenarios() {
		names = append(names, s.Name)
	}
	return names, cobra.ShellCompDirectiveDefault
}

// completeYAML completes an argument or a flag that takes a configuration file.
func completeYAML(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

// completePoolPolicy has a flag that takes NAME=policy complete the policy once a name is written.
func completePoolPolicy(cmd *cobra.Command, flag string) {
	completeBegun(cmd, flag, func(_ context.Context, begun string) []string {
		name, _, named := strings.Cut(begun, "=")
		if !named {
			return nil
		}
		return prefixed(name+"=", settings.Policies())
	})
}

// completeRoutePool has a flag that takes [host][/path]=pool complete the pools of the master of this machine.
func completeRoutePool(cmd *cobra.Command, flag string) {
	a := api{cmd: cmd}
	completeBegun(cmd, flag, func(ctx context.Context, begun string) []string {
		where, _, named := strings.Cut(begun, "=")
		if !named {
			return nil
		}
		return prefixed(where+"=", a.poolNames(ctx))
	})
}

// completeLocalPool has a flag complete the pools of the master of this machine.
func completeLocalPool(cmd *cobra.Command, flag string) {
	a := api{cmd: cmd}
	completeFlag(cmd, flag, a.poolNames)
}

func prefixed(before string, words []string) (all []string) {
	for _, word := range words {
		all = append(all, before+word)
	}
	return all
}

// completeConfig has --config complete to files of YAML.
func completeConfig(cmd *cobra.Command) {
	if err := cmd.RegisterFlagCompletionFunc("config", completeYAML); err != nil {
		panic(err) // the command has no such flag
	}
}
