package agent

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// tree is a machine's /proc and /sys as files of a directory.
type tree string

func (root tree) write(t *testing.T, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(string(root), name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func plainMachine(t *testing.T) tree {
	root := tree(t.TempDir())
	root.write(t, map[string]string{
		"/proc/stat":            "cpu 100 0 0 900 0 0 0 0 0 0\ncpu0 1 2 3\n",
		"/proc/meminfo":         "MemTotal:       1000 kB\nMemAvailable:    400 kB\n",
		"/proc/loadavg":         "4.00 2.00 1.00 1/100 999\n",
		"/proc/net/dev":         "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo: 999 0 0 0 0 0 0 0 999 0 0 0 0 0 0 0\n  eth0: 1000 0 0 0 0 0 0 0 2000 0 0 0 0 0 0 0\n  eth1: 1 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0\n",
		"/proc/pressure/cpu":    "some avg10=10.00 avg60=0 avg300=0 total=0\nfull avg10=1.00 avg60=0 avg300=0 total=0\n",
		"/proc/pressure/memory": "some avg10=20.00 avg60=0 avg300=0 total=0\nfull avg10=2.00 avg60=0 avg300=0 total=0\n",
	})
	return root
}

// sampled samples and returns the metrics by name.
func sampled(t *testing.T, h *host, at time.Duration) map[string]float64 {
	t.Helper()
	metrics, err := h.sample(balance.Instant(time.Hour + at))
	if err != nil {
		t.Errorf("sample at %v: %v", at, err)
	}
	got := make(map[string]float64)
	for _, m := range metrics {
		got[m.Name] = m.Value
	}
	return got
}

func expectMetrics(t *testing.T, got, want map[string]float64) {
	t.Helper()
	for name, v := range want {
		if have, ok := got[name]; !ok || math.Abs(have-v) > 1e-9 {
			t.Errorf("%s: got %v (told: %v), want %v", name, have, ok, v)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s = %v is not wanted", name, got[name])
		}
	}
}

func TestHostUnlimited(t *testing.T) {
	root := plainMachine(t)
	h := newHost(string(root))
	h.cpus = 2
	expectMetrics(t, sampled(t, h, 0), map[string]float64{
		"mem_utilization":             .6,
		"named_metrics.load1_per_cpu": 2, "named_metrics.load5_per_cpu": 1, "named_metrics.load15_per_cpu": .5,
		"utilization.psi_cpu": .1, "utilization.psi_cpu_full": .01, "utilization.psi_memory": .2, "utilization.psi_memory_full": .02,
	})
	root.write(t, map[string]string{
		"/proc/stat":    "cpu 115 0 0 905 0 0 0 0 0 0\n",
		"/proc/net/dev": "Inter-| Receive | Transmit\n face |bytes|bytes\n    lo: 99999 0 0 0 0 0 0 0 999 0 0 0 0 0 0 0\n  eth0: 1100 0 0 0 0 0 0 0 2050 0 0 0 0 0 0 0\n  eth1: 1 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0\n",
	})
	expectMetrics(t, sampled(t, h, 100*time.Millisecond), map[string]float64{
		"cpu_utilization": .75, "mem_utilization": .6, "named_metrics.net_rx_bytes": 1000, "named_metrics.net_tx_bytes": 500,
	})
}

func TestHostLimitedByCgroupV2(t *testing.T) {
	root := plainMachine(t)
	root.write(t, map[string]string{
		"/proc/self/cgroup":                    "0::/slice/unit\n",
		"/proc/self/mountinfo":                 "31 25 0:31 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
		"/sys/fs/cgroup/slice/unit/cpu.max":    "max 100000\n",
		"/sys/fs/cgroup/slice/cpu.max":         "50000 100000\n",
		"/sys/fs/cgroup/slice/cpu.stat":        "usage_usec 1000000\nuser_usec 5\n",
		"/sys/fs/cgroup/slice/cpu.pressure":    "some avg10=50.00 avg60=0 avg300=0 total=0\n",
		"/sys/fs/cgroup/slice/unit/memory.max": "10000\n", "/sys/fs/cgroup/slice/unit/memory.current": "9000\n",
		"/sys/fs/cgroup/slice/unit/memory.stat": "anon 1\ninactive_file 4000\n",
		"/sys/fs/cgroup/slice/memory.max":       "max\n",
	})
	h := newHost(string(root))
	h.cpus = 4
	if got := sampled(t, h, 0); got["utilization.psi_cpu"] != .5 || got["mem_utilization"] != .5 {
		t.Errorf("pressure and memory of the group: got %v", got)
	}
	root.write(t, map[string]string{"/sys/fs/cgroup/slice/cpu.stat": "usage_usec 1040000\n"})
	if got := sampled(t, h, 100*time.Millisecond)["cpu_utilization"]; math.Abs(got-.8) > 1e-9 {
		t.Errorf("40 ms of CPU in 100 ms on half a CPU: got %v, want .8", got)
	}
	root.write(t, map[string]string{"/sys/fs/cgroup/slice/cpu.max": "max 100000\n"})
	sampled(t, h, limitsHold)
	if h.group.cpus != 0 {
		t.Errorf("quota lifted: still %v", h.group.cpus)
	}
}

func TestHostLimitedByCgroupV1(t *testing.T) {
	root := plainMachine(t)
	root.write(t, map[string]string{
		"/proc/self/cgroup":                            "4:memory:/docker/x\n2:cpu,cpuacct:/docker/x\n",
		"/proc/self/mountinfo":                         "30 25 0:30 /docker/x /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n31 25 0:31 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
		"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":  "200000\n",
		"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
		"/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage":     "1000000000\n",
		"/sys/fs/cgroup/memory/memory.limit_in_bytes":  "500000\n",
		"/sys/fs/cgroup/memory/memory.usage_in_bytes":  "300000\n",
		"/sys/fs/cgroup/memory/memory.stat":            "inactive_file 1\ntotal_inactive_file 50000\n",
	})
	h := newHost(string(root))
	h.cpus = 4
	if got := sampled(t, h, 0)["mem_utilization"]; got != .5 {
		t.Errorf("memory: got %v, want .5", got)
	}
	root.write(t, map[string]string{"/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage": "1100000000\n"})
	if got := sampled(t, h, 100*time.Millisecond)["cpu_utilization"]; math.Abs(got-.5) > 1e-9 {
		t.Errorf("100 ms of CPU in 100 ms on 2 CPUs: got %v, want .5", got)
	}
}

func TestHostLimitBeyondTheMachineIsNone(t *testing.T) {
	root := plainMachine(t)
	root.write(t, map[string]string{
		"/proc/self/cgroup":    "4:memory:/\n2:cpu,cpuacct:/\n",
		"/proc/self/mountinfo": "30 25 0:30 / /c rw - cgroup cgroup rw,cpu,cpuacct\n31 25 0:31 / /m rw - cgroup cgroup rw,memory\n",
		"/c/cpu.cfs_quota_us":  "-1\n", "/c/cpu.cfs_period_us": "100000\n",
		"/m/memory.limit_in_bytes": "9223372036854771712\n",
	})
	h := newHost(string(root))
	if got := sampled(t, h, 0)["mem_utilization"]; got != .6 || h.group.cpus != 0 {
		t.Errorf("memory %v, want the machine's .6; quota %v, want none", got, h.group.cpus)
	}
}

func TestHostWithoutFiles(t *testing.T) {
	h := newHost(t.TempDir())
	if metrics, err := h.sample(1); len(metrics) > 0 || err == nil {
		t.Errorf("no /proc: got %v, %v", metrics, err)
	}
	root := plainMachine(t)
	if err := os.Remove(string(root) + "/proc/loadavg"); err != nil {
		t.Fatal(err)
	}
	metrics, err := newHost(string(root)).sample(1)
	if err == nil || !strings.Contains(err.Error(), "loadavg") || len(metrics) == 0 {
		t.Errorf("without loadavg: got %v, %v, want the others and an error that names it", metrics, err)
	}
}

func TestHostHere(t *testing.T) {
	h := newHost("")
	h.sample(balance.Instant(time.Hour))
	metrics, err := h.sample(balance.Instant(time.Hour + time.Second))
	if err != nil {
		t.Logf("this machine does not tell everything: %v", err)
	}
	for _, m := range metrics {
		if !believable(m.Value) {
			t.Errorf("%s = %v", m.Name, m.Value)
		}
	}
}
