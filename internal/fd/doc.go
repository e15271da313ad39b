// Package fd owns raw descriptors. An FD has one owner, which passes it on by Move and
// closes it once; a closed or moved one refuses every call with ErrClosed and makes no
// system call, because its number may be another's by then. No number leaves this package,
// and no other package makes a system call that takes one: arch_test.go holds that.
//
//   - FD is for one goroutine, such as a loop, and takes no lock.
//   - Shared is a socket that several goroutines use and any of them closes.
//   - Poller is an epoll set, Batch makes many calls by one (io_uring), Pipe moves bytes
//     inside the kernel. All take *FD, and look at it when the call is made.
//   - Borrowed is a number that Go's runtime owns and lends for the length of a callback.
//
// FD, Poller, Batch and Pipe have a second implementation, for systems without epoll, in files named portable. There an FD is a
// connection or a listener of package net; goroutines read, write and accept ahead for its owner, and tell the Poller.
// The build tag evenkeel_portable selects it on Linux too, for its tests.
//
// Calls that return at once are made without telling Go's scheduler: that is not worth
// handing this thread's work to another, which on a busy machine happens to calls of which
// it is told. The race detector must see the calls, since it takes a socket for what orders
// two goroutines; with it, they are those of package syscall.
package fd

import "net"

// ErrClosed is returned by calls on a closed FD or Shared.
var ErrClosed = net.ErrClosed
