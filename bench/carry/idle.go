//go:build linux

package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
)

const (
	idleFor = 2 * time.Second // how long proxies and clients are idle before it is looked what they take
	atOnce  = 1800            // of them ask at the same time
	asks    = 3               // of each, before it is idle
)

// held is the memory that a proxy's processes hold with idle clients.
type held struct {
	proxy   string
	clients int
	memory
	added float64 // of its own, what was not there before they came
}

// keep shows what memory clients take who have all asked and have been idle for a while,
// each number of them with proxies that have just started.
func keep(s setup, numbers []int) (all []held, err error) {
	for _, clients := range numbers {
		s.room = clients + atOnce + 200 // for both sides of the requests that are under way
		b, err := newBench(s)
		if err != nil {
			return nil, err
		}
		of, err := b.keep(clients)
		b.close()
		if err != nil {
			return nil, err
		}
		all = append(all, of...)
	}
	return all, nil
}

func (b *bench) keep(clients int) (all []held, err error) {
	time.Sleep(idleFor)
	for _, p := range b.proxies {
		if p.loads != nil {
			continue
		}
		h, err := b.keepAt(p, clients)
		if err != nil {
			return nil, fmt.Errorf("%s, %d idle clients: %w", p.name, clients, err)
		}
		all = append(all, h)
	}
	return all, nil
}

func (b *bench) keepAt(p *proxy, clients int) (h held, err error) {
	before, err := p.memory()
	if err != nil {
		return h, err
	}
	if _, err := b.peer.load(order{Port: p.port, Path: "/16k", Headers: 2, Body: 16 << 10, Keep: clients}); err != nil {
		return h, err
	}
	time.Sleep(idleFor)
	after, err := p.memory()
	if err != nil {
		return h, err
	}
	_, err = b.peer.load(order{Keep: -1})
	return held{proxy: p.name, clients: clients, memory: after, added: after.own - before.own}, err
}

// memory is what a proxy's processes hold, in bytes.
type memory struct {
	total float64
	own   float64 // without what is mapped of files: programs and libraries
}

func (p *proxy) memory() (all memory, err error) {
	for _, cmd := range p.cmds {
		of, err := memoryOf(cmd.Process.Pid)
		if err != nil {
			return all, err
		}
		all.add(of)
	}
	return all, nil
}

func (m *memory) add(of memory) {
	m.total += of.total
	m.own += of.own
}

// memoryOf counts a process and its children.
func memoryOf(pid int) (all memory, err error) {
	path := fmt.Sprintf("/proc/%d/statm", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return all, err
	}
	var size, resident, files int
	if _, err := fmt.Sscan(string(text), &size, &resident, &files); err != nil {
		return all, fmt.Errorf("%s: %q: %w", path, text, err)
	}
	page := float64(os.Getpagesize())
	all = memory{total: float64(resident) * page, own: float64(resident-files) * page}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)) // a kernel without it shows none
	for _, child := range strings.Fields(string(children)) {
		pid, _ := strconv.Atoi(child)
		of, err := memoryOf(pid)
		if err != nil {
			return all, err
		}
		all.add(of)
	}
	return all, nil
}

func printIdle(all []held) {
	for _, h := range all {
		fmt.Printf("%s: %.1f MiB with %d idle clients; %.1f without files, %.1f more than before they came\n",
			h.proxy, h.total/(1<<20), h.clients, h.own/(1<<20), h.added/(1<<20))
	}
}

// idleFigures holds ours against HAProxy, first the number that stands for itself.
func idleFigures(all []held) (out []figures.Figure) {
	of := func(proxy string, clients int) (h held) {
		for _, h = range all {
			if h.proxy == proxy && h.clients == clients {
				break
			}
		}
		return h
	}
	for _, h := range all {
		if h.proxy != "run" {
			continue
		}
		name, goal := "run, idle clients", "<=.25"
		if h.clients != manyIdle {
			name, goal = fmt.Sprintf("run, %s idle clients", grouped(h.clients)), ""
		}
		peer := of(base, h.clients)
		out = append(out, figures.Figure{Name: name + ", memory", Value: h.total / peer.total, Unit: "ratio", Goal: goal},
			figures.Figure{Name: name + ", memory they added", Value: h.added / peer.added, Unit: "ratio"},
			figures.Figure{Name: name + ", memory without files", Value: h.own / peer.own, Unit: "ratio", Goal: goal})
	}
	return out
}

// manyIdle is the number of which the goal speaks, as the edge of a large fleet has them.
const manyIdle = 10_000

// grouped writes a number below a million with a comma.
func grouped(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// numbers reads those of -idle.
func numbers(text string) (all []int, err error) {
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("-idle %s: numbers separated by commas", text)
		}
		if n > 0 {
			all = append(all, n)
		}
	}
	return all, nil
}

// allowDescriptors lets this process and its children have as many as they may, and
// refuses numbers of clients that these do not suffice for.
func allowDescriptors(clients []int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("descriptors: %w", err)
	}
	for _, n := range clients {
		if need := uint64(n + 2*atOnce + 200); need > limit.Max {
			return fmt.Errorf("%d idle clients need %d descriptors a process, and %d is all it may have (ulimit -Hn): -idle with fewer", n, need, limit.Max)
		}
	}
	return nil
}

// idlers are clients that ask a few times and then keep their connections.
type idlers []*client

func (all *idlers) closeAll() {
	for _, c := range *all {
		unix.Close(c.fd)
	}
	*all = nil
}

// come opens the connections of an order and has all ask, so many at once.
func (all *idlers) come(o order) error {
	for range o.Keep {
		fd, err := dial(o.Port)
		if err != nil {
			return err
		}
		*all = append(*all, &client{fd: fd})
	}
	request, buf := o.request(), make([]byte, 64<<10)
	for range asks {
		for some := range slices.Chunk(*all, atOnce) {
			if err := some.ask(request, o.Body, buf); err != nil {
				return err
			}
		}
	}
	return nil
}

func (all idlers) ask(request []byte, body int, buf []byte) error {
	for _, c := range all {
		if err := c.ask(request, time.Now()); err != nil {
			return err
		}
	}
	for _, c := range all {
		for whole := false; !whole; {
			err := c.await()
			if err == nil {
				whole, err = c.read(buf, body)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// await waits until something has come.
func (c *client) await() error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}, int(silence/time.Millisecond))
		switch {
		case err == unix.EINTR:
		case err == nil && n == 0:
			return os.ErrDeadlineExceeded
		default:
			return err
		}
	}
}
