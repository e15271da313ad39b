// Package policy holds the rules by which a listener judges who connects and what they may
// ask for, apart from everything that reads or writes: which addresses may connect, which TLS
// is spoken, what a client's certificate says, what a proxy in front has told, which
// protocols a client may switch to. It takes facts and returns values.
package policy
