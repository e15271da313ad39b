package settings

import (
	"net"
	"strings"
)

func (e *Edge) MasterAddresses() []string { return orDefaultMaster(e.Masters) }

func (a *Agent) MasterAddresses() []string { return orDefaultMaster(a.Masters) }

// orDefaultMaster returns the masters named, else the one of this machine.
func orDefaultMaster(named []string) []string {
	if len(named) > 0 {
		return named
	}
	return []string{DefaultWire}
}

// ResolversOf returns whom the master asks for the names of a pool; nil: the machine's.
func (s *Settings) ResolversOf(p *Pool) []string {
	if p.Resolvers == nil && s.Master != nil {
		return s.Master.Resolvers
	}
	return p.Resolvers
}

// Where the roles listen by default.
const (
	DefaultListen      = ":8080"
	DefaultWire        = "127.0.0.1:7400"
	DefaultMasterAdmin = "127.0.0.1:7480"
	DefaultEdgeAdmin   = "127.0.0.1:7481"
	DefaultAgentAdmin  = "127.0.0.1:7482"
	Off                = "off" // an admin address that listens nowhere
)

func IsLoopback(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return true // no address at all: listening will say so better
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
