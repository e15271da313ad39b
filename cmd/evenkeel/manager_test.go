package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A service manager hears when the process serves, reloads, is alive and stops.
func TestTheServiceManagerIsTold(t *testing.T) {
	at := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	hears := func(want string) string {
		t.Helper()
		buf := make([]byte, 1000)
		_ = socket.SetReadDeadline(time.Now().Add(2 * time.Minute))
		for {
			n, err := socket.Read(buf)
			if err != nil {
				t.Fatalf("%s was not told: %v", want, err)
			}
			if text := string(buf[:n]); strings.HasPrefix(text, want) {
				return text
			}
		}
	}
	t.Setenv("NOTIFY_SOCKET", at)
	t.Setenv("WATCHDOG_USEC", "20000")
	t.Setenv("WATCHDOG_PID", "")
	path := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(path, []byte("pools: { web: {} }\nmaster: { open_pools: true }\nedge: { listeners: [ { listen: \"127.0.0.1:0\", routes: [ { pool: web } ] } ] }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, "run", "--config", path, "--admin", "127.0.0.1:0")
	if got, want := hears("READY=1"), "READY=1\nMAINPID="+strconv.Itoa(r.cmd.Process.Pid); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	hears("WATCHDOG=1")
	r.signal(syscall.SIGHUP)
	_, micros, _ := strings.Cut(hears("RELOADING=1"), "MONOTONIC_USEC=")
	if n, err := strconv.ParseInt(micros, 10, 64); err != nil || n <= 0 {
		t.Errorf("the reload began at %q, want microseconds", micros)
	}
	hears("READY=1")
	r.signal(syscall.SIGTERM)
	hears("STOPPING=1")
}
