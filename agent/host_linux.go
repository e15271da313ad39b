package agent

import (
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/procfs"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/rate"
)

// host samples the application's control group and the machine.
type host struct {
	root  string // prefixed to /proc and /sys; empty but in tests
	cpus  int
	proc  procfs.FS
	owner *owner
	named string // the control group that the configuration names; empty: the owner's
	note  func(line string, err error)

	group    cgroup
	known    bool            // group is the application's
	noted    string          // what was noted last of group
	look     balance.Instant // when to look again for the application and its limits
	slow     balance.Instant // when to take again what changes slowly
	failures int             // looks in a row that found no application

	used, rx, tx rate.Counter
}

const (
	slowly       = 2 * time.Second // between readings of what changes slowly; pressure is averaged over as long by the kernel
	lookAgain    = 3 * time.Second // between looks for the application, which may restart elsewhere, and for its limits
	lookAtLength = time.Minute     // between looks for one that is not found, which read all sockets and every process's descriptors
)

// newHostSource returns what samples for an application; note gets a line that says what CPU is
// sampled, or an error that says why none is, whenever that changes.
func newHostSource(app Application, note func(line string, err error)) hostSource {
	return newHost("", app, note)
}

func newHost(root string, app Application, note func(line string, err error)) *host {
	h := &host{root: root, cpus: runtime.NumCPU(), owner: newOwner(root, app.Address, app.PID), named: app.Cgroup, note: note}
	if b, err := os.ReadFile(root + "/sys/devices/system/cpu/online"); err == nil {
		if n, err := parseCPUList(b); err == nil {
			h.cpus = n // the agent itself may be bound to some of them
		}
	}
	return h
}

func (h *host) sample(now balance.Instant) (metrics []balance.Metric, window time.Duration, err error) {
	if now >= h.look {
		if err := h.find(now); err != nil {
			return nil, 0, err // not even /proc is there
		}
	}
	var f found
	cpu, window := h.cpu(now)
	f.add(cpu, nil)
	if now >= h.slow {
		h.slow = now.Add(slowly)
		f.add(h.memory())
		f.add(h.network(now))
		f.add(h.load())
		for _, resource := range []string{"cpu", "memory", "io"} {
			f.add(h.pressure(resource))
		}
	}
	return f.metrics, window, f.err
}

// again has the next sample look for the application.
func (h *host) again() { h.look, h.failures = 0, 0 }

// found collects metrics, and errors about those that could not be read.
type found struct {
	metrics []balance.Metric
	err     error
}

func (f *found) add(metrics []balance.Metric, err error) {
	f.metrics = append(f.metrics, metrics...)
	f.err = errors.Join(f.err, err)
}

func one(name string, v float64) []balance.Metric {
	return []balance.Metric{{Name: name, Value: v}}
}

// find finds /proc, the application, and its limits.
func (h *host) find(now balance.Instant) error {
	proc, err := procfs.NewFS(h.root + "/proc")
	if err != nil {
		return err
	}
	h.proc = proc
	info, err := proc.Meminfo()
	if err != nil || info.MemTotalBytes == nil {
		return fmt.Errorf("meminfo without MemTotal: %w", err)
	}
	group, err := h.locate(*info.MemTotalBytes)
	if err == nil && group.name != h.group.name {
		h.used = rate.Counter{}
	}
	h.group, h.known = group, err == nil
	if h.known {
		h.failures = 0
	} else {
		h.failures++
	}
	h.look = now.Add(min(lookAgain<<min(h.failures, 10), lookAtLength))
	h.tell(err)
	return nil
}

// locate returns the application's control group, or why none is known.
func (h *host) locate(memory uint64) (cgroup, error) {
	if h.named != "" {
		places, err := namedHierarchies(h.root, h.named)
		if err != nil {
			return cgroup{}, err
		}
		return places.find(float64(h.cpus), memory, true)
	}
	pids, err := h.owner.find()
	if err != nil {
		return cgroup{}, err
	}
	places, err := hierarchiesOf(h.root, pids[0])
	if err != nil {
		return cgroup{}, err
	}
	if problem := h.strangers(pids); problem != nil {
		return cgroup{}, problem
	}
	trusted := h.owner.pid != ""
	group, err := places.find(float64(h.cpus), memory, trusted)
	if name := h.owner.command(pids[0]); err == nil && !trusted && slices.Contains(forwarders, name) {
		return cgroup{}, fmt.Errorf("%s listens at %s for an application in another control group: set cgroup", name, h.owner.address)
	}
	return group, err
}

// strangers returns why processes that all listen at the address are not one application.
func (h *host) strangers(pids []int) error {
	var names []string
	for _, pid := range pids {
		groups, err := os.ReadFile(h.owner.proc(pid, "cgroup"))
		if err != nil {
			continue // it has ended
		}
		for _, controller := range []string{"cpuacct", ""} {
			if group, ok := cgroupPath(groups, controller); ok {
				names = append(names, unit(group))
				break
			}
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > 1 {
		return fmt.Errorf("processes of several control groups listen at %s (%s, %s): set cgroup or pid", h.owner.address, short(names[0]), short(names[1]))
	}
	return nil
}

// tell notes what CPU is sampled, if that has changed.
func (h *host) tell(err error) {
	line := h.group.String()
	if err != nil {
		line = err.Error()
	}
	if line != h.noted {
		h.noted = line
		h.note(line, err)
	}
}

// cpu returns the utilisation of the application's group and the time that it is a mean over. It returns none rather than the whole
// machine's: that says little about the application, and would drive its requests away.
func (h *host) cpu(now balance.Instant) (metrics []balance.Metric, window time.Duration) {
	if !h.known {
		return nil, 0
	}
	ns, err := h.group.usage()
	if err != nil { // the group has ended with its application, which may be back in another
		h.look, h.used = now, rate.Counter{}
		return nil, 0
	}
	if v, window, ok := h.used.Step(now, float64(ns)); ok {
		return one(balance.CPUUtilization, v/1e9/h.group.cpus), window
	}
	return nil, 0
}

func (h *host) memory() ([]balance.Metric, error) {
	if h.group.memory > 0 {
		v, err := h.group.memoryUsed()
		if err != nil {
			return nil, fmt.Errorf("memory: %w", err)
		}
		return one(balance.MemUtilization, min(v, 1)), nil
	}
	info, err := h.proc.Meminfo()
	if err != nil {
		return nil, err
	}
	if info.MemTotal == nil || info.MemAvailable == nil || *info.MemTotal == 0 {
		return nil, errors.New("meminfo without MemTotal and MemAvailable")
	}
	return one(balance.MemUtilization, 1-min(1, float64(*info.MemAvailable)/float64(*info.MemTotal))), nil
}

func (h *host) network(now balance.Instant) ([]balance.Metric, error) {
	interfaces, err := h.proc.NetDev()
	if err != nil {
		return nil, err
	}
	var received, sent float64
	for name, line := range interfaces {
		if name != "lo" {
			received += float64(line.RxBytes)
			sent += float64(line.TxBytes)
		}
	}
	rx, _, ok := h.rx.Step(now, received)
	tx, _, ok2 := h.tx.Step(now, sent)
	if !ok || !ok2 {
		return nil, nil
	}
	return append(one("named_metrics.net_rx_bytes", rx), one("named_metrics.net_tx_bytes", tx)...), nil
}

func (h *host) load() ([]balance.Metric, error) {
	avg, err := h.proc.LoadAvg()
	if err != nil {
		return nil, err
	}
	n := float64(h.cpus)
	return []balance.Metric{
		{Name: "named_metrics.load1_per_cpu", Value: avg.Load1 / n},
		{Name: "named_metrics.load5_per_cpu", Value: avg.Load5 / n},
		{Name: "named_metrics.load15_per_cpu", Value: avg.Load15 / n},
	}, nil
}

// pressure tells how long tasks waited for a resource: those of the application's group if its
// kernel counts them, else all. Kernels without PSI have no such file.
func (h *host) pressure(resource string) ([]balance.Metric, error) {
	if resource == "cpu" && !h.known {
		return nil, nil
	}
	file := h.root + "/proc/pressure/" + resource
	if h.group.pressureDir != "" {
		file = path.Join(h.group.pressureDir, resource+".pressure")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, nil // off by boot option in some distributions, where reading fails too
	}
	some, full, err := parsePressure(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", resource, err)
	}
	name := "utilization.psi_" + resource
	return append(one(name, some), one(name+"_full", full)...), nil
}
