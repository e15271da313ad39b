//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/version"
)

// linked returns an edge that was started by a link, and the link.
func linked(t *testing.T) (*started, string) {
	t.Helper()
	cmd := evenkeel(t, "edge", "--pool", "web", "--listen", "127.0.0.1:0", "--admin", "off", "--master", "127.0.0.1:1")
	link := filepath.Join(t.TempDir(), "evenkeel")
	if err := os.Symlink(cmd.Path, link); err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.Args[0] = link, link
	s := startCommand(t, cmd)
	s.serving()
	return s, link
}

// put has the link lead to another program, in one step as deploys do.
func put(t *testing.T, link, program string) {
	t.Helper()
	if err := os.Symlink(program, link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
}

// The program that takes over is the one that is now where the old one was started from.
func TestTheNewProgramIsTheOneAtThePath(t *testing.T) {
	s, link := linked(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "newer")
	if err := os.Link(self, again); err != nil {
		t.Skip("the test's program cannot be linked to: ", err)
	}
	put(t, link, again)
	s.signal(syscall.SIGUSR2)
	r := s.record("a new program has taken over")
	if r["program"] != link || r["version"] != version.String() {
		t.Errorf("took over: %v, want program %s of version %s", r, link, version.String())
	}
	successor, err := os.FindProcess(int(r["pid"].(float64)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = successor.Kill() }()
	if exe, err := os.Readlink("/proc/" + strconv.Itoa(successor.Pid) + "/exe"); err == nil && exe != again {
		t.Errorf("the successor is %s, want %s", exe, again)
	}
}

// While a new program hangs, the old one heeds signals; when it stops, the new one ends.
func TestSignalsAreHeededWhileANewProgramHangs(t *testing.T) {
	s, link := linked(t)
	begun := filepath.Join(t.TempDir(), "begun")
	if err := syscall.Mkfifo(begun, 0o600); err != nil {
		t.Fatal(err)
	}
	hang := filepath.Join(t.TempDir(), "hang")
	if err := os.WriteFile(hang, []byte("#!/bin/sh\necho $$ >"+begun+"\nexec sleep 600\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, link, hang)
	s.signal(syscall.SIGUSR2)
	if _, err := os.ReadFile(begun); err != nil { // waits for the script
		t.Fatal(err)
	}
	s.signal(syscall.SIGTERM)
	s.record("stopped")
	<-s.ended
}
