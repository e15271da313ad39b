//go:build !linux || evenkeel_portable

package client

import "net"

// direct returns the connection as it is: only on Linux is there a better way to read it.
func direct(conn net.Conn) net.Conn { return conn }

// beneathTLS returns what TLS is to be spoken over.
func beneathTLS(conn net.Conn) net.Conn { return conn }

// afterHandshake returns the connection for a line to use.
func afterHandshake(secure, _ net.Conn) net.Conn { return secure }
