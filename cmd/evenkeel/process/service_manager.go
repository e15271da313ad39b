package process

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// serviceManager is the service manager that started this process, or the one that it took over from; its
// zero value is none. It gets the messages of sd_notify(3).
type serviceManager struct {
	socket string        // where it listens; empty: there is none
	every  time.Duration // how often it wants to hear that the process is alive; zero: it does not
}

// serviceManagerFrom reads what the environment says of it.
func serviceManagerFrom(env func(string) string, self int) (m serviceManager) {
	m.socket = env("NOTIFY_SOCKET")
	usec, err := strconv.ParseInt(env("WATCHDOG_USEC"), 10, 64)
	pid := env("WATCHDOG_PID")
	if err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(self)) {
		m.every = time.Duration(usec) * time.Microsecond / 2
	}
	return m
}

// notify sends lines of NAME=value. A manager that does not listen misses them.
func (m serviceManager) notify(format string, args ...any) {
	if m.socket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	_, _ = fmt.Fprintf(conn, format, args...)
	_ = conn.Close()
}

// ready says that the process serves, and that it is the service's main one: it may have taken over.
func (m serviceManager) ready() { m.notify("READY=1\nMAINPID=%d", os.Getpid()) }

// reloading says that the process is about to read its file anew; ready ends that.
func (m serviceManager) reloading() { m.notify("RELOADING=1\nMONOTONIC_USEC=%d", fd.MonotonicMicros()) }

func (m serviceManager) stopping() { m.notify("STOPPING=1") }

// watchdog returns what ticks whenever the manager is to hear that the process is alive; nil: never.
func (m serviceManager) watchdog() (ticks <-chan time.Time, stop func()) {
	if m.socket == "" || m.every <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(m.every)
	return t.C, t.Stop
}

func (m serviceManager) alive() { m.notify("WATCHDOG=1") }
