//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/selfsigned"
)

// proxy is one that is measured: all its processes count.
type proxy struct {
	name   string
	port   int
	secure int     // port of the listener by TLS; zero: none
	two    int     // port of the listener for HTTP/2 without TLS; zero: none
	tcp    int     // port of the listener that carries connections as they are; zero: none
	idle   float64 // octets of memory with idle clients
	growth float64 // of that, what was not there before they came
	cmds   []*exec.Cmd
	turns  map[string][]turn // by the load's name
}

func newBench(binary string, conns int, only string) (*bench, error) {
	dir, err := os.MkdirTemp("", "evenkeel-carry")
	if err != nil {
		return nil, err
	}
	b := &bench{dir: dir, conns: conns}
	if _, err := exec.LookPath("h2load"); err == nil {
		b.h2load = true
	} else {
		fmt.Fprintln(os.Stderr, "h2load is not installed, so HTTP/2 is left out")
	}
	if b.peer, err = startPeer(conns); err != nil {
		b.close()
		return nil, fmt.Errorf("generator: %w", err)
	}
	backend := fmt.Sprintf("127.0.0.1:%d", b.peer.port)
	for _, s := range []struct {
		name  string
		start func(p *proxy) error
	}{
		{base, func(p *proxy) error { return b.haproxy(p, backend, "") }},
		{splicing, func(p *proxy) error { return b.haproxy(p, backend, "option splice-auto") }},
		{"nginx", func(p *proxy) error { return b.nginx(p, backend) }},
		{"run", func(p *proxy) error {
			return b.evenkeel(p, binary, backend)
		}},
		{"edge and master", func(p *proxy) error {
			master := fmt.Sprintf("127.0.0.1:%d", freePort())
			if err := p.exec(binary, "master", "--listen", master, "--admin", "off", "--pool", "web", "--server", "http://"+backend+",pool=web"); err != nil {
				return err
			}
			if err := reach(master); err != nil {
				return err
			}
			return p.exec(binary, "edge", "--listen", p.address(), "--admin", "off", "--access-log", "off", "--pool", "web", "--master", master)
		}},
	} {
		if s.name != base && s.name != splicing && only != "" && !slices.Contains(strings.Split(only, ","), s.name) {
			continue
		}
		p := &proxy{name: s.name, port: freePort(), turns: make(map[string][]turn)}
		err := s.start(p)
		if err == nil {
			err = reach(p.address())
		}
		if errors.Is(err, exec.ErrNotFound) && s.name != base {
			fmt.Fprintf(os.Stderr, "%s is not installed, so it is left out\n", s.name)
			continue
		}
		b.proxies = append(b.proxies, p)
		if err != nil {
			b.close() // so that what it said is whole
			return nil, fmt.Errorf("%s: %w\n%s", s.name, err, p.said())
		}
	}
	return b, nil
}

func (b *bench) close() {
	for _, p := range b.proxies {
		for _, cmd := range p.cmds {
			_ = cmd.Process.Signal(syscall.SIGTERM) // an interrupt is ignored by what a shell has put into the background
			_ = cmd.Wait()                          // how it ends no longer matters
		}
	}
	if b.peer != nil {
		_ = b.peer.cmd.Process.Kill()
		_ = b.peer.cmd.Wait()
	}
	_ = os.RemoveAll(b.dir)
}

func (p *proxy) said() string {
	var all strings.Builder
	for _, cmd := range p.cmds {
		fmt.Fprint(&all, cmd.Stderr)
	}
	return all.String()
}

func (p *proxy) address() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

// exec starts a process of the proxy, bound to the first CPU.
func (p *proxy) exec(name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	cmd := exec.Command("taskset", append([]string{"-c", "0", path}, args...)...)
	cmd.Stderr = new(bytes.Buffer)
	p.cmds = append(p.cmds, cmd)
	return cmd.Start()
}

func (b *bench) haproxy(p *proxy, backend, option string) error {
	p.tcp, p.secure, p.two = freePort(), freePort(), freePort()
	cert, key, err := selfsigned.New("bench.example")
	if err != nil {
		return err
	}
	both := filepath.Join(b.dir, "haproxy.pem")
	if err := os.WriteFile(both, append(cert, key...), 0o600); err != nil {
		return err
	}
	path := filepath.Join(b.dir, fmt.Sprintf("haproxy%d.cfg", p.port))
	config := fmt.Sprintf(`global
  maxconn 4000
  nbthread 1
  tune.pool-high-fd-ratio 90
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
  %s
listen l
  bind %s
  server s %s
listen s
  bind 127.0.0.1:%d ssl crt %s alpn h2,http/1.1
  server s %s
listen h
  bind 127.0.0.1:%d proto h2
  server s %s
listen t
  mode tcp
  bind 127.0.0.1:%d
  server s %s
`, option, p.address(), backend, p.secure, both, backend, p.two, backend, p.tcp, backend)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return err
	}
	return p.exec("haproxy", "-db", "-f", path)
}

func (b *bench) evenkeel(p *proxy, binary, backend string) error {
	p.tcp, p.secure, p.two = freePort(), freePort(), freePort()
	cert, key, err := selfsigned.Files(b.dir, "bench.example")
	if err != nil {
		return err
	}
	path := filepath.Join(b.dir, "evenkeel.yaml")
	config := fmt.Sprintf(`pools:
  default: { servers: [{ address: "%s" }] }
edge:
  listeners:
    - { listen: "%s", routes: [{ pool: default }] }
    - { listen: "127.0.0.1:%d", mode: tcp, routes: [{ pool: default }] }
    - { listen: "127.0.0.1:%d", h2c: true, routes: [{ pool: default }] }
    - { listen: "127.0.0.1:%d", tls: { certificates: [{ cert: "%s", key: "%s" }] }, routes: [{ pool: default }] }
`, backend, p.address(), p.tcp, p.two, p.secure, cert, key)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return err
	}
	return p.exec(binary, "run", "--config", path, "--admin", "off", "--access-log", "off")
}

func (b *bench) nginx(p *proxy, backend string) error {
	path := filepath.Join(b.dir, "nginx.conf")
	config := fmt.Sprintf(`daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log %[1]s/nginx.log;
events { worker_connections 4000; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  upstream u { server %[3]s; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen %[2]s;
    location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_max_temp_file_size 0; }
  }
}
`, b.dir, p.address(), backend)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return err
	}
	return p.exec("nginx", "-c", path)
}

// cpu is the time that all threads of the proxy have run, children included, in ns.
func (p *proxy) cpu() (total int64, err error) {
	for _, cmd := range p.cmds {
		n, err := cpuOf(cmd.Process.Pid)
		if err != nil {
			return 0, fmt.Errorf("%w\n%s", err, cmd.Stderr)
		}
		total += n
	}
	return total, nil
}

func cpuOf(pid int) (total int64, err error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0, err
	}
	for _, task := range tasks {
		dir := fmt.Sprintf("/proc/%d/task/%s/", pid, task.Name())
		stat, err := os.ReadFile(dir + "schedstat")
		if err != nil {
			return 0, err
		}
		ran, _, _ := strings.Cut(string(stat), " ")
		n, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, err
		}
		total += n
		children, _ := os.ReadFile(dir + "children") // a kernel without it shows none
		for _, child := range strings.Fields(string(children)) {
			pid, _ := strconv.Atoi(child)
			n, err := cpuOf(pid)
			if err != nil {
				return 0, err
			}
			total += n
		}
	}
	return total, nil
}

// memory is what the proxy's processes hold, in octets.
func (p *proxy) memory() (total int64, err error) {
	for _, cmd := range p.cmds {
		n, err := memoryOf(cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

func memoryOf(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	words := strings.Fields(string(status))
	if len(words) < 2 {
		return 0, fmt.Errorf("/proc/%d/statm: %q", pid, status)
	}
	pages, err := strconv.ParseInt(words[1], 10, 64)
	total := pages * int64(os.Getpagesize())
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)) // a kernel without it shows none
	for _, child := range strings.Fields(string(children)) {
		pid, _ := strconv.Atoi(child)
		n, err := memoryOf(pid)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, err
}

func freePort() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// reach waits until somebody listens.
func reach(address string) error {
	for limit := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(limit) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
