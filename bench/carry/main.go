//go:build linux

// Command carry measures what it costs to carry a request: CPU time of the proxy for
// each request, beside HAProxy and nginx on the same core, in turns within one run.
//
// The proxy is bound to the first CPU; a generator and a backend of our own, one thread
// on raw epoll so that they are no bottleneck, have the second. All of it lives in a
// network namespace of its own if we may make one, with cubic or reno as congestion
// control: BBR halves bulk on loopback. CPU time is the kernel's own, of every thread.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
	"github.com/evenkeel-lb/evenkeel/internal/peers"
)

// load is one kind of request.
type load struct {
	name    string
	path    string
	headers int // lines of the request beside Host
	body    int // bytes of the response
	post    int // bytes of the request's body; zero: it is a GET
	goal    string
	tcp     bool   // through a listener that carries connections as they are
	secure  bool   // by TLS
	two     bool   // by HTTP/2
	through bool   // likewise to the server, as gRPC goes
	toTLS   bool   // the server speaks TLS
	conns   int    // clients; zero: as many as was said
	base    string // the program that it is compared with
}

var loads = []load{
	{name: "small", path: "/small", headers: 2, body: 100, goal: "<=.75", base: base},
	{name: "16 KiB", path: "/16k", headers: 2, body: 16 << 10, goal: "<=.65", base: base},
	{name: "12 headers", path: "/headers", headers: 12, body: 100, goal: "<=.80", base: base},
	{name: "1 MiB", path: "/1m", headers: 2, body: 1 << 20, goal: "<=.40", base: base},
	{name: postSmall, path: "/small", headers: 2, body: 100, post: 16 << 10, goal: "<=1.0", base: buffering},
	{name: postLarge, path: "/small", headers: 2, body: 100, post: 1 << 20, goal: "<=1.0", base: buffering},
	{name: "small by TLS", path: "/small", headers: 2, body: 100, goal: "<=.9", secure: true, base: base},
	{name: "16 KiB by TLS", path: "/16k", headers: 2, body: 16 << 10, secure: true, base: base},
	{name: "small to TLS", path: "/small", headers: 2, body: 100, toTLS: true, base: base},
	{name: "16 KiB to TLS", path: "/16k", headers: 2, body: 16 << 10, toTLS: true, base: base},
	{name: "small by h2c", path: "/small", body: 100, goal: "<=1.5", two: true, base: base},
	{name: "small by h2", path: "/small", body: 100, goal: "<=1.5", two: true, secure: true, base: base},
	{name: "small by h2c to h2c", path: "/small", body: 100, two: true, through: true, base: base},
	{name: one, path: "/small", headers: 2, body: 100, conns: 1, base: base},
	{name: "TCP ping-pong", path: "/small", body: 100, goal: "<=.95", tcp: true, base: base},
	{name: "TCP bulk", path: "/1m", body: 1 << 20, goal: "<=1.0", tcp: true, base: splicing},
}

const (
	base     = "haproxy"
	splicing = "haproxy, splice" // for bytes that pass as they are HAProxy's best
	// buffering is HAProxy that reads a request's body before it chooses a server, as far as its buffer goes.
	buffering = "haproxy, http-buffer-request"
	postSmall = "POST of 16 KiB"
	postLarge = "POST of 1 MiB"

	one      = "one connection"
	relaying = "bare relay"        // the least that a proxy can do
	other    = "run, other binary" // what a change is held against
)

func main() {
	var s setup
	flag.StringVar(&s.binary, "binary", "build/evenkeel", "what to measure")
	flag.StringVar(&s.against, "against", "", `a second binary, such as one from before a change, measured as "`+other+`" in the same turns`)
	flag.IntVar(&s.conns, "connections", 64, "clients that keep theirs")
	flag.StringVar(&s.only, "only", "", "proxies to measure beside HAProxy and the second binary, separated by commas; all if empty")
	rounds := flag.Int("rounds", 7, "turns of each proxy")
	length := flag.Duration("length", time.Second, "of a turn")
	kinds := flag.String("loads", "", "kinds of requests to measure, separated by commas; all if empty")
	idle := flag.String("idle", fmt.Sprintf("%d,%d", atOnce, manyIdle), "numbers of clients that keep their connections after a few requests, to see the memory they take, separated by commas; 0 for none")
	profile := flag.String("profile", "", "a file for what the binary spends its time on, which `go build -pgo` reads; figures suffer")
	out := flag.String("out", "build/bench/carry.json", "file for the figures")
	child := flag.String("child", "", "for the program itself")
	flag.Parse()
	switch *child {
	case "peer":
		must(peer(s.conns, flag.Arg(0), flag.Arg(1)))
		return
	case "relay":
		must(relayed(flag.Args()))
	case "inside":
		must(inside())
	default:
		must(peers.Need("taskset", base))
		if alone() {
			return
		}
	}
	if *kinds != "" {
		loads = slices.DeleteFunc(loads, func(l load) bool { return !slices.Contains(strings.Split(*kinds, ","), l.name) })
	}
	if *profile != "" {
		must(learn(s, *rounds, *length, *profile))
		return
	}
	must(measure(s, *idle, *rounds, *length, *out))
}

func measure(s setup, idle string, rounds int, length time.Duration, out string) error {
	clients, err := numbers(idle)
	if err != nil {
		return err
	}
	if err := allowDescriptors(clients); err != nil {
		return err
	}
	kept, err := keep(s, clients)
	if err != nil {
		return err
	}
	b, err := newBench(s)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.run(rounds, length); err != nil {
		return err
	}
	b.print()
	printIdle(kept)
	return figures.Write(out, append(b.figures(), idleFigures(kept)...))
}

// learn writes a profile of all that is measured instead of figures.
func learn(s setup, rounds int, length time.Duration, file string) error {
	s.profile = true
	b, err := newBench(s)
	if err != nil {
		return err
	}
	defer b.close()
	write := b.profiler.watch(s.binary)
	return errors.Join(b.run(rounds, length), write(file))
}

// alone runs the program again in a network namespace of its own, if it may.
func alone() bool {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "not root: measuring in the machine's own network, with its congestion control")
		return false
	}
	self, err := os.Executable()
	must(err)
	cmd := exec.Command(self, append([]string{"-child", "inside"}, os.Args[1:]...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "carry:", err)
		os.Exit(1)
	}
	return true
}

// inside readies the namespace.
func inside() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	const setting = "/proc/sys/net/ipv4/tcp_congestion_control"
	if os.WriteFile(setting, []byte("cubic"), 0) == nil {
		return nil
	}
	return os.WriteFile(setting, []byte("reno"), 0) // which every process may use
}

// bench is one run.
type bench struct {
	proxies []*proxy
	peer    *peerProcess
	h2load  bool         // it is there, to speak HTTP/2
	server  *serverOfTwo // a server of HTTP/2; nil: nghttpd is not there
	dir     string

	serverCert string // file of the certificate of the backend that speaks TLS
	room       int    // clients that a proxy must have room for

	profiler *profiler // nil: no profile is wanted
}

// turn is what one turn of a proxy showed.
type turn struct {
	cpu      float64 // µs a request
	rate     float64 // requests a second
	p50, p99 float64 // µs
	cores    float64 // of the proxy's CPU, busy
}

func (b *bench) run(rounds int, length time.Duration) error {
	for round := range rounds + 1 { // the first is to warm up
		for _, l := range loads {
			for i := range b.proxies {
				p := b.proxies[(i+round)%len(b.proxies)]
				if !p.takes(l) || l.two && !b.h2load || l.through && b.server == nil {
					continue
				}
				took, err := b.turn(p, l, length)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", p.name, l.name, err)
				}
				if round > 0 {
					p.turns[l.name] = append(p.turns[l.name], took)
				}
			}
		}
		fmt.Fprintf(os.Stderr, "\rround %d of %d ", round, rounds)
	}
	fmt.Fprintln(os.Stderr)
	return nil
}

func (b *bench) turn(p *proxy, l load, length time.Duration) (turn, error) {
	before, err := p.cpu()
	if err != nil {
		return turn{}, err
	}
	port := p.port
	switch {
	case l.tcp:
		port = p.tcp
	case l.secure:
		port = p.secure
	case l.toTLS:
		port = p.toTLS
	}
	var r result
	if l.two {
		switch port = p.two; {
		case l.secure:
			port = p.secure
		case l.through:
			port = p.through
		}
		r, err = generateTwo(port, l)
	} else {
		r, err = b.peer.load(order{Port: port, Path: l.path, Headers: l.headers, Body: l.body, Post: l.post, For: length, Conns: l.conns, Secure: l.secure, ToTLS: l.toTLS})
	}
	if err != nil {
		return turn{}, err
	}
	after, err := p.cpu()
	if err != nil {
		return turn{}, err
	}
	used := float64(after - before)
	return turn{cpu: used / 1e3 / float64(r.Requests), rate: float64(r.Requests) / r.Took.Seconds(), p50: r.P50, p99: r.P99, cores: used / float64(r.Took)}, nil
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "carry:", err)
		os.Exit(1)
	}
}
