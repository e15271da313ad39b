//go:build !evenkeel_portable

package fd

import (
	"os"

	"golang.org/x/sys/unix"
)

// NewBell returns an eventfd. Registered in a Poller it wakes the goroutine that waits
// there. Any goroutine may ring it as long as it is not closed.
func NewBell() (FD, error) {
	n, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return FD{}, os.NewSyscallError("eventfd", err)
	}
	return FD{above: n + 1}, nil
}

// Ring makes a bell readable.
func (f *FD) Ring() {
	one := [8]byte{1}
	_, _ = f.Write(one[:]) // full, it rings already
}

// Silence makes it readable no more.
func (f *FD) Silence() {
	var count [8]byte
	_, _ = f.Read(count[:]) // empty, it is silent already
}
