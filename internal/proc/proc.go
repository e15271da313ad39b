// Package proc runs evenkeel's roles as child processes: for the demo, for tests of
// the whole system and for benchmarks.
//
// A role logs one record "serving" with its actual addresses once it is ready; Start
// waits for it, so a child may be told to listen on port 0. Children never outlive
// their parent, even if it is killed, where the system can do that (Linux).
package proc

import (
	"bufio"
	"cmp"
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

	"github.com/evenkeel-lb/evenkeel/internal/rundir"
)

// startLimit is how long a role may take until it is ready. They take milliseconds;
// a machine that is busy takes its time.
const startLimit = time.Minute

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

// Start runs a role and waits until it is ready. The commands for operators do not find it, unless
// EVENKEEL_RUNTIME_DIR says where they should. log, if not nil, gets a copy of what
// it logs. The error of a role that did not start has its last words.
func Start(log io.Writer, binary string, args ...string) (*Process, error) {
	cmd := exec.Command(binary, args...)
	cmd.Stdout = os.Stdout
	cmd.Env = append(os.Environ(), rundir.Env+"="+cmp.Or(os.Getenv(rundir.Env), rundir.Off))
	ready := make(chan map[string]string, 1)
	p, err := launch(log, strings.Join(args[:min(2, len(args))], " "), cmd, ready)
	if err != nil {
		return nil, err
	}
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

// Launch runs a program that is not ours. It does not wait until the program is ready.
// name is for messages; what the program writes to stderr is kept, see Log.
func Launch(name string, cmd *exec.Cmd) (*Process, error) { return launch(nil, name, cmd, nil) }

func launch(log io.Writer, name string, cmd *exec.Cmd, ready chan<- map[string]string) (*Process, error) {
	p := &Process{Name: name, cmd: cmd, done: make(chan struct{})}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.watch(stderr, log, ready)
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Spawn starts any command as Start starts roles: it does not outlive us, where the system can
// do that.
func Spawn(cmd *exec.Cmd) error { return start(cmd) }

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
