package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/echo"
	"github.com/evenkeel-lb/evenkeel/internal/load"
)

// These tests remove, or stall, the reader of the roles' logs. Nothing else may come of
// it than lines that are missing, and counted.

// logPipe is a pipe that roles log to and that the test reads only when it wants to.
type logPipe struct {
	t    *testing.T
	in   *os.File // that is read; nil: the reader has gone
	out  *os.File // that roles write to
	text *bufio.Reader
}

func newLogPipe(t *testing.T) *logPipe {
	t.Helper()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &logPipe{t: t, in: in, out: out, text: bufio.NewReader(in)}
	t.Cleanup(func() {
		p.leave()
		_ = out.Close()
	})
	return p
}

// leave has the reader go for good.
func (p *logPipe) leave() {
	if p.in != nil {
		_ = p.in.Close() // nothing is written through it
		p.in = nil
	}
}

// record reads one record.
func (p *logPipe) record() map[string]any {
	p.t.Helper()
	line, err := p.text.ReadBytes('\n')
	if err != nil {
		p.t.Fatalf("reading the log: %v after %q", err, line)
	}
	var r map[string]any
	if err := json.Unmarshal(line, &r); err != nil {
		p.t.Fatalf("%v in the log: %.200q", err, line)
	}
	return r
}

// child is a role that logs to a logPipe.
type child struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
	addr  map[string]any // its record "serving"
}

// start runs a role and reads the log until it serves.
func (p *logPipe) start(args ...string) *child {
	p.t.Helper()
	c := &child{t: p.t, name: args[0], cmd: exec.Command(binary, append(args, "--log-format", "json")...), ended: make(chan struct{})}
	c.cmd.Stderr = p.out
	if err := c.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		_ = c.cmd.Wait() // exit asks for the code
		close(c.ended)
	}()
	p.t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it may have ended
		<-c.ended
	})
	for c.addr == nil {
		if r := p.record(); r["msg"] == "serving" && r["role"] == args[0] {
			c.addr = r
		}
	}
	return c
}

func (c *child) at(name string) string { return fmt.Sprint(c.addr[name]) }

func (c *child) signal(s os.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatalf("%s: %v", c.name, err)
	}
}

// exit stops a role, which must end in good order.
func (c *child) exit() {
	c.t.Helper()
	c.signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(90 * time.Second):
		c.t.Fatalf("%s does not end while its log has no reader", c.name)
	}
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		c.t.Errorf("%s: %v, want exit code 0", c.name, c.cmd.ProcessState)
	}
}

func (c *child) alive() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// dropped reads the metric of lines that were not written.
func (c *child) dropped() (n int) {
	c.t.Helper()
	for line := range strings.Lines(string(get(c.t, "http://"+c.at("admin")+"/metrics").body)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "evenkeel_log_dropped_total "); ok {
			x, err := strconv.ParseFloat(value, 64)
			if err != nil {
				c.t.Fatal(err)
			}
			return int(x)
		}
	}
	c.t.Fatalf("%s has no metric evenkeel_log_dropped_total", c.name)
	return 0
}

// complain has a role log a line.
func (c *child) complain() { c.signal(syscall.SIGHUP) } // it was started without a file

// family is one of each role: run, which has its own server, and the others together.
type family struct{ run, master, agent, edge *child }

func (f *family) all() []*child { return []*child{f.run, f.master, f.agent, f.edge} }

// startFamily starts them with servers whose answers can be told apart.
func startFamily(t *testing.T, p *logPipe) *family {
	t.Helper()
	server := httptest.NewServer(echo.Handler("s"))
	t.Cleanup(server.Close)
	at := server.Listener.Addr().String()
	f := new(family)
	f.run = p.start("run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--server", server.URL+",slots=64")
	f.master = p.start("master", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--pool", "web")
	f.agent = p.start("agent", "--master", f.master.at("listen"), "--pool", "web", "--id", "s", "--address", at, "--slots", "64", "--sample=false", "--admin", "127.0.0.1:0")
	f.edge = p.start("edge", "--master", f.master.at("listen"), "--pool", "web", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	eventually(t, func() (bool, string) {
		body := string(get(t, "http://"+f.master.at("admin")+"/metrics").body)
		return strings.Contains(body, `evenkeel_server_up{pool="web",server="s"} 1`), "the agent's server is not in the pool"
	})
	return f
}

// longPath makes a line of the access log long, so that few fill what room there is, and short enough for a pipe to
// take it whole.
var longPath = "/" + strings.Repeat("x", 3000)

// mustAnswer sends requests, a few at a time, until enough says so, and holds each answer
// against its request. It returns how many were sent.
func mustAnswer(t *testing.T, edge *child, enough func(sent int) bool) int {
	t.Helper()
	sender := load.NewSender(load.Limits{Time: time.Minute})
	defer sender.Close()
	var sent atomic.Int64
	var over, failed atomic.Bool
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for !over.Load() && !failed.Load() {
				n := sent.Add(1)
				o := sender.Do(context.Background(), load.Arrival{URL: "http://" + edge.at("listen") + longPath, Body: 100, Method: "POST", Kind: load.Kind(n % 2)})
				if o.Status != 200 || o.Err != nil {
					failed.Store(true)
					t.Errorf("request %d to %s: status %d, error %v", n, edge.name, o.Status, o.Err)
				}
			}
		})
	}
	eventually(t, func() (bool, string) {
		if failed.Load() {
			return true, ""
		}
		n := int(sent.Load())
		return enough(n), fmt.Sprintf("%d requests were sent to %s, of which %d log lines were dropped", n, edge.name, edge.dropped())
	})
	over.Store(true)
	clients.Wait()
	if failed.Load() {
		t.FailNow()
	}
	return int(sent.Load())
}

// The reader of all logs goes away: no role ends, every request is answered, and what is
// not written is counted.
func TestLogReaderGone(t *testing.T) {
	t.Parallel()
	p := newLogPipe(t)
	f := startFamily(t, p)
	p.leave()
	for _, c := range f.all() {
		c.complain()
	}
	for _, edge := range []*child{f.run, f.edge} {
		mustAnswer(t, edge, func(sent int) bool { return sent > 100 })
	}
	for _, c := range f.all() {
		eventually(t, func() (bool, string) {
			if !c.alive() {
				t.Fatalf("%s ended with its log's reader: %v", c.name, c.cmd.ProcessState)
			}
			return c.dropped() > 0, c.name + " has counted no line that it could not log"
		})
	}
	for _, edge := range []*child{f.run, f.edge} {
		mustAnswer(t, edge, func(sent int) bool { return sent > 20 })
	}
	for _, c := range []*child{f.edge, f.run, f.agent, f.master} {
		c.exit()
	}
}

// The reader of all logs stands still until there is no room left: every request is
// answered, and when it goes on it is told how many lines are missing. All lines are
// either there or among those.
func TestLogReaderStalls(t *testing.T) {
	t.Parallel()
	p := newLogPipe(t)
	f := startFamily(t, p)
	for _, c := range f.all() {
		c.complain()
	}
	sent := mustAnswer(t, f.edge, func(int) bool { return f.edge.dropped() > 20 })
	for _, c := range f.all() {
		c.complain()
		get(t, "http://"+c.at("admin")+"/healthz")
	}
	mustAnswer(t, f.run, func(sent int) bool { return sent > 50 })
	requests, missing := 0, 0
	for requests+missing < sent {
		switch r := p.record(); {
		case r["msg"] == "request" && r["edge"] == f.edge.at("edge"):
			requests++
		case r["lines"] != nil && strings.Contains(fmt.Sprint(r["msg"]), "log lines dropped since"):
			missing += int(r["lines"].(float64))
		}
	}
	const complaints = 2 // of the edge, which may be among those that were dropped
	if dropped := f.edge.dropped(); missing > dropped || missing < dropped-complaints || requests+missing > sent+complaints {
		t.Errorf("of %d requests %d are in the log, %d lines are said to be missing, %d were counted", sent, requests, missing, dropped)
	}
	// The reader stops reading, and the pipe is full when they stop.
	mustAnswer(t, f.edge, func(sent int) bool { return sent > 100 })
	for _, c := range []*child{f.edge, f.run, f.agent, f.master} {
		c.exit()
	}
}

// A FIFO gets another reader, which sees what comes from then on and is told what is missing.
func TestLogReaderOfAFIFOComesBack(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "log")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(how int) *os.File {
		f, err := os.OpenFile(name, how, 0)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	both := open(os.O_RDWR) // so that neither end waits for the other
	p := &logPipe{t: t, in: open(os.O_RDONLY), out: open(os.O_WRONLY)}
	p.text = bufio.NewReader(p.in)
	t.Cleanup(func() { p.leave(); _ = p.out.Close() })
	_ = both.Close()
	server := httptest.NewServer(echo.Handler("s"))
	t.Cleanup(server.Close)
	run := p.start("run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--server", server.URL+",slots=64")
	p.leave()
	mustAnswer(t, run, func(sent int) bool { return sent > 20 && run.dropped() > 0 })
	p.in = open(os.O_RDONLY | syscall.O_NONBLOCK)
	p.text = bufio.NewReader(p.in)
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond): // the next line
				run.complain()
			}
		}
	})
	for p.record()["lines"] == nil { // it fails at the pipe's end
	}
	close(stop)
	asking.Wait()
	run.exit()
}

// Strangers who connect to a master again and again do not fill its log, and each is
// counted there.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	p := newLogPipe(t)
	m := p.start("master", "--listen", "127.0.0.1:0", "--admin", "off", "--pool", "web")
	const strangers = 300
	var connecting sync.WaitGroup
	for range 3 {
		connecting.Go(func() {
			for range strangers / 3 {
				c, err := net.Dial("tcp", m.at("listen"))
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = c.Write([]byte("\x00\x01 no hello\n")) // the master may have closed already
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}
		})
	}
	lines, told := 0, 0
	for told < strangers {
		if r := p.record(); r["msg"] == "peer refused" {
			more, _ := r["more_like_this"].(float64)
			lines, told = lines+1, told+1+int(more)
		}
	}
	connecting.Wait()
	if told != strangers || lines > strangers/2 {
		t.Errorf("%d lines tell of %d strangers, want few lines and %d", lines, told, strangers)
	}
	m.exit()
}
