//go:build !unix

package edge

import "syscall"

const readsRaw = false

func readFD(uintptr, []byte) (int, error) { return 0, syscall.EINVAL }

func writeFD(uintptr, []byte) (int, error) { return 0, syscall.EINVAL }

// hungUp would tell whether the peer has closed its side. Here it is found out when
// something is written.
func hungUp(uintptr) bool { return false }

// broken would tell whether the peer has broken the connection off.
func broken(uintptr) bool { return false }

// unacked would tell whether the peer's machine has not yet taken all that was sent.
func unacked(uintptr) bool { return false }
