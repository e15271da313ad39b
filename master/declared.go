package master

import (
	"cmp"
	"maps"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
)

// Tells is the set of properties that an agent may set although the file names its server. All others are the
// file's, also if it leaves them empty. Slots and speed are the agent's wherever the file leaves them open.
type Tells uint8

// Members of Tells.
const (
	TellsAddress Tells = 1 << iota
	TellsPublic
	TellsLabels
	TellsLocation
)

// complete returns the properties of a server that the file names and its agent has registered.
func (t Tells) complete(file, agent balance.ServerSpec) balance.ServerSpec {
	file.Slots, file.Speed = cmp.Or(file.Slots, agent.Slots), cmp.Or(file.Speed, agent.Speed)
	if t&TellsAddress != 0 {
		file.Address = cmp.Or(agent.Address, file.Address)
	}
	if t&TellsPublic != 0 {
		file.Public = cmp.Or(agent.Public, file.Public)
	}
	if t&TellsLocation != 0 {
		file.Location = cmp.Or(agent.Location, file.Location)
	}
	if t&TellsLabels != 0 && len(agent.Labels) > 0 {
		file.Labels = agent.Labels
	}
	return file
}

// declared is what the file and the agents say about a pool's servers. The pool's lock guards it.
type declared struct {
	file   map[balance.ServerID]*balance.ServerSpec // immutable specs
	agents map[balance.ServerID]balance.ServerSpec  // the last registration of each server's agent, until the server leaves
	tells  map[balance.ServerID]Tells               // of servers that the file names
	from   map[balance.ServerID]inside.Origin       // where each server's agent connected from
}

// setFile replaces the file's part.
func (d *declared) setFile(cfg *PoolConfig) {
	d.file, d.tells = make(map[balance.ServerID]*balance.ServerSpec, len(cfg.Servers)), maps.Clone(cfg.FromAgent)
	if d.tells == nil {
		d.tells = make(map[balance.ServerID]Tells)
	}
	for i := range cfg.Servers {
		d.file[cfg.Servers[i].ID] = &cfg.Servers[i]
	}
}

// setAgent stores an agent's registration. It returns the resulting spec, and whether the file names the
// server.
func (d *declared) setAgent(agent balance.ServerSpec) (spec balance.ServerSpec, fixed bool) {
	if d.agents == nil {
		d.agents = make(map[balance.ServerID]balance.ServerSpec)
	}
	d.agents[agent.ID] = agent
	if file := d.file[agent.ID]; file != nil {
		return d.tells[agent.ID].complete(*file, agent), true
	}
	return agent, false
}

// fileSpec returns the spec of a server that the file names.
func (d *declared) fileSpec(id balance.ServerID) balance.ServerSpec {
	file := *d.file[id]
	if agent, heard := d.agents[id]; heard {
		return d.tells[id].complete(file, agent)
	}
	return file
}

// setOrigin stores where a server's agent connected from.
func (d *declared) setOrigin(id balance.ServerID, from inside.Origin) {
	if d.from == nil {
		d.from = make(map[balance.ServerID]inside.Origin)
	}
	d.from[id] = from
}

// fileSaysAddress reports whether the file, and not an agent, decides a server's address.
func (d *declared) fileSaysAddress(id balance.ServerID) bool {
	if d.file[id] == nil {
		return false
	}
	return d.tells[id]&TellsAddress == 0 || d.agents[id].Address == ""
}

// dropAgent drops an agent's registration, because its server has left.
func (d *declared) dropAgent(id balance.ServerID) {
	delete(d.agents, id)
	delete(d.from, id)
}
