package process

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// Sockets that this process was started with: by a service manager that opened them
// (LISTEN_FDS, as systemd has it), or by an old program of this kind that hands over.

// Environment variables by which an old program hands over to a new one.
const (
	envListeners  = "EVENKEEL_LISTENERS"  // addresses as the settings write them, a line each, of the descriptors from 3 on
	envParent     = "EVENKEEL_PARENT"     // the older one's process id, so that no grandchild takes them for its own
	envReady      = "EVENKEEL_READY"      // the descriptor that wants to hear that we serve
	envState      = "EVENKEEL_LEGACY"     // the descriptor of a file with what else the older one knows; empty: nothing
	envGeneration = "EVENKEEL_GENERATION" // how many programs before us handed over to one another
	envManaged    = "EVENKEEL_MANAGED"    // set if a service manager has opened the descriptors for the first of these
)

const firstInherited = 3 // behind standard input, output and error

// InheritedSocket is an inherited socket that no listener uses yet.
type InheritedSocket struct {
	Name    string // the address that the settings write; empty: it is found by the address of the socket
	Managed bool   // a service manager has it too
	net.Listener
}

var inheritedSockets struct {
	once    sync.Once
	mu      sync.Mutex
	untaken []InheritedSocket
}

// takeInherited returns the inherited socket for an address, nil if there is none. managed: a service manager has it too.
func takeInherited(address string) (l net.Listener, managed bool) {
	inheritedSockets.once.Do(func() { inheritedSockets.untaken = inheritFrom(os.Getenv, os.Getpid(), os.Getppid()) })
	inheritedSockets.mu.Lock()
	defer inheritedSockets.mu.Unlock()
	for i, h := range inheritedSockets.untaken {
		if h.Name == address || h.Name == "" && listensAt(h.Listener, address) {
			inheritedSockets.untaken = append(inheritedSockets.untaken[:i:i], inheritedSockets.untaken[i+1:]...)
			return h.Listener, h.Managed
		}
	}
	return nil, false
}

// untakenSockets returns the inherited sockets that nothing has taken, and forgets them.
func untakenSockets() (left []InheritedSocket) {
	inheritedSockets.mu.Lock()
	defer inheritedSockets.mu.Unlock()
	left, inheritedSockets.untaken = inheritedSockets.untaken, nil
	return left
}

// inheritFrom opens the descriptors that the environment names, if it is for this process.
func inheritFrom(env func(string) string, self, parent int) (all []InheritedSocket) {
	var names []string
	managed := env(envManaged) != ""
	switch {
	case env(envParent) == strconv.Itoa(parent) && env(envListeners) != "":
		names = strings.Split(env(envListeners), "\n")
	case env("LISTEN_PID") == strconv.Itoa(self):
		if n, err := strconv.Atoi(env("LISTEN_FDS")); err == nil && n > 0 && n < 1024 {
			names, managed = make([]string, n), true
		}
	}
	for i, name := range names {
		file, err := fd.Inherited(firstInherited+i, fmt.Sprintf("inherited socket %d", i))
		if err != nil {
			continue // taken up already
		}
		l, err := net.FileListener(file)
		_ = file.Close() // the listener has a copy
		if err == nil {
			all = append(all, InheritedSocket{name, managed, l})
		} // else it is not a stream socket, and stays unused
	}
	return all
}

// HandoffState returns what an older program knew, nil if there is none that said so.
func HandoffState() ([]byte, error) {
	number, err := strconv.Atoi(os.Getenv(envState))
	if err != nil || os.Getenv(envParent) != strconv.Itoa(ParentPID) {
		return nil, nil
	}
	f, err := fd.Inherited(number, "legacy")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(f)
}

// listensAt reports whether a socket listens where an address says.
func listensAt(l net.Listener, address string) bool {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return l.Addr().Network() == "unix" && l.Addr().String() == path
	}
	have, ok := l.Addr().(*net.TCPAddr)
	want, err := net.ResolveTCPAddr("tcp", address)
	if !ok || err != nil || have.Port != want.Port || want.Port == 0 {
		return false
	}
	return have.IP.Equal(want.IP) || have.IP.IsUnspecified() && (want.IP == nil || want.IP.IsUnspecified())
}

// Generation is how many programs handed over to one another before this one.
func Generation() int {
	if os.Getenv(envParent) != strconv.Itoa(ParentPID) {
		return 0
	}
	n, err := strconv.Atoi(os.Getenv(envGeneration))
	if err != nil {
		return 0
	}
	return n
}

// ParentPID is the process that started this one. It is kept, for the parent changes when that process ends.
var ParentPID = os.Getppid()
