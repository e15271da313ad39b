//go:build !linux

package agent

// MemoryLimit returns how much memory this process may use, in bytes: here 0, as it is not known.
func MemoryLimit() uint64 { return 0 }
