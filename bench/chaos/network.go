//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// network is where the parts live: on loopback, or, with walls, each behind a cable of its
// own to a bridge, in a network namespace in which nothing else is.
type network struct {
	walls  bool
	hosts  string            // the file that is /etc/hosts for all parts; empty without walls
	names  map[string]string // what is in it
	placed int               // addresses given to servers
}

const (
	hub    = "10.214.0.1" // what is behind no cable
	bridge = "chaos"
)

// enter runs the program again, inside namespaces where it may do what it likes, and returns
// its exit code. ok is false if that cannot be here.
func enter(more ...string) (code int, ok bool) {
	try := exec.Command("sh", "-c", "ip link add try type bridge && nft list tables && mount --make-rprivate /")
	try.SysProcAttr = inside()
	if try.Run() != nil {
		return 0, false
	}
	cmd := exec.Command("/proc/self/exe", slices.Concat([]string{"-inside"}, os.Args[1:], more)...)
	cmd.SysProcAttr = inside()
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt) // which it gets too, from the terminal
	err := cmd.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return max(1, exit.ExitCode()), true
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1, true
	}
	return 0, true
}

func inside() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
}

// newNetwork lays the bridge, if there are to be walls.
func newNetwork(walls bool, dir string) (*network, error) {
	n := &network{walls: walls, names: make(map[string]string)}
	if !walls {
		return n, nil
	}
	n.hosts = filepath.Join(dir, "hosts")
	if err := n.name("localhost", "127.0.0.1"); err != nil {
		return n, err
	}
	return n, sh("mount --make-rprivate / && mount --bind " + n.hosts + " /etc/hosts && mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && " +
		"ip link set lo up && ip link add " + bridge + " type bridge && ip addr add " + hub + "/16 dev " + bridge + " && ip link set " + bridge + " up")
}

// room makes a namespace behind a cable; both are empty without walls.
func (n *network) room(name string, kind, i int) (namespace, address string, err error) {
	if !n.walls {
		return "", "127.0.0.1", nil
	}
	address = fmt.Sprintf("10.214.%d.%d", kind, i+1)
	cable := "v" + name
	return name, address, sh("ip netns add " + name + " && ip link add " + cable + " type veth peer name eth0 netns " + name +
		" && ip link set " + cable + " master " + bridge + " && ip link set " + cable + " up && ip netns exec " + name +
		" sh -c 'ip addr add " + address + "/16 dev eth0 && ip link set eth0 up && ip link set lo up'")
}

// open returns an address that every part reaches.
func (n *network) open() string {
	if !n.walls {
		return "127.0.0.1"
	}
	return hub
}

// place returns another such address, which nothing has been at.
func (n *network) place() (string, error) {
	n.placed++
	address := fmt.Sprintf("10.214.9.%d", n.placed%250+1)
	if n.placed > 250 {
		return address, nil // it is there
	}
	return address, sh("ip addr add " + address + "/16 dev " + bridge)
}

// name has a name lead to an address from now on.
func (n *network) name(name, address string) error {
	n.names[name] = address
	var text strings.Builder
	for name, address := range n.names {
		fmt.Fprintln(&text, address, name)
	}
	return os.WriteFile(n.hosts, []byte(text.String()), 0o644) // where it is: it is mounted elsewhere too
}
