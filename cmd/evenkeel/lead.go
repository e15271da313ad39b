package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"

	"github.com/evenkeel-lb/evenkeel/internal/resolve"
	"github.com/evenkeel-lb/evenkeel/master"
)

// This file says where the names of a file's servers lead, as this machine sees it.

// mostNames is how many names are looked up to be shown.
const mostNames = 100

// whereNamesLead returns a line for each server of the file whose address is a name.
func whereNamesLead(ctx context.Context, s *settings.Settings) []string {
	var questions []func() string
	for _, pool := range s.PoolNames() {
		p := s.Pools[pool]
		for _, server := range p.Servers {
			if name, _, named := resolve.Host(server.Address); named {
				questions = append(questions, func() string {
					a := resolve.Lookup(ctx, resolve.NewQuery(name, s.ResolversOf(&p)))
					return fmt.Sprintf("  pool %s: %s %s", pool, name, nameLeads(&p, &a))
				})
			}
		}
	}
	lines := make([]string, min(len(questions), mostNames))
	var asking sync.WaitGroup
	for i := range lines {
		asking.Go(func() { lines[i] = questions[i]() })
	}
	asking.Wait()
	if rest := len(questions) - len(lines); rest > 0 {
		lines = append(lines, fmt.Sprintf("  and %d names more, which were not looked up", rest))
	}
	return lines
}

// nameLeads says where a name leads, and what that means for the pool.
func nameLeads(p *settings.Pool, a *resolve.Answer) string {
	var all []string
	for _, ip := range a.V4 {
		all = append(all, ip.String())
	}
	for _, ip := range a.V6 {
		all = append(all, ip.String())
	}
	where := strings.Join(all[:min(len(all), 8)], ", ")
	if len(all) > 8 {
		where += ", …"
	}
	switch {
	case a.Err != nil:
		return "leads nowhere from this machine: " + a.Err.Error()
	case len(a.V4) < 2 && len(a.V6) < 2:
		return "leads to " + where
	case master.Resolve(p.Resolve) == master.ResolveAll:
		return fmt.Sprintf("is %d servers: %s", cmp.Or(len(a.V4), len(a.V6)), where)
	}
	return fmt.Sprintf("has %d addresses, and one of them is used; with resolve: all each is a server: %s", len(all), where)
}
