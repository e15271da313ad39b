package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// manager is the service manager that started this process, or the one that it took over from; its
// zero value is none. It is told what sd_notify(3) tells.
type manager struct {
	socket string        // where it listens; empty: there is none
	every  time.Duration // how often it wants to hear that the process is alive; zero: it does not
}

// ourManager reads what the environment says of it.
func ourManager(env func(string) string, self int) (m manager) {
	m.socket = env("NOTIFY_SOCKET")
	usec, err := strconv.ParseInt(env("WATCHDOG_USEC"), 10, 64)
	pid := env("WATCHDOG_PID")
	if err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(self)) {
		m.every = time.Duration(usec) * time.Microsecond / 2
	}
	return m
}

// tell sends lines of NAME=value. A manager that does not listen misses them.
func (m manager) tell(format string, args ...any) {
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
func (m manager) ready() { m.tell("READY=1\nMAINPID=%d", os.Getpid()) }

// reloading says that the process is about to read its file anew; ready ends that.
func (m manager) reloading() { m.tell("RELOADING=1\nMONOTONIC_USEC=%d", fd.MonotonicMicros()) }

func (m manager) stopping() { m.tell("STOPPING=1") }

// watchdog returns what ticks whenever the manager is to hear that the process is alive; nil: never.
func (m manager) watchdog() (ticks <-chan time.Time, stop func()) {
	if m.socket == "" || m.every <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(m.every)
	return t.C, t.Stop
}

func (m manager) alive() { m.tell("WATCHDOG=1") }
