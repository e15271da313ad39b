// Package quota puts processes into control groups with a CPU quota, for tests and benchmarks.
// It needs the right to make control groups, which root has.
package quota

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// period is the period of a quota, the kernel's default.
const period = 100 * time.Millisecond

// Group is a control group that was made here.
type Group struct {
	Name string   // as /proc/PID/cgroup has it, without the leading slash
	dirs []string // where it is: one directory with v2, with v1 one of cpu and one of cpuacct
	v2   bool
}

// mounts are where the hierarchies are, as every distribution has them.
const mounts = "/sys/fs/cgroup"

// Available returns nil if groups can be made here, or why not and what to do about it.
func Available() error {
	g, err := New("evenkeel-try-"+strconv.Itoa(os.Getpid()), 1)
	if err != nil {
		return fmt.Errorf("no control group with a CPU quota can be made: %w; run as root on a machine or in a privileged container (docker run --privileged --cgroupns=host), where %s is writable", err, mounts)
	}
	return g.Close()
}

// New makes a group, below the root, that may use so many CPUs.
func New(name string, cpus float64) (*Group, error) {
	g := &Group{Name: name}
	if _, err := os.Stat(mounts + "/cgroup.controllers"); err == nil {
		g.v2, g.dirs = true, []string{filepath.Join(mounts, name)}
		if err := enable(filepath.Dir(g.dirs[0])); err != nil {
			return nil, err
		}
	} else {
		cpu, account := hierarchy("cpu"), hierarchy("cpuacct")
		if cpu == "" || account == "" {
			return nil, fmt.Errorf("neither %s/cgroup.controllers nor %s/cpu and %s/cpuacct is there", mounts, mounts, mounts)
		}
		g.dirs = []string{filepath.Join(cpu, name)}
		if account != cpu {
			g.dirs = append(g.dirs, filepath.Join(account, name))
		}
	}
	for _, dir := range g.dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, errors.Join(err, g.Close())
		}
	}
	if err := g.Set(cpus); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// hierarchy returns where a v1 controller is mounted, "" if it is not.
func hierarchy(controller string) string {
	for _, name := range []string{controller, "cpu,cpuacct", "cpuacct,cpu"} {
		dir := filepath.Join(mounts, name)
		if _, err := os.Stat(dir + "/cgroup.procs"); err == nil {
			return dir
		}
	}
	return ""
}

// enable lets the groups below dir have quotas.
func enable(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if up := filepath.Dir(dir); dir != mounts && strings.HasPrefix(dir, mounts) {
		if err := enable(up); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+cpu"), 0o644)
}

// Set gives the group another quota.
func (g *Group) Set(cpus float64) error {
	quota := strconv.FormatInt(int64(cpus*float64(period/time.Microsecond)), 10)
	if g.v2 {
		return os.WriteFile(filepath.Join(g.dirs[0], "cpu.max"), fmt.Appendf(nil, "%s %d", quota, period/time.Microsecond), 0o644)
	}
	if err := os.WriteFile(filepath.Join(g.dirs[0], "cpu.cfs_period_us"), strconv.AppendInt(nil, int64(period/time.Microsecond), 10), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(g.dirs[0], "cpu.cfs_quota_us"), []byte(quota), 0o644)
}

// Command returns a command that runs within the group, as do all that it starts.
func (g *Group) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("/bin/sh", g.Within(name, args...)...)
}

// Within returns the arguments with which /bin/sh runs a program within the group.
func (g *Group) Within(name string, args ...string) []string {
	var enter strings.Builder
	for _, dir := range g.dirs {
		fmt.Fprintf(&enter, "echo $$ > '%s/cgroup.procs' && ", dir)
	}
	return append([]string{"-c", enter.String() + `exec "$@"`, "sh", name}, args...)
}

// Usage returns the CPU time that all processes of the group have used.
func (g *Group) Usage() (time.Duration, error) {
	if !g.v2 {
		b, err := os.ReadFile(filepath.Join(g.dirs[len(g.dirs)-1], "cpuacct.usage"))
		if err != nil {
			return 0, err
		}
		ns, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		return time.Duration(ns), err
	}
	b, err := os.ReadFile(filepath.Join(g.dirs[0], "cpu.stat"))
	if err != nil {
		return 0, err
	}
	var µs int64
	if _, err := fmt.Sscanf(string(b), "usage_usec %d", &µs); err != nil {
		return 0, err
	}
	return time.Duration(µs) * time.Microsecond, nil
}

// Processes returns the ids of the processes in the group.
func (g *Group) Processes() ([]int, error) {
	b, err := os.ReadFile(filepath.Join(g.dirs[0], "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var list []int
	for _, field := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		list = append(list, pid)
	}
	return list, nil
}

// Kill ends all processes of the group and waits until they are gone.
func (g *Group) Kill() error {
	for range 500 {
		list, err := g.Processes()
		if err != nil || len(list) == 0 {
			return err
		}
		for _, pid := range list {
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Kill() // it may have ended
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("cgroup %s: processes that do not end", g.Name)
}

// Close removes the group, which must have no processes left. Ones that have just been killed
// are waited for.
func (g *Group) Close() error {
	var err error
	for _, dir := range g.dirs {
		for range 100 {
			if err = os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
				err = nil
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return err
}
