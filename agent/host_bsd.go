//go:build darwin || freebsd

package agent

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// host tells the load averages, which is what these systems give without cgo.
type host struct{ next balance.Instant }

func newHostSource(Application, func(string, error)) hostSource { return &host{} }

func (h *host) again() {}

func (h *host) sample(now balance.Instant) ([]balance.Metric, time.Duration, error) {
	if now < h.next {
		return nil, 0, nil
	}
	h.next = now.Add(time.Second)
	raw, err := unix.SysctlRaw("vm.loadavg")
	if err != nil {
		return nil, 0, fmt.Errorf("vm.loadavg: %w", err)
	}
	// struct loadavg { fixpt_t ldavg[3]; long fscale; }, the long aligned to its size.
	if len(raw) != 24 {
		return nil, 0, fmt.Errorf("vm.loadavg: %d bytes, want 24", len(raw))
	}
	var metrics []balance.Metric
	whole := float64(binary.LittleEndian.Uint64(raw[16:])) * float64(runtime.NumCPU())
	for i, name := range []string{loadOne, loadFive, loadFifteen} {
		metrics = append(metrics, balance.Metric{Name: name, Value: float64(binary.LittleEndian.Uint32(raw[4*i:])) / whole})
	}
	return metrics, 0, nil
}

const (
	loadOne     = "named_metrics.load1_per_cpu"
	loadFive    = "named_metrics.load5_per_cpu"
	loadFifteen = "named_metrics.load15_per_cpu"
)
