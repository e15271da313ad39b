package proxy

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

// What is said to be done about io_uring fits why it is not to be had.
func TestTheCureFitsWhyThereIsNoRing(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{syscall.EMFILE, "LimitNOFILE"},
		{syscall.ENFILE, "fs.file-max"},
		{syscall.ENOMEM, "LimitMEMLOCK"},
		{syscall.ENOSYS, "Linux 6.1"},
		{syscall.EINVAL, "Linux 6.1"},
		{syscall.EPERM, "seccomp"},
	} {
		if got := uringRemedy(os.NewSyscallError("io_uring_setup", c.err)); !strings.Contains(got, c.want) {
			t.Errorf("%v: %q, want %q in it", c.err, got, c.want)
		}
	}
	if got := uringRemedy(errors.New("it does not do what it should")); !strings.Contains(got, "seccomp") {
		t.Errorf("an unknown reason: %q", got)
	}
}
