package agent

import (
	"fmt"
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
	metrics, _, err := h.sample(balance.Instant(time.Hour + at))
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

// notes are what a host has said of the CPU that it samples.
type notes []string

func (n *notes) take(line string, _ error) { *n = append(*n, line) }

func (n *notes) expect(t *testing.T, want ...string) {
	t.Helper()
	ok := len(*n) == len(want)
	for i := range want {
		ok = ok && strings.Contains((*n)[i], want[i])
	}
	if !ok {
		t.Errorf("noted %q, want %q", *n, want)
	}
	*n = nil
}

// hostOf returns a host for an application that is process 77.
func hostOf(root tree, cpus int) (*host, *notes) {
	n := &notes{}
	h := newHost(string(root), Application{PID: "77"}, n.take)
	h.cpus = cpus
	return h, n
}

func TestHostUnlimited(t *testing.T) {
	root := plainMachine(t)
	root.write(t, map[string]string{
		"/proc/77/cgroup":                                                    "0::/system.slice/app.service/main\n",
		"/proc/self/mountinfo":                                               "31 25 0:31 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
		"/sys/fs/cgroup/cpu.stat":                                            "usage_usec 9000000\n",
		"/sys/fs/cgroup/system.slice/cpu.stat":                               "usage_usec 8000000\n",
		"/sys/fs/cgroup/system.slice/app.service/cpu.stat":                   "usage_usec 1000000\n",
		"/sys/fs/cgroup/system.slice/app.service/main/cpu.stat":              "usage_usec 900000\n",
		"/sys/fs/cgroup/system.slice/app.service/main/cpu.max":               "max 100000\n",
		"/sys/fs/cgroup/system.slice/app.service/main/cpuset.cpus.effective": "0-3\n",
	})
	h, noted := hostOf(root, 8)
	expectMetrics(t, sampled(t, h, 0), map[string]float64{
		"mem_utilization":             .6,
		"named_metrics.load1_per_cpu": .5, "named_metrics.load5_per_cpu": .25, "named_metrics.load15_per_cpu": .125,
		"utilization.psi_cpu": .1, "utilization.psi_cpu_full": .01, "utilization.psi_memory": .2, "utilization.psi_memory_full": .02,
	})
	noted.expect(t, "cgroup system.slice/app.service, no quota, 4 CPUs")
	root.write(t, map[string]string{
		"/sys/fs/cgroup/system.slice/app.service/cpu.stat": "usage_usec 2000000\n",
		"/proc/net/dev": "Inter-| Receive | Transmit\n face |bytes|bytes\n    lo: 99999 0 0 0 0 0 0 0 999 0 0 0 0 0 0 0\n  eth0: 1100 0 0 0 0 0 0 0 2050 0 0 0 0 0 0 0\n  eth1: 1 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0\n",
	})
	expectMetrics(t, sampled(t, h, 500*time.Millisecond), map[string]float64{"cpu_utilization": .5})
	expectMetrics(t, sampled(t, h, slowly), map[string]float64{
		"cpu_utilization": 0, "mem_utilization": .6, "named_metrics.net_rx_bytes": 100 / slowly.Seconds(), "named_metrics.net_tx_bytes": 50 / slowly.Seconds(),
		"named_metrics.load1_per_cpu": .5, "named_metrics.load5_per_cpu": .25, "named_metrics.load15_per_cpu": .125,
		"utilization.psi_cpu": .1, "utilization.psi_cpu_full": .01, "utilization.psi_memory": .2, "utilization.psi_memory_full": .02,
	})
	noted.expect(t)
}

func TestMemoryLimitIsTheSmallest(t *testing.T) {
	root := plainMachine(t)
	if got := memoryLimit(string(root), 77); got != 1000<<10 {
		t.Errorf("without groups: got %d, want the machine's", got)
	}
	root.write(t, map[string]string{
		"/proc/77/cgroup":                      "0::/slice/unit\n",
		"/proc/self/mountinfo":                 "31 25 0:31 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
		"/sys/fs/cgroup/slice/unit/memory.max": "max\n",
		"/sys/fs/cgroup/slice/memory.max":      "10000\n",
	})
	if got := memoryLimit(string(root), 77); got != 10000 {
		t.Errorf("got %d, want the limit of a group around it, 10000", got)
	}
}

func TestHostLimitedByCgroupV2(t *testing.T) {
	root := plainMachine(t)
	root.write(t, map[string]string{
		"/proc/77/cgroup":                      "0::/slice/unit\n",
		"/proc/self/mountinfo":                 "31 25 0:31 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
		"/sys/fs/cgroup/slice/unit/cpu.max":    "max 100000\n",
		"/sys/fs/cgroup/slice/unit/cpu.stat":   "usage_usec 1\n",
		"/sys/fs/cgroup/slice/cpu.max":         "50000 100000\n",
		"/sys/fs/cgroup/slice/cpu.stat":        "usage_usec 1000000\nuser_usec 5\n",
		"/sys/fs/cgroup/slice/cpu.pressure":    "some avg10=50.00 avg60=0 avg300=0 total=0\n",
		"/sys/fs/cgroup/slice/unit/memory.max": "10000\n", "/sys/fs/cgroup/slice/unit/memory.current": "9000\n",
		"/sys/fs/cgroup/slice/unit/memory.stat": "anon 1\ninactive_file 4000\n",
		"/sys/fs/cgroup/slice/memory.max":       "max\n",
	})
	h, noted := hostOf(root, 4)
	if got := sampled(t, h, 0); got["utilization.psi_cpu"] != .5 || got["mem_utilization"] != .5 {
		t.Errorf("pressure and memory of the group: got %v", got)
	}
	noted.expect(t, "cgroup slice, quota 0.5")
	root.write(t, map[string]string{"/sys/fs/cgroup/slice/cpu.stat": "usage_usec 1040000\n"})
	if got := sampled(t, h, 100*time.Millisecond)["cpu_utilization"]; math.Abs(got-.8) > 1e-9 {
		t.Errorf("40 ms of CPU in 100 ms on half a CPU: got %v, want .8", got)
	}
	root.write(t, map[string]string{"/sys/fs/cgroup/slice/cpu.max": "25000 100000\n"})
	if got, seen := sampled(t, h, lookAgain)["cpu_utilization"]; seen && got < 0 {
		t.Errorf("got %v", got)
	}
	noted.expect(t, "cgroup slice, quota 0.25")
	root.write(t, map[string]string{"/sys/fs/cgroup/slice/cpu.max": "max 100000\n"})
	sampled(t, h, 2*lookAgain)
	noted.expect(t, "cgroup slice/unit, no quota, 4 CPUs")
}

func TestHostLimitedByCgroupV1(t *testing.T) {
	root := plainMachine(t)
	root.write(t, map[string]string{
		"/proc/77/cgroup":                              "4:memory:/docker/x\n2:cpu,cpuacct:/docker/x\n",
		"/proc/self/mountinfo":                         "30 25 0:30 /docker/x /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n31 25 0:31 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
		"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":  "200000\n",
		"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
		"/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage":     "1000000000\n",
		"/sys/fs/cgroup/memory/memory.limit_in_bytes":  "500000\n",
		"/sys/fs/cgroup/memory/memory.usage_in_bytes":  "300000\n",
		"/sys/fs/cgroup/memory/memory.stat":            "inactive_file 1\ntotal_inactive_file 50000\n",
	})
	h, noted := hostOf(root, 4)
	if got := sampled(t, h, 0)["mem_utilization"]; got != .5 {
		t.Errorf("memory: got %v, want .5", got)
	}
	noted.expect(t, "cgroup docker/x, quota 2")
	root.write(t, map[string]string{"/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage": "1100000000\n"})
	if got := sampled(t, h, 100*time.Millisecond)["cpu_utilization"]; math.Abs(got-.5) > 1e-9 {
		t.Errorf("100 ms of CPU in 100 ms on 2 CPUs: got %v, want .5", got)
	}
}

// Where the application has no control group of its own, no CPU is reported at all.
func TestHostReportsNoCPUOfOthers(t *testing.T) {
	v1 := "30 25 0:30 / /c rw - cgroup cgroup rw,cpu,cpuacct\n31 25 0:31 / /m rw - cgroup cgroup rw,memory\n"
	v2 := "31 25 0:31 / /u rw - cgroup2 cgroup2 rw\n"
	for _, test := range []struct{ groups, mounts, want string }{
		{"4:memory:/a\n2:cpu,cpuacct:/\n", v1, "root control group"},
		{"0::/\n", v2, "root control group"},
		{"0::/user.slice/user-0.slice/session-3.scope\n", v2, "login session"},
		{"0::/../other\n", v2, "cannot be seen from here"},
		{"0::/app\n", "", "cannot be seen from here"},
	} {
		root := plainMachine(t)
		root.write(t, map[string]string{"/proc/77/cgroup": test.groups, "/proc/self/mountinfo": test.mounts,
			"/c/cpu.cfs_quota_us": "-1\n", "/c/cpu.cfs_period_us": "100000\n", "/c/cpuacct.usage": "1\n", "/u/cpu.stat": "usage_usec 1\n",
			"/m/memory.limit_in_bytes": "9223372036854771712\n"})
		h, noted := hostOf(root, 4)
		h.owner.pid, h.owner.address = "", "127.0.0.1:8000" // it is not named, but found
		root.write(t, map[string]string{"/proc/net/tcp": "0: 0100007F:1F40 00000000:0000 0A 0:0 0:0 0 0 0 5 1\n"})
		root.link(t, "/proc/77/fd/3", "socket:[5]")
		for at := range 3 {
			got := sampled(t, h, time.Duration(at)*slowly)
			for _, name := range []string{"cpu_utilization", "utilization.psi_cpu", "utilization.psi_cpu_full"} {
				if v, ok := got[name]; ok {
					t.Errorf("%q: %s = %v is told", test.groups, name, v)
				}
			}
			if _, ok := got["mem_utilization"]; !ok {
				t.Errorf("%q: the machine's memory is not told", test.groups)
			}
		}
		noted.expect(t, test.want)
	}
}

func (root tree) link(t *testing.T, name, to string) {
	t.Helper()
	name = filepath.Join(string(root), name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

// process writes a process that listens at 127.0.0.1:8000.
func (root tree) process(t *testing.T, pid, inode int, group string) {
	t.Helper()
	root.write(t, map[string]string{
		"/proc/net/tcp":                     fmt.Sprintf("  sl  local_address\n0: 0100007F:1F40 00000000:0000 0A 0:0 0:0 0 0 0 %d 1\n1: 0100007F:1F40 0100007F:AAAA 01 0:0 0:0 0 0 0 1 1\n", inode),
		fmt.Sprintf("/proc/%d/cgroup", pid): "0::" + group + "\n",
		fmt.Sprintf("/proc/%d/comm", pid):   "app\n",
		"/u" + group + "/cpu.stat":          "usage_usec 1\n",
		"/u" + group + "/cpu.max":           "40000 100000\n",
	})
	root.link(t, fmt.Sprintf("/proc/%d/fd/3", pid), fmt.Sprintf("socket:[%d]", inode))
}

// The application is followed when it ends and is back as another process, in the same
// control group or in another.
func TestHostFollowsTheListener(t *testing.T) {
	root := plainMachine(t)
	root.write(t, map[string]string{"/proc/self/mountinfo": "31 25 0:31 / /u rw - cgroup2 cgroup2 rw\n", "/proc/net/tcp": "", "/proc/1/comm": "systemd\n"})
	n := notes{}
	h := newHost(string(root), Application{Address: "127.0.0.1:8000"}, n.take)
	h.cpus = 2
	at := time.Duration(0)
	look := func() {
		t.Helper()
		at += lookAgain
		h.again()
		sampled(t, h, at)
	}
	look()
	n.expect(t, "nothing listens at 127.0.0.1:8000")
	root.process(t, 10, 5, "/run-1.scope")
	root.link(t, "/proc/1/fd/9", "socket:[5]") // the service manager keeps the socket, too
	look()
	n.expect(t, "cgroup run-1.scope, quota 0.4")
	look()
	n.expect(t)
	if err := os.RemoveAll(string(root) + "/proc/10"); err != nil {
		t.Fatal(err)
	}
	root.process(t, 12, 6, "/run-2.scope")
	look()
	n.expect(t, "cgroup run-2.scope, quota 0.4")
	root.process(t, 13, 6, "/run-2.scope") // it forks
	look()
	n.expect(t)
	if err := os.RemoveAll(string(root) + "/u/run-2.scope"); err != nil { // ends, and its group with it
		t.Fatal(err)
	}
	for _, pid := range []string{"12", "13"} {
		if err := os.RemoveAll(string(root) + "/proc/" + pid); err != nil {
			t.Fatal(err)
		}
	}
	root.process(t, 14, 7, "/run-3.scope")
	sampled(t, h, at+500*time.Millisecond)
	sampled(t, h, at+1000*time.Millisecond)
	n.expect(t, "cgroup run-3.scope, quota 0.4") // at once, not at the next look
	root.process(t, 15, 7, "/run-4.scope")
	h.owner.holders = nil
	look()
	n.expect(t, "several control groups listen at 127.0.0.1:8000 (run-3.scope, run-4.scope)")
}

func TestHostThatIsToldWhatToSample(t *testing.T) {
	root := plainMachine(t)
	root.write(t, map[string]string{"/proc/self/mountinfo": "31 25 0:31 / /u rw - cgroup2 cgroup2 rw\n",
		"/u/cpu.stat": "usage_usec 1\n", "/u/app/cpu.stat": "usage_usec 1\n", "/proc/8/cgroup": "0::/app\n", "/run/app.pid": "8\n"})
	for _, test := range []struct {
		app  Application
		want string
	}{
		{Application{Cgroup: "app"}, "cgroup app, no quota, 2 CPUs"},
		{Application{Cgroup: "/app/"}, "cgroup app, no quota, 2 CPUs"},
		{Application{Cgroup: "/sys/fs/cgroup/app"}, "cgroup app, no quota, 2 CPUs"},
		{Application{Cgroup: "/"}, "cgroup /, no quota, 2 CPUs"}, // a person may mean the whole machine
		{Application{Cgroup: "other"}, "no control group other"},
		{Application{PID: "8"}, "cgroup app, no quota, 2 CPUs"},
		{Application{PID: "/run/app.pid"}, "cgroup app, no quota, 2 CPUs"},
		{Application{PID: "9"}, "no process 9"},
		{Application{PID: "/run/other.pid"}, "no such file"},
	} {
		n := notes{}
		h := newHost(string(root), test.app, n.take)
		h.cpus = 2
		sampled(t, h, 0)
		n.expect(t, test.want)
	}
}

func TestHostWithoutFiles(t *testing.T) {
	h, _ := hostOf(tree(t.TempDir()), 1)
	if metrics, _, err := h.sample(1); len(metrics) > 0 || err == nil {
		t.Errorf("no /proc: got %v, %v", metrics, err)
	}
	root := plainMachine(t)
	if err := os.Remove(string(root) + "/proc/loadavg"); err != nil {
		t.Fatal(err)
	}
	alone, _ := hostOf(root, 1)
	metrics, _, err := alone.sample(1)
	if err == nil || !strings.Contains(err.Error(), "loadavg") || len(metrics) == 0 {
		t.Errorf("without loadavg: got %v, %v, want the others and an error that names it", metrics, err)
	}
}

func TestHostHere(t *testing.T) {
	h := newHost("", Application{Address: "127.0.0.1:1"}, func(string, error) {})
	h.sample(balance.Instant(time.Hour))
	metrics, window, err := h.sample(balance.Instant(time.Hour + time.Second))
	if err != nil {
		t.Logf("this machine does not tell everything: %v", err)
	}
	told := false
	for _, m := range metrics {
		if !believable(m.Value) {
			t.Errorf("%s = %v", m.Name, m.Value)
		}
		told = told || m.Name == balance.CPUUtilization
	}
	if told != (window == time.Second) {
		t.Errorf("CPU's utilisation told: %v, over %v, want a second if it is", told, window)
	}
}
