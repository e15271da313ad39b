package h2conn

import "time"

// What a client of HTTP/2 may have, as is safe at the open internet.
const (
	MaxStreams       = 100      // requests at once
	StreamWindow     = 64 << 10 // bytes of a request's body that may be on their way
	ConnectionWindow = 1 << 20  // of all of them
	frameLimit       = 16 << 10 // bytes of a frame, the least that may be asked for
	pingAfter        = 30 * time.Second
	pingWait         = 15 * time.Second
)

// What a server's response may have, in either version of HTTP.
const (
	MaxResponseHead   = 256 << 10 // bytes
	MaxResponseFields = 1000
)
