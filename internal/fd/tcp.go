package fd

import (
	"net"
	"time"
)

// TCPOptions say how soon a TCP peer that vanished is noticed: one whose machine or network
// went down sends neither bytes nor an end. A zero field leaves the system's own value.
type TCPOptions struct {
	KeepaliveIdle     time.Duration // without a byte, before the peer is probed
	KeepaliveInterval time.Duration // between two probes
	KeepaliveCount    int           // unanswered probes after which the connection is over
	UserTimeout       time.Duration // for which sent bytes may go unacknowledged, or not be taken; probes too. Linux only
}

// KeepAliveConfig returns what package net can be told of the options, which is all but
// UserTimeout.
func (o *TCPOptions) KeepAliveConfig() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: o.KeepaliveIdle, Interval: o.KeepaliveInterval, Count: o.KeepaliveCount}
}
