// Package rundir is how commands find the processes of one machine: a folder in which each has a unix socket,
// ROLE-PID.sock, that only its own user, and root, can connect to.
//
// A folder is used only if no other user can put sockets into it. A socket stands in it
// from the moment that it listens, so one that refuses connections is a dead process's.
package rundir

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Env names the variable that names the folder, instead of the usual ones. Off means: no sockets.
const (
	Env = "EVENKEEL_RUNTIME_DIR"
	Off = "off"
)

const suffix = ".sock"

// maxNames is how many processes of one role and process id may share a folder: those of
// containers, each of which has a process 1.
const maxNames = 100

// Folders returns where sockets may be, the best first. A process makes its socket in the first that can be
// used; who looks for processes looks into all, since they were started with other environments. It is
// empty if Env says Off.
func Folders() (all []string) {
	switch named := os.Getenv(Env); named {
	case "":
	case Off:
		return nil
	default:
		return []string{named}
	}
	if session := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(session) {
		all = append(all, filepath.Join(session, "evenkeel"))
	}
	own := "evenkeel"
	if uid := os.Getuid(); uid >= 0 { // not on Windows, where every user has a temporary folder
		all = append(all, "/run/evenkeel")
		own += "-" + strconv.Itoa(uid)
	}
	return append(all, filepath.Join(os.TempDir(), own))
}

// Socket is this process's socket. Its listener leaves the file to Remove.
type Socket struct {
	net.Listener
	Path string
}

// Remove takes the socket out of its folder, so that the process is not found any more. Connections stay.
func (s *Socket) Remove() { _ = os.Remove(s.Path) } // it may be gone

// keepEvery is far more often than temporary files are looked through.
const keepEvery = 6 * time.Hour

// Keep touches the socket now and then until ctx ends. What tidies temporary folders removes what
// is old; systemd-tmpfiles spares sockets in use, but knows this one by the path at which it was bound.
func (s *Socket) Keep(ctx context.Context) error {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			_ = os.Chtimes(s.Path, now, now) // it may be gone
		}
	}
}

// Listen opens this process's socket in the first folder that can be used, and removes there those
// of dead processes. It returns nil without an error if Env says Off.
func Listen(role string) (*Socket, error) {
	var problems []string
	for _, folder := range Folders() {
		s, err := listenIn(folder, role+"-"+strconv.Itoa(os.Getpid()))
		if err == nil {
			return s, nil
		}
		problems = append(problems, err.Error())
	}
	if problems == nil {
		return nil, nil
	}
	return nil, errors.New(strings.Join(problems, "; "))
}

func listenIn(folder, name string) (*Socket, error) {
	path := filepath.Join(folder, name+suffix)
	if !filepath.IsAbs(folder) {
		return nil, errRelative(folder)
	}
	if n := max(len(path), len(folder)+privateBytes); n > longestPath {
		return nil, fmt.Errorf("%s: the path needs %d bytes, a unix socket's has at most %d", folder, n, longestPath)
	}
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	if err := safe(folder, toListen); err != nil {
		return nil, err
	}
	removeDead(folder)
	l, private, err := listenPrivately(folder)
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(filepath.Dir(private)) }() // empty by then
	for n := 2; ; n++ {
		err := place(private, path)
		if err == nil {
			return &Socket{Listener: l, Path: path}, nil
		}
		if !errors.Is(err, os.ErrExist) || n > maxNames {
			return nil, errors.Join(err, l.Close())
		}
		path = filepath.Join(folder, name+"-"+strconv.Itoa(n)+suffix)
	}
}

// place gives a file its last path, unless there is one.
func place(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, os.ErrExist) {
		return err
	}
	if _, taken := os.Lstat(to); !errors.Is(taken, os.ErrNotExist) {
		return os.ErrExist
	}
	return os.Rename(from, to) // a file system without hard links
}

// privateBytes is the longest that listenPrivately puts behind the folder.
const privateBytes = len("/.4294967295/s")

// listenPrivately opens a socket in a folder of its own within folder, that no other user may enter: until its
// mode is set, what others may do with it depends on the umask, and until it listens it looks dead.
func listenPrivately(folder string) (l *net.UnixListener, path string, err error) {
	own, err := os.MkdirTemp(folder, ".")
	if err != nil {
		return nil, "", err
	}
	path = filepath.Join(own, "s")
	if l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}); err == nil {
		l.SetUnlinkOnClose(false)
		if err = os.Chmod(path, 0o600); err == nil {
			return l, path, nil
		}
		_ = l.Close() // it has served no caller
	}
	_ = os.RemoveAll(own)
	return nil, "", err
}

// removeDead removes the sockets on which no process listens any more.
func removeDead(folder string) {
	for _, s := range socketsIn(folder) {
		if errors.Is(try(context.Background(), s.Path), refused) {
			_ = os.Remove(s.Path)
		}
	}
}

// Found is a socket in a folder.
type Found struct {
	Path, Name, Role string
	PID              int // as its own pid namespace has it
}

func socketsIn(folder string) (all []Found) {
	entries, _ := os.ReadDir(folder) // what it cannot read, Look has said
	for _, e := range entries {
		if f, ok := Parse(filepath.Join(folder, e.Name())); ok && e.Type() == os.ModeSocket {
			all = append(all, f)
		}
	}
	return all
}

// Parse reads what a socket's name says.
func Parse(path string) (f Found, ok bool) {
	name, ok := strings.CutSuffix(filepath.Base(path), suffix)
	role, rest, dash := strings.Cut(name, "-")
	number, _, _ := strings.Cut(rest, "-")
	pid, err := strconv.Atoi(number)
	return Found{Path: path, Name: name, Role: role, PID: pid}, ok && dash && err == nil
}

// Looked is a folder that was looked into.
type Looked struct {
	Folder string
	Err    error // why not; nil also if there is no such folder
}

// Look returns the sockets of the living processes, and where it looked. A folder that another user can
// write to is left alone: what answers there may be that user's. One folder with two paths counts once.
func Look(ctx context.Context) (living []Found, looked []Looked) { return lookInto(ctx, Folders()) }

func lookInto(ctx context.Context, folders []string) (living []Found, looked []Looked) {
	var seen []os.FileInfo
	for _, folder := range folders {
		info, err := os.Lstat(folder)
		if slices.ContainsFunc(seen, func(other os.FileInfo) bool { return err == nil && os.SameFile(info, other) }) {
			continue
		}
		if !filepath.IsAbs(folder) {
			err = errRelative(folder)
		}
		if err == nil {
			seen = append(seen, info)
			if err = safe(folder, toLook); err == nil {
				_, err = os.ReadDir(folder)
			}
		}
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		looked = append(looked, Looked{folder, err})
		if err != nil {
			continue
		}
		for _, s := range socketsIn(folder) {
			switch err := try(ctx, s.Path); {
			case errors.Is(err, os.ErrPermission):
				looked[len(looked)-1].Err = fmt.Errorf("%s: another user's process", s.Path)
			case !errors.Is(err, refused) && !errors.Is(err, os.ErrNotExist): // also if it does not get to taking connections
				living = append(living, s)
			}
		}
	}
	return living, looked
}

// try makes a connection to a socket.
func try(ctx context.Context, path string) error {
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close() // nothing was said
	}
	return err
}

// What a folder is wanted for.
type purpose bool

const (
	toListen purpose = false
	toLook   purpose = true
)

// safe reports by an error why a folder may hold sockets of another user, or be exchanged by one.
func safe(folder string, why purpose) error {
	info, err := os.Lstat(folder)
	if err != nil {
		return err
	}
	parent, err := os.Stat(filepath.Dir(folder))
	if err != nil {
		return err
	}
	return judge(folder, info, parent, os.Getuid(), why)
}

func judge(folder string, info, parent os.FileInfo, uid int, why purpose) error {
	const othersWrite, groupWrites = 0o002, 0o020
	shared := parent.Mode().Perm()&othersWrite != 0
	who, known := owner(info)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is no folder, or a link to one", folder)
	case !known: // Windows, where modes say nothing
		return nil
	case info.Mode().Perm()&(othersWrite|groupWrites) != 0:
		return fmt.Errorf("%s: others than its owner can write to it; chmod 0700 mends that", folder)
	case shared && parent.Mode()&os.ModeSticky == 0:
		return fmt.Errorf("%s: every user can replace it by another folder, because %s has no sticky bit", folder, filepath.Dir(folder))
	case who == uid, why == toLook && !shared && (who == 0 || uid == 0): // a service's folder in /run is root's, or root asks
		return nil
	}
	return fmt.Errorf("%s belongs to another user (%d)", folder, who)
}

func errRelative(folder string) error { return fmt.Errorf("%s: want an absolute path", folder) }
