//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// part is one process of the system, which can be started again as it was.
type part struct {
	role, name string
	namespace  string // empty: none
	program    string
	args       []string
	listen     string // where it is reached once it is up
	admin      string // empty: it has none

	logs  string // the folder where each life's log goes; empty: only the last lines are kept
	lives int
	child *proc.Process // of evenkeel
	plain *exec.Cmd     // of anything else
}

func (p *part) start() error {
	program, args := p.program, p.args
	if p.namespace != "" {
		program, args = "ip", append([]string{"netns", "exec", p.namespace, p.program}, p.args...)
	}
	if p.role == "server" || p.role == "etcd" {
		p.plain = exec.Command(program, args...)
		p.plain.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := p.plain.Start(); err != nil {
			return err
		}
		return p.reachable()
	}
	log, err := p.openLog()
	if err != nil {
		return err
	}
	started, err := proc.Start(log, program, args...)
	if err != nil {
		return err
	}
	p.child = started
	return nil
}

// openLog returns where the next life's log goes; nil: nowhere. It is open until we end.
func (p *part) openLog() (io.Writer, error) {
	if p.logs == "" {
		return nil, nil
	}
	p.lives++
	return os.Create(filepath.Join(p.logs, fmt.Sprintf("%s.%03d.log", strings.ReplaceAll(p.name, " ", "-"), p.lives)))
}

// reachable waits until somebody listens.
func (p *part) reachable() error {
	for range 400 {
		conn, err := net.DialTimeout("tcp", p.listen, time.Second)
		if err == nil {
			return conn.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("%s does not listen on %s", p.name, p.listen)
}

func (p *part) signal(s syscall.Signal) error {
	if p.plain != nil {
		return p.plain.Process.Signal(s)
	}
	return p.child.Signal(s)
}

func (p *part) kill() {
	switch {
	case p.plain != nil:
		_ = p.plain.Process.Kill() // it may have ended by itself
		_ = p.plain.Wait()
	case p.child != nil:
		p.child.Kill()
	}
}

// ended tells whether it has ended though nobody killed it.
func (p *part) ended() bool {
	if p.child == nil {
		return false
	}
	select {
	case <-p.child.Done():
		return true
	default:
		return false
	}
}

func (p *part) log() string {
	if p.child == nil {
		return ""
	}
	return p.child.Log()
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

// freePort returns a port that was free a moment ago.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

func sh(command string) error {
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", command, err, out)
	}
	return nil
}

// mayNamespace tells whether this process can make network namespaces.
func mayNamespace() bool {
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			return false
		}
	}
	name := fmt.Sprintf("ektry%d", os.Getpid())
	if sh("ip netns add "+name) != nil {
		return false
	}
	return sh("ip netns delete "+name) == nil
}
