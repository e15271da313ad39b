// Package proc runs evenkeel's roles as child processes: for the demo, for tests of
// the whole system and for benchmarks.
//
// A role logs one record "serving" with its actual addresses once it is ready; Start
// waits for it, so a child may be told to listen on port 0. Children never outlive
// their parent, even if it is killed, where the system can do that (Linux).
package proc

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startLimit is how long a role may take until it is ready. They take milliseconds;
// a machine that is busy takes its time.
const startLimit = 20 * time.Second

// StopLimit is longer than any role takes to drain and end.
const StopLimit = 40 * time.Second

// Process is one running role.
type Process struct {
	Name string // for messages: the role and what tells it from others
	cmd  *exec.Cmd
	log  tail
	addr map[string]string
	done chan struct{} // closed when it has ended
	err  error         // of the end; read after done
}

// Start runs a role and waits until it is ready. log, if not nil, gets a copy of what
// it logs. The error of a role that did not start has its last words.
func Start(log io.Writer, binary string, args ...string) (*Process, error) {
	p := &Process{Name: strings.Join(args[:min(2, len(args))], " "), cmd: exec.Command(binary, args...), done: make(chan struct{})}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout = os.Stdout
	if err := start(p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	ready := make(chan map[string]string, 1)
	go func() {
		p.watch(stderr, log, ready)
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	select {
	case p.addr = <-ready:
		return p, nil
	case <-p.done:
		return nil, fmt.Errorf("%s ended before it was ready: %v\n%s", p.Name, p.err, p.Log())
	case <-limit.C:
		p.Kill()
		return nil, fmt.Errorf("%s was not ready after %v\n%s", p.Name, startLimit, p.Log())
	}
}

// watch keeps what the child logs and finds the record that says it is ready.
func (p *Process) watch(stderr io.Reader, log io.Writer, ready chan<- map[string]string) {
	lines := bufio.NewReader(stderr)
	for {
		line, err := lines.ReadBytes('\n')
		p.log.add(line)
		if log != nil {
			log.Write(line)
		}
		var record map[string]any
		if ready != nil && json.Unmarshal(line, &record) == nil && record["msg"] == "serving" {
			addr := make(map[string]string)
			for k, v := range record {
				if s, ok := v.(string); ok {
					addr[k] = s
				}
			}
			ready <- addr
			ready = nil
		}
		if err != nil {
			return
		}
	}
}

// Addr returns an address from the "serving" record: listen, admin, …
func (p *Process) Addr(name string) string { return p.addr[name] }

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Log returns the last lines the process logged.
func (p *Process) Log() string { return p.log.String() }

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Stop asks the process to end, as Ctrl-C would, waits until it has, and kills it if
// it takes longer than limit. It returns how the process ended.
func (p *Process) Stop(limit time.Duration) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.Kill()
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("%s did not end within %v and was killed\n%s", p.Name, limit, p.Log())
	}
}

// Kill ends the process at once and waits until it has ended.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// tail keeps the last lines of a log.
type tail struct {
	mu    sync.Mutex
	lines []string
}

const tailLines = 200

func (t *tail) add(line []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == tailLines {
		t.lines = append(t.lines[:0], t.lines[1:]...)
	}
	t.lines = append(t.lines, string(line))
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "")
}
