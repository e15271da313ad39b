package settings

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/config"
	"github.com/evenkeel-lb/evenkeel/internal/suggest"
)

// This file finds the servers that stand in several pools: listed in each, or in one that names the others.

// ServersOf returns the servers of a pool: its own, then those that are listed in other pools and name it.
func (s *Settings) ServersOf(pool string) []Server {
	servers := slices.Clone(s.Pools[pool].Servers)
	for _, name := range s.PoolNames() {
		for _, server := range s.Pools[name].Servers {
			if name != pool && slices.Contains(server.Pools, pool) {
				servers = append(servers, server)
			}
		}
	}
	return servers
}

// validateFurtherPools finds what is wrong with the pools that server i of a pool names.
func (s *Settings) validateFurtherPools(pool string, i int, bad func(field, problem string)) {
	server := &s.Pools[pool].Servers[i]
	for j, name := range server.Pools {
		field := fmt.Sprintf("servers[%d].pools[%d]", i, j)
		_, known := s.Pools[name]
		switch {
		case !known:
			bad(field, fmt.Sprintf("%q is none of the file's pools: %s%s", name, strings.Join(s.PoolNames(), ", "), suggest.DidYouMean(name, s.PoolNames(), nil)))
		case name == pool:
			// it may name all its pools
		case slices.ContainsFunc(s.Pools[name].Servers, func(other Server) bool { return sharedAddress(other.Address) == sharedAddress(server.Address) }):
			bad(field, fmt.Sprintf("pool %s lists a server at %s itself: take it out of one of the two", name, server.Address))
		case slices.Contains(server.Pools[:j], name):
			bad(field, fmt.Sprintf("%q is named twice", name))
		}
	}
}

func sharedAddress(address string) string { return balance.SharedAddress(normalizeServer(address)) }

// Place is where the file lists a server.
type Place struct {
	Pool  string
	Index int // in the servers of the pool
}

func (p Place) path(field string) string {
	return fmt.Sprintf("%s.servers[%d].%s", config.Field("pools", p.Pool), p.Index, field)
}

// SharedServer is a server that stands in several pools.
type SharedServer struct {
	Address string
	Pools   []string // in order
	Places  []Place  // where it is listed
}

// SharedServers returns the servers that stand in several pools, by their addresses.
func (s *Settings) SharedServers() (list []SharedServer) {
	at := make(map[string]int)
	for _, name := range s.PoolNames() {
		for i, server := range s.Pools[name].Servers {
			address := sharedAddress(server.Address)
			n, known := at[address]
			if !known {
				n = len(list)
				at[address] = n
				list = append(list, SharedServer{Address: server.Address})
			}
			list[n].Places = append(list[n].Places, Place{name, i})
			list[n].Pools = append(append(list[n].Pools, name), server.Pools...)
		}
	}
	for i := range list {
		slices.Sort(list[i].Pools)
		list[i].Pools = slices.Compact(list[i].Pools)
	}
	list = slices.DeleteFunc(list, func(x SharedServer) bool { return x.Address == "" || len(x.Pools) == 1 })
	slices.SortFunc(list, func(a, b SharedServer) int { return cmp.Compare(a.Address, b.Address) })
	return list
}

// validateShared finds what pools declare differently of a server that all of them have.
func (s *Settings) validateShared(bad func(path, problem string)) {
	for _, server := range s.SharedServers() {
		for _, field := range []string{"slots", "max_in_flight"} {
			s.validateAgrees(&server, field, bad)
		}
	}
}

// validateAgrees finds the first two places that declare a field of a server differently.
func (s *Settings) validateAgrees(server *SharedServer, field string, bad func(path, problem string)) {
	var first Place
	var said string
	var value float64
	for _, place := range server.Places {
		path, declared := s.declared(place, field)
		if declared == 0 {
			continue
		}
		if said == "" {
			first, said, value = place, path, declared
			continue
		}
		if declared == value {
			continue
		}
		where := said
		if s.lineOf != nil {
			where += fmt.Sprintf(", on line %d", s.lineOf(said))
		}
		bad(path, fmt.Sprintf("%v, but pool %s has %v for the same server, %s (%s): it is one server, and counts once for all its pools", declared, first.Pool, value, server.Address, where))
		return
	}
}

// declared returns what a field of a server is, and where it is written; zero: nowhere.
func (s *Settings) declared(place Place, field string) (path string, value float64) {
	pool := s.Pools[place.Pool]
	server := &pool.Servers[place.Index]
	switch {
	case field == "slots":
		return place.path(field), server.Slots
	case server.MaxInFlight > 0:
		return place.path(field), float64(server.MaxInFlight)
	}
	return config.Field("pools", place.Pool) + "." + field, float64(pool.MaxInFlight)
}
