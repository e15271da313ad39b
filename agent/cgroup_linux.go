package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// cgroup is what is read of the application's control group: the one in which it is, or one
// around it, that limits it most.
type cgroup struct {
	name  string  // the group whose CPU time is read, as /proc has it
	quota float64 // the smallest on the way to the root, in CPUs; zero: none
	cpus  float64 // what the application may use: quota, or else the CPUs it may run on
	usage func() (nanoseconds uint64, err error)

	memDir   string // whose memory limit is the smallest; empty: there is none
	memory   uint64 // that limit, bytes
	v1Memory bool

	pressureDir string // has cpu.pressure, memory.pressure and io.pressure; empty: nothing counts them
}

// String tells what is sampled.
func (g *cgroup) String() string {
	if g.quota > 0 {
		return fmt.Sprintf("cgroup %s, quota %.4g", short(g.name), g.quota)
	}
	return fmt.Sprintf("cgroup %s, no quota, %.4g CPUs", short(g.name), g.cpus)
}

// hierarchies is where a process's control groups can be read.
type hierarchies struct {
	prefix  string // of every path
	groups  []byte // /proc/PID/cgroup
	mounts  []byte // /proc/PID/mountinfo of a process that sees them
	own     bool   // the groups are the agent's own, of which a container shows no more than the mount
	machine bool   // "/" is the machine's root group, not a container's
}

// initialCgroupNamespace is how the kernel calls the namespace that shows the machine's groups.
const initialCgroupNamespace = "cgroup:[4026531835]"

// hierarchiesOf returns where the control groups of a process are. One that is in another
// container is looked at through its own mounts.
func hierarchiesOf(root string, pid int) (hierarchies, error) {
	dir := fmt.Sprintf("%s/proc/%d", root, pid)
	h := hierarchies{prefix: root}
	var err, err2 error
	if h.groups, err = os.ReadFile(dir + "/cgroup"); err != nil {
		return h, err
	}
	h.mounts, err2 = os.ReadFile(root + "/proc/self/mountinfo")
	own, _ := os.ReadFile(root + "/proc/self/cgroup")
	h.own = slices.Equal(own, h.groups)
	namespace, err := os.Readlink(root + "/proc/self/ns/cgroup")
	h.machine = err != nil || namespace == initialCgroupNamespace
	if !h.visible() {
		if mounts, err := os.ReadFile(dir + "/mountinfo"); err == nil {
			h.mounts, h.prefix = mounts, dir+"/root"
		}
	}
	return h, err2
}

// namedHierarchies is for a group that the configuration names.
func namedHierarchies(root, group string) (hierarchies, error) {
	group = "/" + strings.Trim(strings.TrimPrefix(group, "/sys/fs/cgroup/"), "/")
	h := hierarchies{prefix: root, groups: []byte("0::" + group + "\n1:cpu,cpuacct,cpuset,memory:" + group + "\n"), machine: true}
	var err error
	h.mounts, err = os.ReadFile(root + "/proc/self/mountinfo")
	if err == nil && !h.visible() {
		err = fmt.Errorf("there is no control group %s, which cgroup names", short(group))
	}
	return h, err
}

// visible reports whether the directory of the process's CPU time can be found.
func (h *hierarchies) visible() bool {
	for _, controller := range []string{"cpuacct", ""} {
		if levels := h.levels(controller); len(levels) > 0 {
			if _, err := os.Stat(levels[0].dir); err == nil {
				return true
			}
		}
	}
	return false
}

// level is a control group and where it is.
type level struct{ name, dir string }

// levels returns the process's group of a controller, "" for v2, and all groups around it that
// can be seen, innermost first.
func (h *hierarchies) levels(controller string) []level {
	group, ok := cgroupPath(h.groups, controller)
	mount, ok2 := cgroupMount(h.mounts, controller)
	if !ok || !ok2 || !mount.shows(group) && !h.own {
		return nil
	}
	var levels []level
	for _, dir := range mount.levels(group) {
		levels = append(levels, level{group, h.prefix + dir})
		group = path.Dir(group)
	}
	return levels
}

// find reads which group the application is in and what limits it. cpus and memory are what
// the machine has: a limit of as much or more is none. Its error says why the group is not the
// application's own; with trusted a person has said that it is.
func (h *hierarchies) find(cpus float64, memory uint64, trusted bool) (cgroup, error) {
	g := cgroup{cpus: cpus}
	levels, v1 := h.levels("cpuacct"), true
	if len(levels) == 0 || levels[0].name == "/" && h.machine {
		if v2 := h.levels(""); len(v2) > 0 && (len(levels) == 0 || v2[0].name != "/") {
			levels, v1 = v2, false
		}
	}
	if len(levels) == 0 {
		return g, errors.New("its control group cannot be seen from here: share the application's mounts, run as root, or set cgroup")
	}
	at := 0
	own := unit(levels[0].name)
	for at+1 < len(levels) && levels[at].name != own {
		at++
	}
	if why := sharedUnit(levels[at].name, h.machine); why != "" && !trusted {
		return g, errors.New(why)
	}
	for _, l := range slices.Concat(h.levels(""), h.levels("cpuset")) {
		if n := readCPUs(l.dir); n > 0 && n < g.cpus {
			g.cpus = n
		}
	}
	g.limitCPU(h, &at, levels)
	g.name, g.usage = levels[at].name, usageOf(levels[at].dir, v1)
	if g.quota > 0 {
		g.cpus = min(g.cpus, g.quota)
	}
	if !v1 {
		if _, err := os.Stat(path.Join(levels[at].dir, "cpu.pressure")); err == nil {
			g.pressureDir = levels[at].dir
		}
	}
	g.limitMemory(h, memory)
	_, err := g.usage()
	return g, err
}

// limitCPU finds the smallest quota and, if it is less than the machine has, sets at to the
// level that has it: what uses it up is what limits the application.
func (g *cgroup) limitCPU(h *hierarchies, at *int, levels []level) {
	limit := func(quota float64, name string) {
		if quota <= 0 || quota >= g.cpus || g.quota > 0 && quota >= g.quota {
			return
		}
		g.quota = quota
		if i := slices.IndexFunc(levels, func(l level) bool { return l.name == name }); i >= 0 && !(name == "/" && h.machine) {
			*at = i
		}
	}
	for _, l := range h.levels("") {
		if b, err := os.ReadFile(path.Join(l.dir, "cpu.max")); err == nil {
			if quota, err := parseQuota(b); err == nil {
				limit(quota, l.name)
			}
		}
	}
	for _, l := range h.levels("cpu") {
		quota, err := os.ReadFile(path.Join(l.dir, "cpu.cfs_quota_us"))
		period, err2 := os.ReadFile(path.Join(l.dir, "cpu.cfs_period_us"))
		if err != nil || err2 != nil {
			continue
		}
		if n, err := quotaOf(string(quota), string(period)); err == nil {
			limit(n, l.name)
		}
	}
}

// usageOf returns what reads the CPU time that a group has used.
func usageOf(dir string, v1 bool) func() (uint64, error) {
	if v1 {
		file := path.Join(dir, "cpuacct.usage")
		return func() (uint64, error) { return readLimit(file) }
	}
	file := path.Join(dir, "cpu.stat")
	return func() (uint64, error) {
		b, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		µs, err := parseKeyed(b, "usage_usec")
		return µs * 1000, err
	}
}

// readCPUs returns on how many CPUs a group's tasks may run, zero if its files do not tell.
func readCPUs(dir string) float64 {
	for _, file := range []string{"cpuset.cpus.effective", "cpuset.effective_cpus"} {
		if b, err := os.ReadFile(path.Join(dir, file)); err == nil {
			if n, err := parseCPUList(b); err == nil {
				return float64(n)
			}
		}
	}
	return 0
}

func (g *cgroup) limitMemory(h *hierarchies, memory uint64) {
	limit := func(dir, file string, v1 bool) {
		n, err := readLimit(path.Join(dir, file))
		if err == nil && n > 0 && n < memory && (g.memory == 0 || n < g.memory) {
			g.memDir, g.memory, g.v1Memory = dir, n, v1
		}
	}
	for _, l := range h.levels("") {
		limit(l.dir, "memory.max", false)
	}
	for _, l := range h.levels("memory") {
		limit(l.dir, "memory.limit_in_bytes", true)
	}
}

// memoryUsed returns the fraction of the limit in use. Inactive files in the page cache do not count, because the kernel reclaims them
// before an allocation fails.
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
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%s is gone", path.Base(file))
	}
	if err != nil {
		return 0, err
	}
	return parseLimit(b)
}
