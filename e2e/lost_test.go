package e2e

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/load"
	"github.com/evenkeel-lb/evenkeel/internal/peers"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// Connections to masters are lost again and again, in good order, by a reset and with their
// master, while clients make connections of their own and so get the numbers of descriptors
// that were closed. No request fails, each gets its own answer, and neither edges nor
// masters ever use a descriptor that they have closed: the system would say EBADF, now or
// when the one whose descriptor was closed instead closes it.
func TestMasterConnectionsLost(t *testing.T) {
	for _, how := range []string{"plain", "mTLS"} {
		t.Run(how, func(t *testing.T) { testMasterConnectionsLost(t, how) })
	}
}

func testMasterConnectionsLost(t *testing.T, how string) {
	want := whenLong(60, 1000)
	var certs string
	if how == "mTLS" {
		certs = t.TempDir()
		run(t, "certs", "init", "--dir", certs)
	}
	_, entries := servers(t, 3, 64)
	loser := newLoser(want)
	var masters, all []*tracked
	var ways, edges []string
	for _, id := range []string{"m1", "m2", "m3"} {
		tls, _ := issue(t, certs, "master", id)
		yaml := fmt.Sprintf("master: {id: %s%s}\npools: {web: {servers: %s}}", id, tls, entries)
		m := startTracked(t, "master", "--config", file(t, yaml), "--listen", freeport.Address(t), "--admin", freeport.Address(t))
		masters = append(masters, m)
		ways = append(ways, "--master", loser.way(t, m.Addr("listen")))
	}
	for _, id := range []string{"e1", "e2"} {
		_, flags := issue(t, certs, "edge", id)
		e := startTracked(t, append(append([]string{"edge", "--id", id, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--access-log", "off", "--pool", "web"}, ways...), flags...)...)
		edges, all = append(edges, "http://"+e.Addr("listen")+"/"), append(all, e)
	}
	trace := load.LogNormal(1, 10*time.Minute, rate(100, 300), (2 * time.Millisecond).Seconds(), 0)
	for i := range trace {
		switch a := &trace[i]; i % 5 {
		case 0, 2, 4:
			a.Kind = load.Fresh
		case 3:
			a.Method, a.Body, a.Fill = http.MethodPut, 60_000, 60_000
		}
	}
	r := startTrace(t, edges, trace)
	r.settle(500 * time.Millisecond)
	loser.begin()
	kills := 0
	for last := masters[2]; !loser.isDone(); kills++ {
		last.Kill()
		r.settle(100 * time.Millisecond)
		last.again(t)
		loser.await(whenLong(20, 100))
	}
	r.settle(500 * time.Millisecond)
	answered := r.everything()
	r.stop()
	noFailures(t, answered)
	all = append(all, masters[:2]...) // the third was killed, which traces nothing to its end
	calls := 0
	for _, p := range all {
		if err := p.Stop(proc.StopLimit); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		if strings.Contains(p.Log(), "bad file descriptor") {
			t.Errorf("%s used a closed descriptor:\n%s", p.Name, p.Log())
		}
		calls += p.wantNoneClosed(t)
	}
	failed, _ := failures(answered)
	figure(t, how+": connections to masters lost", float64(loser.losses()), "", "")
	figure(t, how+": masters killed", float64(kills), "", "")
	figure(t, how+": requests meanwhile", float64(len(answered)), "", "")
	figure(t, how+": requests that failed", float64(failed), "", "<=0")
	figure(t, how+": answers that were another request's", float64(mixUps(answered)), "", "<=0")
	figure(t, how+": calls that close or change descriptors, looked at", float64(calls), "", "")
}

// run has the program do something that ends by itself.
func run(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command(binary, args...).CombinedOutput(); err != nil {
		t.Fatalf("evenkeel %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// tracked is a process whose calls that close or change descriptors are written down, if
// strace is there.
type tracked struct {
	*proc.Process
	name  string   // for messages
	args  []string // strace's, if there is a trace
	trace string   // a file; empty: there is none
}

// issue returns what gives a component a certificate of its own, in a file and by flags.
// Both are empty if certs, the folder of the authority, is.
func issue(t testing.TB, certs, role, id string) (yaml string, flags []string) {
	t.Helper()
	if certs == "" {
		return "", nil
	}
	args := []string{"certs", "issue", role, id, "--dir", certs}
	if role == "agent" {
		args = append(args, "--pool", "*")
	}
	run(t, args...)
	ca, own := filepath.Join(certs, "ca.crt"), filepath.Join(certs, role+"-"+id)
	return fmt.Sprintf(", tls: {ca: %q, cert: %q, key: %q}", ca, own+".crt", own+".key"),
		[]string{"--tls-ca", ca, "--tls-cert", own + ".crt", "--tls-key", own + ".key"}
}

// startTracked runs a role.
func startTracked(t testing.TB, args ...string) *tracked {
	t.Helper()
	p := &tracked{name: strings.Join(args[:3], " "), args: append(append([]string{binary}, args...), "--log-format", "json")}
	strace, err := peers.Find("strace")
	switch {
	case err == nil:
		p.trace = filepath.Join(t.TempDir(), "trace")
		p.args = append([]string{strace, "-D", "-f", "--seccomp-bpf", "-q", "-o", p.trace, "-e", "trace=" + tracedCalls}, p.args...)
	case os.Getenv("EVENKEEL_PEERS") == "required":
		t.Fatal(err)
	default:
		t.Logf("not looked for closed descriptors: %v", err)
	}
	p.again(t)
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", p.Name, p.Log())
		}
	})
	return p
}

// tracedCalls are those that are not made for each message: to stop at each of those would
// leave no time for anything else. Whatever is done to a descriptor that is another's, its
// owner closes it in the end.
const tracedCalls = "close,shutdown,epoll_ctl,fcntl,setsockopt,getsockopt,getsockname,getpeername,dup,dup3,ioctl"

// again starts it.
func (p *tracked) again(t testing.TB) {
	t.Helper()
	started, err := proc.Start(nil, p.args[0], p.args[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	p.Process = started
	p.Process.Name = p.name
}

var ended = regexp.MustCompile(`(?m)^\d+ +\+\+\+ (exited with|killed by)`)

// wantNoneClosed wants no call on a descriptor that was closed, in all the life of the
// process, which has ended. It returns how many calls there were.
func (p *tracked) wantNoneClosed(t testing.TB) (calls int) {
	t.Helper()
	if p.trace == "" {
		return 0
	}
	var text []byte
	eventually(t, func() (bool, string) {
		var err error
		text, err = os.ReadFile(p.trace)
		main := regexp.MustCompile(fmt.Sprintf(`(?m)^%d +\+\+\+ (exited with|killed by)`, p.PID()))
		return err == nil && main.Match(text), fmt.Sprintf("the trace of %s has %d bytes and not its end, %v", p.Name, len(text), err)
	})
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "EBADF") {
			t.Errorf("%s: %s", p.Name, strings.TrimSpace(line))
		}
		if !ended.MatchString(line) {
			calls++
		}
	}
	return calls
}

// loser is a way to masters on which connections are lost.
type loser struct {
	want  int
	begun chan struct{} // closed when losses are to begin
	ended chan struct{} // closed when there were enough

	mu   sync.Mutex
	lost int
	rng  *rand.Rand
	more chan struct{} // one slot: there was another loss
}

func newLoser(want int) *loser {
	return &loser{want: want, begun: make(chan struct{}), ended: make(chan struct{}), rng: rand.New(rand.NewPCG(1, 1)), more: make(chan struct{}, 1)}
}

func (l *loser) begin() { close(l.begun) }

func (l *loser) isDone() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

func (l *loser) losses() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// await waits for n losses more, or until there were enough.
func (l *loser) await(n int) {
	for until := l.losses() + n; l.losses() < until; {
		select {
		case <-l.ended:
			return
		case <-l.more:
		}
	}
}

// way returns an address by which a master is reached until that is lost.
func (l *loser) way(t testing.TB, master string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			near, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			serving.Go(func() {
				defer near.Close()
				far, err := net.Dial("tcp", master)
				if err != nil {
					return // the master is not there
				}
				defer far.Close()
				l.carry(near.(*net.TCPConn), far.(*net.TCPConn))
			})
		}
	})
	return listener.Addr().String()
}

// carry carries both ways until the connection ends or is lost.
func (l *loser) carry(near, far *net.TCPConn) {
	var both sync.WaitGroup
	ended, answered := make(chan struct{}, 2), make(chan struct{})
	both.Go(func() { _, _ = io.Copy(far, near); ended <- struct{}{} })
	both.Go(func() {
		first := make([]byte, 64<<10)
		if n, err := carryFirst(far, near, first); err == nil && n > 0 {
			close(answered)
			_, _ = io.Copy(near, far)
		}
		ended <- struct{}{}
	})
	defer both.Wait()
	defer near.Close()
	defer far.Close()
	select {
	case <-answered:
	case <-ended:
		return
	}
	select {
	case <-l.begun:
	case <-ended:
		return
	}
	life, reset := l.draw()
	alarm := time.NewTimer(life)
	defer alarm.Stop()
	select {
	case <-alarm.C:
	case <-ended:
		l.count() // with its master
		return
	}
	if l.isDone() {
		<-ended
		return
	}
	if reset {
		_ = near.SetLinger(0)
		_ = far.SetLinger(0)
	}
	l.count()
}

// carryFirst carries what comes first.
func carryFirst(from, to net.Conn, p []byte) (int, error) {
	n, err := from.Read(p)
	if err != nil {
		return 0, err
	}
	return to.Write(p[:n])
}

// draw returns how long a connection lives, and whether it ends by a reset.
func (l *loser) draw() (life time.Duration, reset bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 10*time.Millisecond + time.Duration(l.rng.Int64N(int64(100*time.Millisecond))), l.rng.IntN(2) == 0
}

func (l *loser) count() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost++; l.lost == l.want {
		close(l.ended)
	}
	select {
	case l.more <- struct{}{}:
	default:
	}
}
