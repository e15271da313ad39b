package agent

import (
	"errors"
	"io/fs"
	"os"
	"path"
)

// cgroup is the control group, ours or one around it, that limits us most. A field is
// empty or zero where nothing limits.
type cgroup struct {
	cpuDir string  // whose quota is the smallest
	cpus   float64 // that quota
	usage  func() (nanoseconds uint64, err error)

	memDir   string // whose memory limit is the smallest
	memory   uint64 // that limit, bytes
	v1Memory bool

	pressureDir string // has cpu.pressure, memory.pressure and io.pressure
}

// findCgroup reads what limits the agent's process. root is prefixed to every path;
// cpus and memory are what the machine has: a limit of as much or more is none. A
// machine without control groups has no limit, which is no error.
func findCgroup(root string, cpus int, memory uint64) (cgroup, error) {
	var g cgroup
	groups, err := os.ReadFile(root + "/proc/self/cgroup")
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	mounts, err2 := os.ReadFile(root + "/proc/self/mountinfo")
	if err := errors.Join(err, err2); err != nil {
		return g, err
	}
	dirs := func(controller string) []string {
		group, ok := cgroupPath(groups, controller)
		mount, ok2 := cgroupMount(mounts, controller)
		if !ok || !ok2 {
			return nil
		}
		mount.point = root + mount.point
		return mount.levels(group)
	}
	g.limitCPU(dirs, float64(cpus))
	g.limitMemory(dirs, memory)
	return g, nil
}

// limitCPU looks at v2 and then at v1. Files that are not there, as in the outermost
// group, set no limit.
func (g *cgroup) limitCPU(dirs func(controller string) []string, cpus float64) {
	limit := func(dir string, quota float64) bool {
		if quota <= 0 || quota >= cpus || g.cpus > 0 && quota >= g.cpus {
			return false
		}
		g.cpuDir, g.cpus = dir, quota
		return true
	}
	for _, dir := range dirs("") {
		b, err := os.ReadFile(path.Join(dir, "cpu.max"))
		if quota, bad := parseQuota(b); err == nil && bad == nil && limit(dir, quota) {
			g.usage = func() (uint64, error) {
				b, err := os.ReadFile(path.Join(dir, "cpu.stat"))
				if err != nil {
					return 0, err
				}
				µs, err := parseKeyed(b, "usage_usec")
				return µs * 1000, err
			}
			if _, err := os.Stat(path.Join(dir, "cpu.pressure")); err == nil {
				g.pressureDir = dir
			}
		}
	}
	accounts := dirs("cpuacct")
	for i, dir := range dirs("cpu") {
		quota, err := os.ReadFile(path.Join(dir, "cpu.cfs_quota_us"))
		period, err2 := os.ReadFile(path.Join(dir, "cpu.cfs_period_us"))
		if err != nil || err2 != nil || i >= len(accounts) {
			continue
		}
		if n, err := quotaOf(string(quota), string(period)); err == nil && limit(dir, n) {
			account := accounts[i]
			g.usage = func() (uint64, error) { return readLimit(path.Join(account, "cpuacct.usage")) }
		}
	}
}

func (g *cgroup) limitMemory(dirs func(controller string) []string, memory uint64) {
	limit := func(dir, file string, v1 bool) {
		n, err := readLimit(path.Join(dir, file))
		if err == nil && n > 0 && n < memory && (g.memory == 0 || n < g.memory) {
			g.memDir, g.memory, g.v1Memory = dir, n, v1
		}
	}
	for _, dir := range dirs("") {
		limit(dir, "memory.max", false)
	}
	for _, dir := range dirs("memory") {
		limit(dir, "memory.limit_in_bytes", true)
	}
}

// memoryUsed returns the fraction of the limit in use. Files in the page cache that
// nobody has touched lately are given up before anything fails, so they do not count.
func (g *cgroup) memoryUsed() (float64, error) {
	current, inactive := "memory.current", "inactive_file"
	if g.v1Memory {
		current, inactive = "memory.usage_in_bytes", "total_inactive_file"
	}
	used, err := readLimit(path.Join(g.memDir, current))
	if err != nil {
		return 0, err
	}
	stat, err := os.ReadFile(path.Join(g.memDir, "memory.stat"))
	if err != nil {
		return 0, err
	}
	idle, err := parseKeyed(stat, inactive)
	return float64(used-min(used, idle)) / float64(g.memory), err
}

func readLimit(file string) (uint64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return parseLimit(b)
}
