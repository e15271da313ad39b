//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// part is one process of the system, which can be started again as it was.
type part struct {
	role, name string
	namespace  string // empty: none
	program    string
	args       []string
	listen     string // where it is reached once it is up
	secure     string // of an edge: where clients speak TLS
	admin      string // empty: it has none
	pool       string // of a server or an agent
	host       string // the name by which a server is known that can move; empty: it stays
	port       string // of that
	slots      int    // of a server
	record     string // of a server: the file in which it writes down what happens to it
	speaks     bool   // it says that it serves, as all roles of evenkeel do

	log *sink
	*life

	mu   sync.Mutex
	died []string // how processes ended that this program did not end
}

// life is a part's process from its start to its end.
type life struct {
	cmd    *exec.Cmd
	ended  chan struct{} // closed when it has ended
	killed atomic.Bool   // by us
}

// kill ends it at once, and waits until it has.
func (l *life) kill() {
	if l == nil {
		return
	}
	l.killed.Store(true)
	_ = l.cmd.Process.Kill() // it may have ended by itself
	<-l.ended
}

// signal sends a signal; one that has ended gets none.
func (l *life) signal(s syscall.Signal) error {
	if err := l.cmd.Process.Signal(s); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// startLimit is how long a part may take until it is ready, on a machine that is busy.
const startLimit = 60 * time.Second

func (p *part) start() error {
	program, args := p.program, p.args
	if p.namespace != "" {
		program, args = "ip", append([]string{"netns", "exec", p.namespace, p.program}, p.args...)
	}
	stderr, serves, err := p.log.open()
	if err != nil {
		return err
	}
	l := &life{cmd: exec.Command(program, args...), ended: make(chan struct{})}
	l.cmd.Stderr = stderr
	err = proc.Spawn(l.cmd)
	_ = stderr.Close() // it is the child's now
	if err != nil {
		return err
	}
	p.life = l
	go p.await(l)
	if !p.speaks {
		serves = p.reachable()
	}
	select {
	case <-serves:
		return nil
	case <-p.ended:
		return fmt.Errorf("it ended before it served: %v\n%s", p.deaths(), p.log)
	case <-time.After(startLimit):
		return fmt.Errorf("it does not serve after %v\n%s", startLimit, p.log)
	}
}

// reachable returns what is closed when a connection can be made.
func (p *part) reachable() <-chan struct{} {
	up := make(chan struct{})
	go func(ended <-chan struct{}) {
		for {
			conn, err := net.DialTimeout("tcp", p.listen, time.Second)
			if err == nil {
				_ = conn.Close()
				close(up)
				return
			}
			select {
			case <-ended:
				return
			case <-time.After(20 * time.Millisecond): // between two looks at another process
			}
		}
	}(p.ended)
	return up
}

// await waits for the end of a process, and records one that this program did not end.
func (p *part) await(l *life) {
	err := l.cmd.Wait()
	if !l.killed.Load() {
		p.mu.Lock()
		p.died = append(p.died, fmt.Sprintf("%s: %v", time.Now().UTC().Format("15:04:05.000"), err))
		p.mu.Unlock()
	}
	close(l.ended)
}

// revive restarts it if it has ended by itself.
func (p *part) revive() error {
	select {
	case <-p.ended:
		return p.start()
	default:
		return nil
	}
}

// deaths returns how processes ended that this program did not end.
func (p *part) deaths() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.died)
}

// limit lets it have only so many descriptors more than it has, and returns what undoes that.
func (p *part) limit(more int) (undo func() error, err error) {
	had, err := p.descriptorLimit()
	if err != nil {
		return nil, err
	}
	open, err := p.descriptors()
	if err != nil {
		return nil, err
	}
	set := func(n int) error { return sh(fmt.Sprintf("prlimit --pid %d --nofile=%d:", p.cmd.Process.Pid, n)) }
	return func() error { return set(had) }, set(open + more)
}

// descriptors counts those that it has open.
func (p *part) descriptors() (int, error) {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	return len(open), err
}

func (p *part) descriptorLimit() (int, error) { return p.number("limits", "Max open files") }

// residentKB is the memory that it has in use.
func (p *part) residentKB() (int, error) { return p.number("status", "VmRSS:") }

// number reads the first number behind a name in one of the system's files about it.
func (p *part) number(file, name string) (int, error) {
	path := fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "\n"+name)
	var n int
	if _, err := fmt.Sscan(rest, &n); err != nil {
		return 0, fmt.Errorf("%s: %q: %w", path, name, err)
	}
	return n, nil
}

var quick = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// metrics reads the sums of families of a part's metrics page.
func (p *part) metrics(families ...string) (map[string]float64, error) {
	resp, err := quick.Get("http://" + p.admin + "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	sums := make(map[string]float64)
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		name, _, _ = strings.Cut(name, "{")
		if at := strings.LastIndexByte(lines.Text(), ' '); ok && at > 0 {
			value = lines.Text()[at+1:]
		}
		for _, f := range families {
			if x, err := strconv.ParseFloat(value, 64); f == name && err == nil {
				sums[f] += x
			}
		}
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return sums, lines.Err()
}

// api reads what a part's API says.
func (p *part) api(path string, into any) error {
	resp, err := quick.Get("http://" + p.admin + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// freePorts returns n ports.
func freePorts(n int) (ports []string, err error) {
	for range n {
		port, free := freeport.Take("127.0.0.1")
		ports, err = append(ports, port), errors.Join(err, free)
	}
	return ports, err
}

func sh(command string) error {
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", command, err, out)
	}
	return nil
}
