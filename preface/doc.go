// Package preface reads what a connection says of itself before its protocol begins:
// the PROXY protocol's header, by which a proxy in front tells whom it speaks for, and
// the first message of TLS, by which a client names the server it wants. It also
// writes the former.
//
// All of it is bytes in, facts out. The readers take what has come so far and say how
// much more there must be, so that a caller who reads no more than that never takes an
// byte that is the protocol's.
package preface

// Error is what is wrong with a preface. Nothing that was read before it can be relied on.
type Error string

func (e Error) Error() string { return string(e) }
