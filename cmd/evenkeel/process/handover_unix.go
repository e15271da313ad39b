//go:build unix

package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/version"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// takeoverSignal has a new program take the listening sockets over.
var takeoverSignal os.Signal = syscall.SIGUSR2

// takeoverTimeout is how long a new program may take until it serves.
const takeoverTimeout = 30 * time.Second

// programPath is the path by which this program was started, absolute from the start on: what is there
// later, by a link that leads elsewhere or a file that was moved there, is the new program. Empty: it is not known.
var programPath = func() string {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return ""
	}
	if path, err = filepath.Abs(path); err != nil {
		return ""
	}
	return path
}()

// handOver starts the program that now is where this one came from, with the same
// arguments, this one's listening sockets and what else it is to know, and returns
// when it serves. From then on both take connections, until this one stops. The end of ctx ends the new program.
func handOver(ctx context.Context, sockets []InheritedSocket, known []byte) handoverResult {
	h := handoverResult{program: programPath}
	if h.program == "" {
		if h.program, h.err = os.Executable(); h.err != nil {
			return h
		}
	}
	h.pid, h.version, h.err = startSuccessor(ctx, h.program, sockets, known)
	return h
}

func startSuccessor(ctx context.Context, program string, sockets []InheritedSocket, known []byte) (pid int, version string, err error) {
	ready, tell, err := os.Pipe()
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = ready.Close() }()
	cmd := exec.Command(program, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	defer func() {
		for _, f := range cmd.ExtraFiles {
			_ = f.Close() // the new program has copies
		}
	}()
	var names []string
	for _, s := range sockets {
		f, err := duplicate(s.Listener)
		if err != nil {
			return 0, "", fmt.Errorf("the socket at %s cannot be handed over: %w", s.Name, err)
		}
		if u, ok := s.Listener.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false) // the path stays for the other
		}
		cmd.ExtraFiles, names = append(cmd.ExtraFiles, f), append(names, s.Name)
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, tell)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), isHandoverVariable),
		envListeners+"="+strings.Join(names, "\n"), envParent+"="+strconv.Itoa(os.Getpid()),
		envReady+"="+strconv.Itoa(firstInherited+len(names)), envGeneration+"="+strconv.Itoa(Generation()+1))
	if slices.ContainsFunc(sockets, func(s InheritedSocket) bool { return s.Managed }) {
		cmd.Env = append(cmd.Env, envManaged+"=1")
	}
	if known != nil {
		f, err := unlinkedFile(known)
		if err != nil {
			return 0, "", fmt.Errorf("the state for the new program: %w", err)
		}
		cmd.Env = append(cmd.Env, envState+"="+strconv.Itoa(firstInherited+len(cmd.ExtraFiles)))
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	if err := cmd.Start(); err != nil {
		return 0, "", err
	}
	_ = tell.Close() // so that its end is the new program's end
	go func() { _ = cmd.Wait() }()
	_ = ready.SetReadDeadline(time.Now().Add(takeoverTimeout))
	defer context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Unix(1, 0)) })()
	told := make([]byte, 100)
	n, err := ready.Read(told)
	if err != nil {
		_ = cmd.Process.Kill() // if it has not ended by itself
		if ctx.Err() != nil {
			return 0, "", errors.New("this process stops before the new program serves")
		}
		return 0, "", fmt.Errorf("the new program %s failed to start: %w", program, err)
	}
	return cmd.Process.Pid, string(told[:n]), nil
}

// unlinkedFile returns a file with a text that only its descriptor leads to.
func unlinkedFile(text []byte) (*os.File, error) {
	f, err := os.CreateTemp("", "evenkeel-legacy-")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(f.Name())
	if _, err := f.Write(text); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// duplicate returns a copy of a listener's socket. The listener's own File would not do: a program that is started with
// it, or a listener made of it, sets the socket to blocking for all copies, and an event loop that accepts until EAGAIN
// would hang.
func duplicate(l net.Listener) (*os.File, error) {
	return fd.CopyFile(l, "copy of "+l.Addr().String())
}

func isHandoverVariable(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	return slices.Contains([]string{envListeners, envParent, envReady, envState, envGeneration, envManaged, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}, name)
}

// reportReady notifies the old program that this one serves.
func reportReady() error {
	number, err := strconv.Atoi(os.Getenv(envReady))
	if err != nil || os.Getenv(envParent) != strconv.Itoa(ParentPID) {
		return nil // no old program waits
	}
	f, err := fd.Inherited(number, "ready")
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(version.String()))
	return errors.Join(err, f.Close())
}
