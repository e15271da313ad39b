//go:build unix

package edge

import "github.com/evenkeel-lb/evenkeel/internal/fd"

const readsRaw = true

// These are for descriptors that a syscall.RawConn lends.

func readFD(lent uintptr, p []byte) (int, error) { return fd.Borrowed(lent).Read(p) }

func writeFD(lent uintptr, p []byte) (int, error) { return fd.Borrowed(lent).Write(p) }

func hungUp(lent uintptr) bool { return fd.Borrowed(lent).HungUp() }

func broken(lent uintptr) bool { return fd.Borrowed(lent).Broken() }

func unacked(lent uintptr) bool { return fd.Borrowed(lent).Unacked() }
