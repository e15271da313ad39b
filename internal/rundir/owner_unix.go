//go:build unix

package rundir

import (
	"os"
	"syscall"
)

// longestPath is how many bytes a unix socket's path may have here, without the zero behind it.
var longestPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// refused is the error of a socket on which no process listens.
const refused = syscall.ECONNREFUSED

// owner returns the id of the user to whom a file belongs.
func owner(info os.FileInfo) (uid int, known bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(s.Uid), true
}
