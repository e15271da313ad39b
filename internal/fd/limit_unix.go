//go:build unix

package fd

import "syscall"

// Limit returns how many descriptors this process may have open; zero: it is not known.
func Limit() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return int(min(uint64(limit.Cur), 1<<30))
}
