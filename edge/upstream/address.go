package upstream

import (
	"net"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// This file decides where to connect to a granted server. Connections are kept by that address, so those to a
// name's earlier address are not used again: they end when they have been idle for long enough.

// Address returns whether the granted server speaks TLS, and where it is connected to, as resolve.Dialer takes it.
func (d *Dialer) Address(grant *balance.Grant) (secure bool, at string) {
	secure, at = balance.SplitAddress(grant.Address)
	switch leads := grant.At; leads {
	case "": // the address needs no look-up
	case balance.AtEdge:
		if known := d.Net.Names.At(resolve.Query{Resolvers: d.Net.Resolvers}, at); known != "" {
			at = known
		}
	default:
		at = leads
	}
	return secure, at
}

// CertName returns the name that a server's certificate must have by default: its address's host.
func CertName(address string) string {
	_, hostPort := balance.SplitAddress(address)
	if host, _, err := net.SplitHostPort(hostPort); err == nil {
		return host
	}
	return hostPort
}
