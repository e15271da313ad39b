package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// owner finds the processes that are the application: those that hold the sockets on which
// connections to the server's address come in, or the one that was named.
type owner struct {
	root    string // prefixed to /proc; empty but in tests
	address string // as balance.ServerSpec has it
	pid     string // a process id, or a file that holds one; empty: the process that listens at address
	resolve func(host string) []netip.Addr
	local   func(netip.Addr) bool // whether an address is this machine's

	inodes   []uint64 // that were found last
	holders  []holder // of them, likewise
	believed int      // finds that have only looked whether the holders are there
}

// holder is a process that holds a listening socket, by a descriptor.
type holder struct {
	pid int
	fd  string // its number; empty: the process was named
}

func newOwner(root, address, pid string) *owner {
	return &owner{root: root, address: address, pid: pid, resolve: resolveHost, local: isLocal}
}

// resolvePatience is how long a name may take to be resolved.
const resolvePatience = 2 * time.Second

func resolveHost(host string) []netip.Addr {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.WithZone("")}
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolvePatience)
	defer cancel()
	addrs, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", host) // none is an answer too
	return addrs
}

func isLocal(addr netip.Addr) bool {
	if addr.IsLoopback() || addr.IsUnspecified() {
		return true
	}
	own, _ := net.InterfaceAddrs()
	return slices.ContainsFunc(own, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr().Unmap() == addr.Unmap()
	})
}

// mostBelieved is how many finds only look whether the former holders still hold their sockets. To
// read all sockets costs the kernel tens of milliseconds on a machine with much memory, whose table of
// connections is large, however few there are.
const mostBelieved = 150

// find returns the ids of the application's processes, at least one, or why there are none and
// what may be done about it. It is cheap while nothing has changed.
func (o *owner) find() ([]int, error) {
	if o.pid != "" {
		return o.named()
	}
	if o.believed < mostBelieved && o.held() {
		o.believed++
		return pids(o.holders), nil
	}
	o.believed = 0
	inodes, err := o.listeners()
	if err != nil {
		return nil, err
	}
	slices.Sort(inodes)
	if slices.Equal(inodes, o.inodes) && o.held() {
		return pids(o.holders), nil
	}
	holders, denied, err := o.search(inodes)
	if err != nil {
		return nil, err
	}
	if len(holders) == 0 {
		o.inodes, o.holders = nil, nil
		if denied {
			return nil, fmt.Errorf("the process that listens at %s cannot be seen from here: run the agent as the application's user or as root, or set cgroup or pid", o.address)
		}
		return nil, fmt.Errorf("the process that listens at %s is in another PID namespace: share the application's (shareProcessNamespace in Kubernetes), or set cgroup or pid", o.address)
	}
	o.inodes, o.holders = inodes, holders
	return pids(holders), nil
}

// named returns the process that the configuration names.
func (o *owner) named() ([]int, error) {
	text := o.pid
	if strings.HasPrefix(text, "/") {
		b, err := os.ReadFile(o.root + text)
		if err != nil {
			return nil, fmt.Errorf("pid: %w", err)
		}
		text = strings.TrimSpace(string(b))
	}
	pid, err := strconv.Atoi(text)
	if err != nil || pid <= 0 {
		return nil, fmt.Errorf("pid %q, want a process id, or the path of a file that holds one", clip([]byte(text)))
	}
	if _, err := os.Stat(o.proc(pid, "")); err != nil {
		return nil, fmt.Errorf("there is no process %d, which pid names", pid)
	}
	o.holders = []holder{{pid: pid}}
	return []int{pid}, nil
}

func (o *owner) proc(pid int, file string) string {
	return fmt.Sprintf("%s/proc/%d/%s", o.root, pid, file)
}

func pids(holders []holder) []int {
	list := make([]int, 0, len(holders))
	for _, h := range holders {
		if len(list) == 0 || list[len(list)-1] != h.pid {
			list = append(list, h.pid)
		}
	}
	return list
}

// listeners returns the inodes of the sockets that connections to the address come to.
func (o *owner) listeners() ([]uint64, error) {
	_, hostPort := balance.SplitAddress(o.address)
	if balance.IsUnix(hostPort) {
		return nil, fmt.Errorf("%s is a unix socket, whose listening process cannot be found: name the application's control group by cgroup, or its process by pid", hostPort)
	}
	host, portText, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, err
	}
	addrs := o.resolve(host)
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%s cannot be resolved: name the application's control group by cgroup, or its process by pid", host)
	}
	var all []listening
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if all, err = readListening(o.root+file, all); err != nil {
			return nil, err
		}
	}
	inodes, any := listenersAt(all, addrs, uint16(port))
	here := slices.ContainsFunc(addrs, o.local)
	switch {
	case len(inodes) > 0 && (here || !any):
		return inodes, nil
	case here:
		return nil, fmt.Errorf("nothing listens at %s", o.address)
	}
	return nil, fmt.Errorf("%s is not an address of this machine, nor of this network namespace: run the agent beside the application, or set cgroup or pid", host)
}

// readListening appends the listening sockets of /proc/net/tcp or tcp6. The kernel writes these
// before all others, so the connections of a busy machine are not read.
func readListening(file string, all []listening) ([]listening, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil // a kernel without IPv6
	}
	if err != nil {
		return all, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		s, listens, ok := parseSocket(lines.Bytes())
		if ok && !listens {
			break
		}
		if ok {
			all = append(all, s)
		}
	}
	return all, lines.Err()
}

// held reports whether the processes that were found last still hold their sockets.
func (o *owner) held() bool {
	for _, h := range o.holders {
		link, err := os.Readlink(o.proc(h.pid, "fd/"+h.fd))
		inode, ok := parseSocketLink(link)
		if err != nil || !ok || !slices.Contains(o.inodes, inode) {
			return false
		}
	}
	return len(o.holders) > 0
}

// mostHolders is how many processes of an application are looked at: those with the lowest ids,
// which as a rule are the first and live longest.
const mostHolders = 32

// search looks through the descriptors of all processes for holders of the sockets, in order
// of their ids. denied tells that those of some process could not be read.
func (o *owner) search(inodes []uint64) (holders []holder, denied bool, err error) {
	entries, err := os.ReadDir(o.root + "/proc")
	if err != nil {
		return nil, false, err
	}
	var processes []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			processes = append(processes, pid)
		}
	}
	slices.Sort(processes)
	for _, pid := range processes {
		if len(holders) == mostHolders {
			break
		}
		fd, err := o.holds(pid, inodes)
		if fd != "" {
			holders = append(holders, holder{pid, fd})
		}
		denied = denied || errors.Is(err, fs.ErrPermission)
	}
	// A service manager keeps the sockets that it opened for its services.
	if last := len(holders) - 1; last > 0 && holders[0].pid == 1 {
		holders = holders[1:]
	}
	return holders, denied, nil
}

// holds returns the descriptor by which a process holds one of the sockets, "" if none.
func (o *owner) holds(pid int, inodes []uint64) (fd string, err error) {
	dir, err := os.Open(o.proc(pid, "fd"))
	if err != nil {
		return "", err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		link, _ := os.Readlink(o.proc(pid, "fd/"+name)) // one that has just been closed is not it
		if inode, ok := parseSocketLink(link); ok && slices.Contains(inodes, inode) {
			return name, nil
		}
	}
	return "", nil
}

// command returns what a process is called, "" if that cannot be read.
func (o *owner) command(pid int) string {
	b, _ := os.ReadFile(o.proc(pid, "comm"))
	return strings.TrimSpace(string(b))
}
