//go:build linux

package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/peers"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
	"github.com/evenkeel-lb/evenkeel/internal/quota"
)

//go:embed services/app.py
var appPython []byte

//go:embed services/app.js
var appNode []byte

// service is one of the five servers. It runs in a control group, all of its processes.
type service struct {
	name    string
	quota   float64 // CPUs
	what    string
	run     func(s *service) [][]string // the programs that it is made of
	dir     string                      // for its files
	address string
	env     []string

	group     *quota.Group
	processes []*proc.Process
}

// services are the five, in no order that means anything. The last joins in a run with trouble.
func services() []*service {
	return []*service{
		{name: "a", quota: .40, what: "nginx before gunicorn, 4 workers", run: nginxGunicorn},
		{name: "b", quota: .20, what: "node, a child for each request", run: node},
		{name: "c", quota: .30, what: "Go, 2 at a time", run: golang},
		{name: "d", quota: .15, what: "gunicorn, 8 threads", run: func(s *service) [][]string {
			return [][]string{s.gunicorn(s.address, "--worker-class", "gthread", "--threads", "8")}
		}},
		{name: "e", quota: .25, what: "gunicorn, 2 workers", run: func(s *service) [][]string {
			return [][]string{s.gunicorn(s.address, "--workers", "2")}
		}},
	}
}

func (s *service) gunicorn(bind string, more ...string) []string {
	return append([]string{"gunicorn", "--chdir", s.dir, "--bind", bind, "--worker-tmp-dir", "/dev/shm", "--timeout", "180", "--log-level", "error", "app:app"}, more...)
}

func nginxGunicorn(s *service) [][]string {
	socket := filepath.Join(s.dir, "app.sock")
	config := filepath.Join(s.dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/nginx.pid; error_log stderr error;
events {}
http {
	access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	server { listen %[2]s; location / { proxy_pass http://unix:%[3]s; proxy_read_timeout 180s; } }
}
`, s.dir, s.address, socket)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		panic(err) // into a folder that was made a moment ago
	}
	nginx, _ := peers.Find("nginx") // that it is there was checked at the start
	return [][]string{s.gunicorn("unix:"+socket, "--workers", "4"), {nginx, "-e", "stderr", "-c", config}}
}

func node(s *service) [][]string { return [][]string{{"node", filepath.Join(s.dir, "app.js")}} }

func golang(s *service) [][]string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return [][]string{{self, "serve"}}
}

// prepare gives the service its files, its address and its control group.
func (s *service) prepare(dir string, jobs []job) (err error) {
	s.dir = filepath.Join(dir, s.name)
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string][]byte{"app.py": appPython, "app.js": appNode} {
		if err := os.WriteFile(filepath.Join(s.dir, name), text, 0o644); err != nil {
			return err
		}
	}
	if s.address, err = freeport.Loopback(); err != nil {
		return err
	}
	argv := make(map[string][]string, len(jobs))
	for _, j := range jobs {
		argv[j.name] = j.argv
	}
	text, err := json.Marshal(argv)
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(s.address)
	s.env = append(os.Environ(), "REAL_JOBS="+string(text), "REAL_NAME="+s.name, "REAL_PORT="+port)
	s.group, err = quota.New(fmt.Sprintf("evenkeel-real-%d-%s", os.Getpid(), s.name), s.quota)
	return err
}

// start runs the service, and returns when it answers.
func (s *service) start() error {
	for _, argv := range s.run(s) {
		cmd := s.group.Command(argv[0], argv[1:]...)
		cmd.Env = s.env
		p, err := proc.Launch("service "+s.name+": "+argv[0], cmd)
		if err != nil {
			return err
		}
		s.processes = append(s.processes, p)
	}
	late := time.Now().Add(time.Minute)
	for {
		res, err := http.Get("http://" + s.address + "/healthz")
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Now().After(late) {
			return fmt.Errorf("service %s (%s) does not answer after a minute: %v\n%s", s.name, s.what, err, s.log())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *service) log() string {
	var all strings.Builder
	for _, p := range s.processes {
		all.WriteString(p.Log())
	}
	return all.String()
}

// kill ends the service at once, with all that it has started.
func (s *service) kill() error {
	if s.group == nil {
		return nil
	}
	err := s.group.Kill()
	s.processes = nil
	_ = os.Remove(filepath.Join(s.dir, "app.sock")) // only one of them has it
	return err
}

// remove ends the service and gives its control group back.
func (s *service) remove() error {
	if s.group == nil {
		return nil
	}
	if err := s.kill(); err != nil {
		return err
	}
	return s.group.Close()
}

// serve is the service in Go: it works on two requests at a time, the others wait.
func serve() error {
	var jobs map[string][]string
	if err := json.Unmarshal([]byte(os.Getenv("REAL_JOBS")), &jobs); err != nil {
		return err
	}
	places := make(chan struct{}, 2)
	http.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	http.HandleFunc("GET /{job}", func(w http.ResponseWriter, r *http.Request) {
		argv, ok := jobs[r.PathValue("job")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		places <- struct{}{}
		defer func() { <-places }()
		out, err := exec.Command(argv[0], argv[1:]...).Output()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("X-Server", os.Getenv("REAL_NAME"))
		w.Header().Set("X-Id", r.URL.Query().Get("id"))
		_, _ = w.Write(out) // the client may have gone
	})
	return http.ListenAndServe("127.0.0.1:"+os.Getenv("REAL_PORT"), nil)
}
