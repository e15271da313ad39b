package agent

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Readers of what the kernel writes under /proc and /sys/fs/cgroup. They take the
// bytes of a file and accept whatever bytes there are.

// parsePressure reads the shares of the last 10 seconds from a PSI file, as fractions:
//
//	some avg10=0.12 avg60=0.05 avg300=0.01 total=12345
//	full avg10=0.00 avg60=0.00 avg300=0.00 total=0
func parsePressure(b []byte) (some, full float64, err error) {
	lines := 0
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		figure, ok := strings.CutPrefix(fields[1], "avg10=")
		percent, err := strconv.ParseFloat(figure, 64)
		if !ok || err != nil || !(percent >= 0 && percent <= 100) {
			return 0, 0, fmt.Errorf("pressure: %q, want avg10= and a percentage", clip([]byte(line)))
		}
		switch fields[0] {
		case "some":
			some, lines = percent/100, lines+1
		case "full":
			full = percent / 100
		}
	}
	if lines == 0 {
		return 0, 0, fmt.Errorf("pressure: no line some in %q", clip(b))
	}
	return some, full, nil
}

// parseQuota reads cpu.max of cgroup v2, "50000 100000" or "max 100000", as a number
// of CPUs; zero: no limit.
func parseQuota(b []byte) (cpus float64, err error) {
	quota, period, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	if quota == "max" {
		return 0, nil
	}
	if period == "" {
		period = "100000"
	}
	return quotaOf(quota, period)
}

// quotaOf divides microseconds by microseconds. A negative quota is v1's word for no limit.
func quotaOf(quota, period string) (cpus float64, err error) {
	q, err := strconv.ParseInt(strings.TrimSpace(quota), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("cpu quota: %w", err)
	}
	p, err := strconv.ParseInt(strings.TrimSpace(period), 10, 64)
	if err != nil || p <= 0 {
		return 0, fmt.Errorf("cpu period %q, want a positive number", clip([]byte(period)))
	}
	return float64(max(0, q)) / float64(p), nil
}

// parseLimit reads a file of one number of bytes, or "max"; zero: no limit. Of v1's
// way to say so, a number near 2^63, the caller knows by comparing with all memory.
func parseLimit(b []byte) (uint64, error) {
	s := strings.TrimSpace(string(b))
	if s == "max" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("limit: %w", err)
	}
	return n, nil
}

// parseKeyed finds one key's number in a file of lines "key number".
func parseKeyed(b []byte, key string) (uint64, error) {
	for line := range strings.Lines(string(b)) {
		if k, v, _ := strings.Cut(strings.TrimSpace(line), " "); k == key {
			return strconv.ParseUint(v, 10, 64)
		}
	}
	return 0, fmt.Errorf("no line %s", key)
}

// cgroupPath finds in /proc/PID/cgroup the group for a controller of v1; "" is v2's hierarchy:
//
//	4:cpu,cpuacct:/system.slice/x.service
//	0::/system.slice/x.service
func cgroupPath(b []byte, controller string) (string, bool) {
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) < 3 || !strings.HasPrefix(parts[2], "/") {
			continue
		}
		if controller == "" && parts[0] == "0" || controller != "" && has(parts[1], controller) {
			if strings.HasPrefix(parts[2], "/..") {
				return parts[2], true // in another container, beyond what our namespace shows
			}
			return path.Clean(parts[2]), true
		}
	}
	return "", false
}

// mount is where a hierarchy of control groups can be seen: its group root stands at point.
type mount struct{ root, point string }

// cgroupMount finds in /proc/self/mountinfo the mount of a v1 controller; "" is v2's:
//
//	31 23 0:28 root point options optional… - type source super-options
func cgroupMount(b []byte, controller string) (mount, bool) {
	for line := range strings.Lines(string(b)) {
		before, after, ok := strings.Cut(line, " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(place) < 5 || len(kind) < 3 {
			continue
		}
		if controller == "" && kind[0] == "cgroup2" || controller != "" && kind[0] == "cgroup" && has(kind[2], controller) {
			m := mount{root: unoctal(place[3]), point: path.Clean(unoctal(place[4]))}
			if !strings.HasPrefix(m.root, "/..") {
				m.root = path.Clean(m.root)
			}
			return m, true
		}
	}
	return mount{}, false
}

func has(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if w == word {
			return true
		}
	}
	return false
}

// unoctal resolves the \040 by which mountinfo writes blanks in paths.
func unoctal(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// shows reports whether a group can be seen at the mount.
func (m mount) shows(group string) bool {
	inside, ok := strings.CutPrefix(group, strings.TrimSuffix(m.root, "/"))
	return ok && (inside == "" || inside[0] == '/' && !strings.HasPrefix(inside, "/.."))
}

// levels returns the directories of a group and of all groups around it, innermost
// first. A group outside what the mount shows is seen as the mount's own root, which
// is how a container sees itself.
func (m mount) levels(group string) []string {
	inside := ""
	if m.shows(group) {
		inside = strings.TrimPrefix(group, strings.TrimSuffix(m.root, "/"))
	}
	var dirs []string
	for inside = path.Clean("/" + inside); ; inside = path.Dir(inside) {
		dirs = append(dirs, path.Join(m.point, inside))
		if inside == "/" {
			return dirs
		}
	}
}

// parseCPUList counts the CPUs of a list such as 0-3,8.
func parseCPUList(b []byte) (n int, err error) {
	for part := range strings.SplitSeq(strings.TrimSpace(string(b)), ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err != nil || err2 != nil || to < from {
			return 0, fmt.Errorf("list of CPUs %q, want such as 0-3,8", clip(b))
		}
		n += int(to-from) + 1
	}
	return n, nil
}

func clip(b []byte) string { return string(b[:min(len(b), 40)]) }
