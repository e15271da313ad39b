// Package preface reads the bytes before a connection's protocol: the PROXY protocol's header, with the client address of a connection
// through a proxy, and TLS's ClientHello, with the server name that the client asks for. It also writes PROXY headers.
//
// Bytes in, facts out. The readers take the bytes received so far and return how many more there must be at least. A caller that reads no
// more than that never reads a byte of the protocol itself.
package preface

// Error is what is wrong with a preface. Nothing that was read before it can be relied on.
type Error string

func (e Error) Error() string { return string(e) }
