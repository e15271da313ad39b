//go:build unix

package rundir

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// folder names a folder that is not there yet, short enough for sockets.
func folder(t *testing.T) string {
	t.Helper()
	parent, err := os.MkdirTemp("", "rundir")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(parent) })
	return filepath.Join(parent, "r")
}

func open(t *testing.T, role string) *Socket {
	t.Helper()
	s, err := Listen(role)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// living returns the names of the sockets that are found.
func living(t *testing.T) string {
	t.Helper()
	found, looked := Look(t.Context())
	for _, l := range looked {
		if l.Err != nil {
			t.Errorf("%s: %v", l.Folder, l.Err)
		}
	}
	var names []string
	for _, f := range found {
		names = append(names, f.Name)
	}
	return strings.Join(names, " ")
}

func TestSocket(t *testing.T) {
	dir := folder(t)
	t.Setenv(Env, dir)
	if got := living(t); got != "" {
		t.Fatalf("before any: found %s", got)
	}
	first, second := open(t, "run"), open(t, "run")
	name := fmt.Sprint("run-", os.Getpid())
	if got, want := living(t), name+"-2 "+name; got != want {
		t.Errorf("found %q, want %q", got, want)
	}
	for path, want := range map[string]fs.FileMode{dir: fs.ModeDir | 0o700, first.Path: fs.ModeSocket | 0o600, second.Path: fs.ModeSocket | 0o600} {
		if info, err := os.Lstat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: got mode %v, want %v (%v)", path, info.Mode(), want, err)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("got %v, want the two sockets and nothing else", entries)
	}
	first.Remove()
	if got, want := living(t), name+"-2"; got != want {
		t.Errorf("after one was removed: found %q, want %q", got, want)
	}
}

// What is touched is not tidied away from a temporary folder.
func TestTheSocketIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run-1.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- (&Socket{Path: path}).Keep(ctx) }()
		time.Sleep(10 * 24 * time.Hour)
		synctest.Wait()
		if info, err := os.Stat(path); err != nil || time.Since(info.ModTime()) > 24*time.Hour {
			t.Errorf("got a socket touched at %v (%v), want it touched within the last day of the ten to %v", info.ModTime(), err, time.Now())
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// dead leaves the socket of a process that ended without removing it.
func dead(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close() // as the kernel does for one that was killed
}

func TestTheDeadAreRemovedAndTheLivingStay(t *testing.T) {
	dir := folder(t)
	t.Setenv(Env, dir)
	other := open(t, "edge")
	full := open(t, "agent") // takes no connections, and has no room for more that wait
	raw, err := full.Listener.(*net.UnixListener).SyscallConn()
	if err == nil {
		err = raw.Control(func(number uintptr) { err = syscall.Listen(int(number), 0) })
	}
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		c, err := net.Dial("unix", full.Path)
		if err != nil {
			break
		}
		defer func() { _ = c.Close() }()
		if n > 200 {
			t.Skip("this system always has room for connections that wait")
		}
	}
	was, file := filepath.Join(dir, "master-1.sock"), filepath.Join(dir, "master-2.sock")
	dead(t, was)
	dead(t, filepath.Join(dir, fmt.Sprintf("run-%d.sock", os.Getpid()))) // of an earlier process 1 of a container
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := living(t); strings.Contains(got, "master") || strings.Contains(got, "run") {
		t.Errorf("found %q, want no dead ones", got)
	}
	self := open(t, "run")
	if want := fmt.Sprintf("run-%d.sock", os.Getpid()); filepath.Base(self.Path) != want {
		t.Errorf("got %s, want the dead one's name %s", self.Path, want)
	}
	if _, err := os.Lstat(was); err == nil {
		t.Errorf("%s is still there", was)
	}
	for _, path := range []string{other.Path, full.Path, self.Path, file} {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("gone: %v", err)
		}
	}
}

// Processes that start at once remove none of the others' sockets.
func TestManyStartAtOnce(t *testing.T) {
	t.Setenv(Env, folder(t))
	const n = 32
	var starting sync.WaitGroup
	sockets := make([]*Socket, n)
	errs := make([]error, n)
	for i := range n {
		starting.Go(func() { sockets[i], errs[i] = Listen("master") })
	}
	starting.Wait()
	for i, s := range sockets {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		defer func() { _ = s.Close() }()
	}
	if found, _ := Look(t.Context()); len(found) != n {
		t.Errorf("found %d, want %d", len(found), n)
	}
}

func TestFoldersThatAreNotSafe(t *testing.T) {
	parent := folder(t)
	mkdir := func(name string, mode fs.FileMode) string {
		path := filepath.Join(parent, name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // beyond the umask
			t.Fatal(err)
		}
		return path
	}
	target := mkdir("target", 0o700)
	link := filepath.Join(parent, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	mkdir("open", 0o777)
	for dir, want := range map[string]string{
		link:                             "no folder, or a link to one",
		mkdir("group", 0o770):            "others than its owner can write to it",
		mkdir("all", 0o777):              "others than its owner can write to it",
		mkdir("open/own", 0o700):         "no sticky bit",
		"r":                              "want an absolute path",
		filepath.Join(parent, "no", "r"): "no such file",
		filepath.Join(parent, strings.Repeat("long", 30)): "a unix socket's has at most",
	} {
		t.Setenv(Env, dir)
		if s, err := Listen("run"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("listen in %s: got %v %v, want %q", dir, s, err, want)
		}
		found, looked := Look(t.Context())
		if len(found) > 0 || len(looked) != 1 || looked[0].Err == nil && want != "no such file" && !strings.Contains(dir, "long") {
			t.Errorf("look into %s: got %v %v, want %q", dir, found, looked, want)
		}
	}
	if entries, _ := os.ReadDir(target); len(entries) > 0 {
		t.Errorf("got %v behind the link, want nothing", entries)
	}
}

func TestWhoseFolder(t *testing.T) {
	dir := folder(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	own, _ := os.Lstat(dir)
	private, _ := os.Lstat(filepath.Dir(dir))
	sticky, err := os.Stat("/tmp")
	if err != nil || sticky.Mode()&fs.ModeSticky == 0 {
		t.Skip("there is no /tmp with a sticky bit")
	}
	me := os.Getuid()
	for _, c := range []struct {
		parent fs.FileInfo
		uid    int
		why    purpose
		fine   bool
	}{
		{private, me, toListen, true},
		{sticky, me, toListen, true},
		{sticky, me, toLook, true},
		{private, me + 1, toListen, false},
		{sticky, me + 1, toListen, false},
		{sticky, me + 1, toLook, false},
		{private, me + 1, toLook, me == 0}, // root's folder in root's, such as a service manager makes
	} {
		if err := judge(dir, own, c.parent, c.uid, c.why); (err == nil) != c.fine {
			t.Errorf("folder of %d in %v, asked by %d to look %v: got %v, want fine %v", me, c.parent.Mode(), c.uid, c.why, err, c.fine)
		}
	}
}

func TestFolders(t *testing.T) {
	session, temporary := folder(t), folder(t)
	t.Setenv(Env, "")
	t.Setenv("XDG_RUNTIME_DIR", session)
	t.Setenv("TMPDIR", temporary)
	want := []string{session + "/evenkeel", "/run/evenkeel", fmt.Sprintf("%s/evenkeel-%d", temporary, os.Getuid())}
	if got := Folders(); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %v, want %v", got, want)
	}
	t.Setenv("XDG_RUNTIME_DIR", "relative")
	if got := Folders(); got[0] != "/run/evenkeel" {
		t.Errorf("got %v, want no relative folder", got)
	}
	t.Setenv(Env, Off)
	if s, err := Listen("run"); s != nil || err != nil {
		t.Errorf("got %v %v, want no socket and no error", s, err)
	}
}

// What cannot be used is passed over; who looks finds a process wherever it is.
func TestTheNextFolderServes(t *testing.T) {
	session, temporary := folder(t), folder(t)
	for _, dir := range []string{session, temporary} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(temporary, filepath.Join(session, "evenkeel")); err != nil {
		t.Fatal(err)
	}
	first, second := filepath.Join(session, "evenkeel"), filepath.Join(temporary, "evenkeel")
	if _, err := listenIn(first, "run-1"); err == nil {
		t.Fatal("listens behind a link")
	}
	s, err := listenIn(second, "run-1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	other := filepath.Join(t.TempDir(), "other")
	if err := os.Symlink(temporary, other); err != nil {
		t.Fatal(err)
	}
	found, looked := lookInto(t.Context(), []string{first, second, filepath.Join(other, "evenkeel")})
	if len(found) != 1 || found[0].Path != s.Path || found[0].Role != "run" || found[0].PID != 1 {
		t.Errorf("found %+v, want the one at %s, once", found, s.Path)
	}
	if len(looked) != 2 || looked[0].Err == nil || looked[1].Err != nil {
		t.Errorf("looked in %+v, want the link refused and the folder once", looked)
	}
}
