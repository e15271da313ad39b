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

	"github.com/evenkeel-lb/evenkeel/bench/mtls"
	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/peers"
	"github.com/evenkeel-lb/evenkeel/internal/selfsigned"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// proxy is one that is measured: all its processes count.
type proxy struct {
	name    string
	port    int
	secure  int      // port of the listener by TLS; zero: none
	two     int      // port of the listener for HTTP/2 without TLS; zero: none
	through int      // port of the one whose server speaks it too; zero: none
	toTLS   int      // port of the one whose server speaks HTTP/1.1 by TLS; zero: none
	tcp     int      // port of the listener that carries connections as they are; zero: none
	loads   []string // the names of those that it is for; nil: all
	cmds    []*exec.Cmd
	turns   map[string][]turn // by the load's name
}

// serverName is what the backend that speaks TLS proves to be.
const serverName = "server.example"

// setup says what a bench consists of.
type setup struct {
	binary  string
	against string // a second binary; empty: none
	conns   int    // clients that the peer has
	only    string // the proxies, separated by commas; empty: all
	room    int    // clients that a proxy must have room for, as far as it may have descriptors; zero: a few thousand
	profile bool
}

func newBench(s setup) (*bench, error) {
	dir, err := os.MkdirTemp("", "evenkeel-carry")
	if err != nil {
		return nil, err
	}
	b := &bench{dir: dir, room: max(s.room, 4000)}
	if s.profile {
		b.profiler = &profiler{dir: dir}
	}
	if err := peers.Need("h2load"); err != nil {
		fmt.Fprintln(os.Stderr, "HTTP/2 is left out:", err)
	} else {
		b.h2load = true
	}
	if b.server, err = startServerOfTwo(dir); err != nil {
		b.close()
		return nil, fmt.Errorf("nghttpd: %w", err)
	}
	key := ""
	if b.serverCert, key, err = selfsigned.Files(dir, serverName); err != nil {
		b.close()
		return nil, err
	}
	if b.peer, err = startPeer(s.conns, b.serverCert, key); err != nil {
		b.close()
		return nil, fmt.Errorf("generator: %w", err)
	}
	backend := fmt.Sprintf("127.0.0.1:%d", b.peer.port)
	for _, kind := range []struct {
		name  string
		start func(p *proxy) error
	}{
		{base, func(p *proxy) error { return b.haproxy(p, backend, "") }},
		{splicing, func(p *proxy) error { return b.haproxy(p, backend, "option splice-auto") }},
		{buffering, func(p *proxy) error {
			p.loads = []string{postSmall, postLarge}
			return b.haproxy(p, backend, "option http-buffer-request")
		}},
		{relaying, b.relay},
		{"nginx", func(p *proxy) error { return b.nginx(p, backend) }},
		{"run", func(p *proxy) error { return b.evenkeel(p, s.binary, backend) }},
		{other, func(p *proxy) error { return b.evenkeel(p, s.against, backend) }},
		{"edge and master", func(p *proxy) error { return b.apart(p, s.binary, backend, nil, nil) }},
		{"edge and master by mTLS", func(p *proxy) error { return b.apartByTLS(p, s.binary, backend) }},
	} {
		if !s.wants(kind.name) {
			continue
		}
		p := &proxy{name: kind.name, port: freePort(), turns: make(map[string][]turn)}
		err := kind.start(p)
		if err == nil {
			err = reach(p.address())
		}
		if errors.Is(err, exec.ErrNotFound) && kind.name != base {
			fmt.Fprintf(os.Stderr, "%s is left out: %v\n", kind.name, err)
			continue
		}
		b.proxies = append(b.proxies, p)
		if err != nil {
			b.close() // so that what it said is whole
			return nil, fmt.Errorf("%s: %w\n%s", kind.name, err, p.said())
		}
	}
	return b, nil
}

// wants reports whether a proxy is to be measured.
func (s *setup) wants(name string) bool {
	switch name {
	case base, splicing, buffering:
		return true
	case other:
		return s.against != ""
	}
	return s.only == "" || slices.Contains(strings.Split(s.only, ","), name)
}

// takes reports whether the proxy is for the load, and listens for it.
func (p *proxy) takes(l load) bool {
	switch {
	case p.loads != nil:
		return slices.Contains(p.loads, l.name)
	case l.tcp:
		return p.tcp != 0
	case l.through:
		return p.through != 0
	case l.toTLS:
		return p.toTLS != 0
	case l.two && !l.secure:
		return p.two != 0
	case l.secure:
		return p.secure != 0
	}
	return true
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
	b.server.stop()
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
	if errors.Is(err, exec.ErrNotFound) {
		return peers.Missing(name)
	}
	if err != nil {
		return err
	}
	cmd := exec.Command("taskset", append([]string{"-c", "0", path}, args...)...)
	cmd.Stderr = new(bytes.Buffer)
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmds = append(p.cmds, cmd)
	return nil
}

func (b *bench) haproxy(p *proxy, backend, option string) error {
	p.tcp, p.secure, p.two, p.through, p.toTLS = freePort(), freePort(), freePort(), freePort(), freePort()
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
  maxconn %d
  no strict-limits
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
listen g
  bind 127.0.0.1:%d proto h2
  server s %s proto h2
listen u
  bind 127.0.0.1:%d
  server s 127.0.0.1:%d ssl verify required ca-file %s sni str(%s) verifyhost %s
listen t
  mode tcp
  bind 127.0.0.1:%d
  server s %s
`, b.room, option, p.address(), backend, p.secure, both, backend, p.two, backend, p.through, b.server.address(),
		p.toTLS, b.peer.portTLS, b.serverCert, serverName, serverName, p.tcp, backend)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return err
	}
	return p.exec("haproxy", "-db", "-f", path)
}

func (b *bench) evenkeel(p *proxy, binary, backend string) error {
	p.tcp, p.secure, p.two, p.through, p.toTLS = freePort(), freePort(), freePort(), freePort(), freePort()
	cert, key, err := selfsigned.Files(b.dir, "bench.example")
	if err != nil {
		return err
	}
	path := filepath.Join(b.dir, "evenkeel.yaml")
	config := fmt.Sprintf(`pools:
  default: { servers: [{ address: "%s" }] }
  two: { servers: [{ address: "%s" }] }
  secure: { servers: [{ address: "https://127.0.0.1:%d" }] }
edge:
  listeners:
    - { listen: "%s", routes: [{ pool: default }] }
    - { listen: "127.0.0.1:%d", mode: tcp, routes: [{ pool: default }] }
    - { listen: "127.0.0.1:%d", h2c: true, routes: [{ pool: default }] }
    - { listen: "127.0.0.1:%d", h2c: true, routes: [{ pool: two, server_protocol: h2 }] }
    - { listen: "127.0.0.1:%d", tls: { certificates: [{ cert: "%s", key: "%s" }] }, routes: [{ pool: default }] }
    - { listen: "127.0.0.1:%d", routes: [{ pool: secure, server_tls: { ca: "%s", server_name: %s } }] }
`, backend, b.server.address(), b.peer.portTLS, p.address(), p.tcp, p.two, p.through, p.secure, cert, key, p.toTLS, b.serverCert, serverName)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return err
	}
	return p.exec(binary, append([]string{"run", "--config", path, "--access-log", "off"}, b.profiler.flags()...)...)
}

// apartByTLS starts a master and an edge that know each other by certificates.
func (b *bench) apartByTLS(p *proxy, binary, backend string) error {
	certs, err := mtls.New(filepath.Join(b.dir, "certs"))
	if err != nil {
		return err
	}
	ofMaster, err := certs.Flags(trust.Master, "m")
	if err != nil {
		return err
	}
	ofEdge, err := certs.Flags(trust.Edge, "e")
	if err != nil {
		return err
	}
	return b.apart(p, binary, backend, ofMaster, append(ofEdge, "--id", "e"))
}

// apart starts a master and an edge as two processes, with more flags for each.
func (b *bench) apart(p *proxy, binary, backend string, ofMaster, ofEdge []string) error {
	master := fmt.Sprintf("127.0.0.1:%d", freePort())
	ofMaster = append(b.profiler.flags(), ofMaster...)
	if err := p.exec(binary, append([]string{"master", "--listen", master, "--pool", "web", "--server", "http://" + backend + ",pool=web"}, ofMaster...)...); err != nil {
		return err
	}
	if err := reach(master); err != nil {
		return err
	}
	ofEdge = append(b.profiler.flags(), ofEdge...)
	return p.exec(binary, append([]string{"edge", "--listen", p.address(), "--access-log", "off", "--pool", "web", "--master", master}, ofEdge...)...)
}

// relay starts the bare relay, for loads whose messages it can pass.
func (b *bench) relay(p *proxy) error {
	p.loads = []string{"small", "16 KiB", "12 headers"}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return p.exec(self, "-child", "relay", strconv.Itoa(p.port), strconv.Itoa(b.peer.port))
}

func (b *bench) nginx(p *proxy, backend string) error {
	path := filepath.Join(b.dir, "nginx.conf")
	config := fmt.Sprintf(`daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log %[1]s/nginx.log;
events { worker_connections %[4]d; }
http {
  client_body_buffer_size 2m; client_max_body_size 2m;
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  upstream u { server %[3]s; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen %[2]s;
    location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_max_temp_file_size 0; }
  }
}
`, b.dir, p.address(), backend, b.room*5/4) // of which it wants a sixteenth free
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

func freePort() int {
	text, err := freeport.Take("127.0.0.1")
	must(err)
	port, err := strconv.Atoi(text)
	must(err)
	return port
}

// reach waits until a process listens.
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
