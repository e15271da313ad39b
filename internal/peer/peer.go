// Package peer runs real HAProxys and nginxs in front of a list of servers, each with one thread or worker and so with its own count, for
// the demo and for benchmarks.
package peer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// Server is a server as a proxy's configuration has it.
type Server struct {
	ID      string
	Address string  // host:port
	Weight  float64 // zero: 1
}

// Proxy says how to run one proxy.
type Proxy struct {
	Program string // path of haproxy or nginx
	Dir     string // exists; gets a folder for each proxy's files
	Name    string // names the folder; differs for each proxy of a Dir
	Listen  string // host:port; see freeport.Loopback
	Servers []Server
	Check   bool // leave out servers that fail: HAProxy by its check each second, nginx by its defaults
}

// StartHAProxy runs an HAProxy of one thread with a balance algorithm such as
// leastconn. It does not wait until the proxy serves.
func StartHAProxy(p Proxy, balance string) (*proc.Process, error) {
	var b strings.Builder
	fmt.Fprintf(&b, `global
    nbthread 1
    maxconn 8000
defaults
    mode http
    timeout connect 5s
    timeout client 10m
    timeout server 10m
    timeout http-keep-alive 10m
    option http-keep-alive
    http-reuse always
frontend clients
    bind %s
    default_backend servers
backend servers
    balance %s
`, p.Listen, balance)
	check := ""
	if p.Check {
		b.WriteString("    option redispatch\n    retries 3\n")
		check = " check inter 1s fall 2 rise 2"
	}
	for _, s := range p.Servers {
		fmt.Fprintf(&b, "    server %s %s weight %.0f%s\n", s.ID, s.Address, max(1, s.Weight), check)
	}
	dir, file, err := p.write("haproxy.cfg", b.String())
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(p.Program, "-db", "-q", "-f", file)
	cmd.Dir = dir
	return proc.Launch(p.Name, cmd)
}

// StartNginx runs an nginx of one worker with least_conn. It does not wait until the
// proxy serves.
func StartNginx(p Proxy) (*proc.Process, error) {
	var b strings.Builder
	b.WriteString("daemon off;\nmaster_process off;\nworker_processes 1;\npid nginx.pid;\nerror_log stderr crit;\nevents { worker_connections 8000; }\n" +
		"http {\n    access_log off;\n    keepalive_timeout 10m;\n    keepalive_requests 1000000;\n")
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&b, "    %s_temp_path %s;\n", kind, kind)
	}
	b.WriteString("    upstream servers {\n        least_conn;\n")
	fails := " max_fails=0"
	if p.Check {
		fails = ""
	}
	for _, s := range p.Servers {
		fmt.Fprintf(&b, "        server %s weight=%.0f%s;\n", s.Address, max(1, s.Weight), fails)
	}
	fmt.Fprintf(&b, "        keepalive 1000;\n        keepalive_timeout 10m;\n        keepalive_requests 1000000;\n    }\n"+
		"    server {\n        listen %s;\n        location / {\n            proxy_pass http://servers;\n            proxy_http_version 1.1;\n"+
		"            proxy_set_header Connection \"\";\n            proxy_read_timeout 10m;\n        }\n    }\n}\n", p.Listen)
	dir, file, err := p.write("nginx.conf", b.String())
	if err != nil {
		return nil, err
	}
	return proc.Launch(p.Name, exec.Command(p.Program, "-p", dir, "-c", file, "-e", "stderr"))
}

// write makes the proxy's folder with its configuration.
func (p Proxy) write(name, text string) (dir, file string, err error) {
	dir = filepath.Join(p.Dir, p.Name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", "", err
	}
	file = filepath.Join(dir, name)
	return dir, file, os.WriteFile(file, []byte(text), 0o600)
}
