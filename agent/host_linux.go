package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"time"

	"github.com/prometheus/procfs"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// host samples the machine, or the control group that limits us.
type host struct {
	root   string // prefixed to /proc and /sys; empty but in tests
	cpus   int
	proc   procfs.FS
	group  cgroup
	slow   balance.Instant // when to take again what changes slowly
	limits balance.Instant // when to look again for limits

	busy, all, used, rx, tx rate
}

const (
	slowly     = time.Second      // between readings of averages that the kernel itself makes
	limitsHold = 10 * time.Second // between looks for limits, which an operator may change
)

func newHostSource() hostSource { return newHost("") }

func newHost(root string) *host {
	return &host{root: root, cpus: runtime.NumCPU()}
}

func (h *host) sample(now balance.Instant) ([]balance.Metric, error) {
	if now >= h.limits {
		if err := h.look(); err != nil {
			return nil, err // not even /proc is there
		}
		h.limits = now.Add(limitsHold)
	}
	var f found
	f.add(h.cpu(now))
	f.add(h.memory())
	f.add(h.network(now))
	if now >= h.slow {
		h.slow = now.Add(slowly)
		f.add(h.load())
		for _, resource := range []string{"cpu", "memory", "io"} {
			f.add(h.pressure(resource))
		}
	}
	return f.metrics, f.err
}

// found gathers metrics, and errors about those that could not be had.
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

// look finds /proc and the limits.
func (h *host) look() error {
	proc, err := procfs.NewFS(h.root + "/proc")
	if err != nil {
		return err
	}
	h.proc = proc
	info, err := proc.Meminfo()
	if err != nil || info.MemTotalBytes == nil {
		return fmt.Errorf("meminfo without MemTotal: %w", err)
	}
	group, err := findCgroup(h.root, h.cpus, *info.MemTotalBytes)
	if group.cpuDir != h.group.cpuDir {
		h.used = rate{}
	}
	h.group = group
	return err
}

func (h *host) cpu(now balance.Instant) ([]balance.Metric, error) {
	if h.group.cpus > 0 {
		ns, err := h.group.usage()
		if err != nil {
			return nil, fmt.Errorf("cpu: %w", err)
		}
		if v, ok := h.used.step(now, float64(ns)); ok {
			return one(balance.CPUUtilization, v/1e9/h.group.cpus), nil
		}
		return nil, nil
	}
	first, err := h.firstOfStat()
	if err != nil {
		return nil, err
	}
	t, err := parseCPUTimes(first)
	if err != nil {
		return nil, err
	}
	busy, _ := h.busy.step(now, float64(t.busy))
	if all, ok := h.all.step(now, float64(t.all)); ok && all > 0 {
		return one(balance.CPUUtilization, busy/all), nil
	}
	return nil, nil
}

// firstOfStat reads no more of /proc/stat than its first line: the rest is long on
// machines with many interrupts.
func (h *host) firstOfStat() ([]byte, error) {
	f, err := os.Open(h.root + "/proc/stat")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, 512)
	n, err := io.ReadFull(f, b)
	if err == io.ErrUnexpectedEOF {
		err = nil
	}
	return b[:n], err
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
	rx, ok := h.rx.step(now, received)
	tx, ok2 := h.tx.step(now, sent)
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

// pressure tells how long tasks waited for a resource: those of our group if it is
// limited and its kernel counts them, else all. Kernels without PSI have no such file.
func (h *host) pressure(resource string) ([]balance.Metric, error) {
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
