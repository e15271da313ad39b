//go:build linux

package trial

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Places are where the process that answers can be reached.
type Places struct {
	TCP, Unix, TLS             string
	PingTCP, PingUnix, PingTLS string
	Authority, Cert, Key       []byte // PEM: for both sides of TLS
}

// Order tells a process what to measure.
type Order struct {
	What    string // such as tcp, ping-tcp or local; cpu: only the CPU time so far
	Waiting int    // goroutines that ask at once
	For     time.Duration
	CPU     int // 1 or more: the whole process is bound to this one, counted from 1; 0: to none
}

// Result is what a process has measured.
type Result struct {
	Asks    int
	Elapsed time.Duration
	CPU     time.Duration // of the process, user and system, within Elapsed; for an order of cpu: since it began
	RSS     int           // bytes, for an order of cpu
	Times   Times         // of asks, or of a sample of them
	Err     string        // why there is no result, or a worse one
}

// Merge adds the result of a process that worked at the same time.
func (r *Result) Merge(other *Result) {
	r.Asks += other.Asks
	r.Elapsed = max(r.Elapsed, other.Elapsed)
	r.CPU += other.CPU
	r.Times.Merge(&other.Times)
	if r.Err == "" {
		r.Err = other.Err
	}
}

// Run has so many goroutines call ask again and again for a while. Where many wait, or
// asks are short, only every eighth is timed, for reading the clock costs as much as a
// tenth of an ask.
func Run(waiting int, short bool, length time.Duration, ask func(worker int) error) *Result {
	var (
		over    atomic.Bool
		workers sync.WaitGroup
		mu      sync.Mutex
		all     Result
	)
	every := 1
	if short || waiting > 8 {
		every = 8
	}
	results := make([]*Result, waiting)
	for w := range results { // so that counting does not cost more at first
		results[w] = &Result{Times: Times{Counts: make([]uint64, bucket(uint64(100*time.Millisecond)))}}
	}
	cpu, began := CPU(), time.Now()
	for w := range waiting {
		workers.Go(func() {
			own := results[w]
			for i := w; !over.Load(); i++ {
				timed := i%every == 0
				var start time.Time
				if timed {
					start = time.Now()
				}
				if err := ask(w); err != nil {
					own.Err = err.Error()
					break
				}
				if timed {
					own.Times.Add(time.Since(start))
				}
				own.Asks++
			}
			mu.Lock()
			all.Merge(own)
			mu.Unlock()
		})
	}
	time.Sleep(length)
	over.Store(true)
	all.Elapsed, all.CPU = time.Since(began), CPU()-cpu
	workers.Wait()
	return &all
}

// CPU returns the process's CPU time so far.
func CPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// RSS returns the process's resident memory in bytes, 0 if it cannot be known.
func RSS() int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0
	}
	return resident * os.Getpagesize()
}

// Bind binds all threads of the process to one CPU, counted from 1; 0: to any.
func Bind(cpu int) error {
	var set unix.CPUSet
	set.Fill()
	if cpu > 0 {
		set.Zero()
		set.Set(cpu - 1)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		id, _ := strconv.Atoi(t.Name())
		if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH {
			return fmt.Errorf("binding to CPU %d: %w", cpu, err)
		}
	}
	return nil
}

// Serve obeys orders from standard input until it ends.
func Serve(obey func(Order) (*Result, error)) error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	bound := 0
	for {
		var o Order
		if err := in.Decode(&o); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if o.CPU != bound {
			if err := Bind(o.CPU); err != nil {
				return err
			}
			bound = o.CPU
		}
		if o.What == "cpu" {
			if err := out.Encode(&Result{CPU: CPU(), RSS: RSS()}); err != nil {
				return err
			}
			continue
		}
		r, err := obey(o)
		if err != nil {
			r = &Result{Err: err.Error()}
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}

// Process is a child that serves. It ends by itself when its parent does.
type Process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	enc *json.Encoder
	dec *json.Decoder
}

// Start runs a program. What it says before it serves is read by Hear.
func Start(program string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(program, args...)}
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in, p.enc, p.dec = in, json.NewEncoder(in), json.NewDecoder(out)
	return p, p.cmd.Start()
}

// Hear reads one value that the process says.
func (p *Process) Hear(to any) error { return p.dec.Decode(to) }

// Say tells the process one value.
func (p *Process) Say(what any) error { return p.enc.Encode(what) }

// Do has an order obeyed.
func (p *Process) Do(o Order) (*Result, error) {
	if err := p.Say(o); err != nil {
		return nil, err
	}
	var r Result
	if err := p.Hear(&r); err != nil {
		return nil, fmt.Errorf("%s: %w", o.What, err)
	}
	if r.Err != "" {
		return &r, fmt.Errorf("%s: %s", o.What, r.Err)
	}
	return &r, nil
}

// Stop ends the process and waits for it.
func (p *Process) Stop() error {
	_ = p.in.Close()
	return p.cmd.Wait()
}
