package agent

import (
	"os"

	"github.com/prometheus/procfs"
)

// MemoryLimit returns how much memory this process may use, in bytes: the machine's, or the smallest limit of its control groups.
// Zero: it is not known.
func MemoryLimit() uint64 { return memoryLimit("", os.Getpid()) }

// memoryLimit reads /proc and /sys below root.
func memoryLimit(root string, pid int) uint64 {
	proc, err := procfs.NewFS(root + "/proc")
	if err != nil {
		return 0
	}
	info, err := proc.Meminfo()
	if err != nil || info.MemTotalBytes == nil {
		return 0
	}
	var g cgroup
	if h, err := hierarchiesOf(root, pid); err == nil {
		g.limitMemory(&h, *info.MemTotalBytes)
	}
	if g.memory > 0 {
		return g.memory
	}
	return *info.MemTotalBytes
}
