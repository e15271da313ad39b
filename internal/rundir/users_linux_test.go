package rundir

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// asNobody does something with the file permissions of another user.
func asNobody(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked, so that the thread ends with the goroutine
		syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0)
		do()
	}()
	<-done
}

// Another user reaches no socket: the folder keeps strangers out, and where a service manager made
// one that they may enter, the socket does.
func TestAnotherUserCannotConnect(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can try as another user")
	}
	dir := folder(t)
	t.Setenv(Env, dir)
	old := syscall.Umask(0) // the worst
	defer syscall.Umask(old)
	s := open(t, "master")
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o700, 0o755} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		var err error
		var found []Found
		var looked []Looked
		asNobody(func() {
			err = try(t.Context(), s.Path)
			found, looked = Look(t.Context())
		})
		if !errors.Is(err, os.ErrPermission) {
			t.Errorf("folder with mode %v: got %v, want permission denied", mode, err)
		}
		if len(found) > 0 || len(looked) != 1 || looked[0].Err == nil {
			t.Errorf("folder with mode %v: got %v %v, want none and why", mode, found, looked)
		} else if mode == 0o755 && !strings.Contains(looked[0].Err.Error(), "another user's process") {
			t.Errorf("got %v, want it to say that the process is another user's", looked[0].Err)
		}
	}
	if err := try(t.Context(), s.Path); err != nil {
		t.Errorf("its own user: %v", err)
	}
}
