// Package fd owns file descriptors. An FD has one owner, which passes it on by Move and closes it once. A closed or moved FD refuses every
// call with ErrClosed and makes no system call, because its number may belong to another file by then. No descriptor number leaves this
// package, and no other package makes a system call with one; arch_test.go checks that.
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
// System calls that return immediately are raw calls that Go's scheduler does not notice. For a call that it notices it may move this
// thread's work to another thread on a busy machine, which is not worth it here. The race detector must see the calls, because it treats a
// socket as synchronization between goroutines; with it, they are those of package syscall.
package fd

import "net"

// ErrClosed is returned by calls on a closed FD or Shared.
var ErrClosed = net.ErrClosed
