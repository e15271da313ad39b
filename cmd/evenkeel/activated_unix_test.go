//go:build unix

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// A service manager opens two sockets for one port, one for each family, and one that nothing
// wants: both are served, also after a reload, and the third is told and closed.
func TestEverySocketOfAListenerIsServed(t *testing.T) {
	open := func(network, at string) *net.TCPListener {
		l, err := net.Listen(network, at)
		if err != nil {
			t.Skip("this machine lacks a family: ", err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l.(*net.TCPListener)
	}
	four := open("tcp4", "0.0.0.0:0")
	port := four.Addr().(*net.TCPAddr).Port
	six := open("tcp6", fmt.Sprintf("[::]:%d", port)) // tcp6 is IPv6 alone
	stray := open("tcp4", "127.0.0.1:0")
	path := t.TempDir() + "/f.yaml"
	if err := os.WriteFile(path, fmt.Appendf(nil, "pools: { web: {} }\nmaster: { open_pools: true, admin: \"off\" }\nedge: { listeners: [ { listen: \":%d\", routes: [ { pool: web } ] } ] }\n", port), 0o600); err != nil {
		t.Fatal(err)
	}
	ours := evenkeel(t, "run", "--config", path)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "/bin/sh", append([]string{"-c", `export LISTEN_PID=$$; exec "$@"`, "sh", ours.Path}, ours.Args[1:]...)...)
	cmd.Env = append(ours.Env, "LISTEN_FDS=3")
	for _, l := range []*net.TCPListener{six, four, stray} {
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	s := startCommand(t, cmd)
	s.serving()
	for _, l := range []*net.TCPListener{six, four, stray} {
		_ = l.Close() // from here on they are the process's alone
	}
	both := func() {
		t.Helper()
		for _, host := range []string{"127.0.0.1", "[::1]"} {
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
			res, err := client.Get(fmt.Sprintf("http://%s:%d/", host, port))
			if err != nil {
				t.Errorf("%s is not served: %v\n%s", host, err, s.log())
				continue
			}
			if _ = res.Body.Close(); res.StatusCode != 503 {
				t.Errorf("%s: got %d, want 503, as the pool is empty", host, res.StatusCode)
			}
		}
	}
	both()
	if at := s.record("the process inherited a socket that no listener of this role uses; it is closed")["socket"]; at != stray.Addr().String() {
		t.Errorf("closed %v, want %s", at, stray.Addr())
	}
	s.signal(syscall.SIGHUP)
	s.record("reloaded")
	both()
}
