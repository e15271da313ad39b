//go:build linux

package main

import (
	"net"
	"time"
)

// begun are messages of which a client sends the beginning, or nothing, before it resets its connection.
var begun = []string{"\x16\x03\x01", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nfour", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\nX-Trailer: a value\r\n"}

// resets has a client connect to an edge and reset the connection, often before the edge has looked at it.
// No edge may end by it, and no other client notice.
func resets(address, text string) {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return // the edge is being restarted
	}
	_, _ = conn.Write([]byte(text)) // it may be gone
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}
