//go:build !unix

package rundir

import (
	"os"
	"syscall"
)

// longestPath is how many bytes a unix socket's path may have, as in Windows' afunix.h, without the zero behind it.
const longestPath = 107

// refused is the error of a socket on which no process listens: Windows' WSAECONNREFUSED.
const refused = syscall.Errno(10061)

// owner is unknown: a user's temporary folder is that user's alone.
func owner(os.FileInfo) (uid int, known bool) { return 0, false }
