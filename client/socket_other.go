//go:build !linux || evenkeel_portable

package client

import "net"

// toSocket returns the connection as it is: only Linux has a better way to read it.
func toSocket(conn net.Conn) net.Conn { return conn }

// tlsTransportFor returns the connection that TLS uses.
func tlsTransportFor(conn net.Conn) net.Conn { return conn }

// wrapTLS returns the connection for a connLoop.
func wrapTLS(secure, _ net.Conn) net.Conn { return secure }
