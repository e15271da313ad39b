package agent

import (
	"os"
	"reflect"
	"testing"
)

func TestParsePressure(t *testing.T) {
	some, full, err := parsePressure([]byte("some avg10=12.50 avg60=0.05 avg300=0.01 total=12345\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=0\n"))
	if err != nil || some != .125 || full != .01 {
		t.Errorf("got %v, %v, %v", some, full, err)
	}
	if some, full, err = parsePressure([]byte("some avg10=3.00 avg60=0.05\n")); err != nil || some != .03 || full != 0 {
		t.Errorf("old kernel's cpu: got %v, %v, %v", some, full, err)
	}
	for _, bad := range []string{"", "some", "full avg10=1.00", "some avg10=x", "some avg10=101", "some avg10=NaN", "some avg60=1"} {
		if _, _, err := parsePressure([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParseQuota(t *testing.T) {
	for text, want := range map[string]float64{"max 100000\n": 0, "50000 100000\n": .5, "300000 100000": 3, "200000": 2, "-1 100000": 0} {
		if got, err := parseQuota([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "x 100000", "1 0", "1 -5", "1 x"} {
		if got, err := parseQuota([]byte(bad)); err == nil {
			t.Errorf("%q: got %v and no error", bad, got)
		}
	}
}

func TestCgroupPathAndMount(t *testing.T) {
	groups := []byte("9:name=systemd:/\n4:memory:/a/b\n2:cpu,cpuacct:/c:d\n0::/u/v\n")
	for controller, want := range map[string]string{"": "/u/v", "cpu": "/c:d", "cpuacct": "/c:d", "memory": "/a/b", "blkio": ""} {
		if got, ok := cgroupPath(groups, controller); got != want || ok != (want != "") {
			t.Errorf("group of %q: got %q, %v, want %q", controller, got, ok, want)
		}
	}
	mounts := []byte(`22 27 0:21 / /proc rw,relatime - proc proc rw
30 25 0:30 /docker/x /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:1 - cgroup cgroup rw,cpu,cpuacct
31 25 0:31 / /sys/fs/cgroup/my\040unified rw - cgroup2 cgroup2 rw,nsdelegate
`)
	for controller, want := range map[string]mount{"": {"/", "/sys/fs/cgroup/my unified"}, "cpu": {"/docker/x", "/sys/fs/cgroup/cpu,cpuacct"}, "memory": {}} {
		if got, ok := cgroupMount(mounts, controller); got != want || ok != (want != mount{}) {
			t.Errorf("mount of %q: got %+v, %v, want %+v", controller, got, ok, want)
		}
	}
}

func TestMountLevels(t *testing.T) {
	for _, test := range []struct {
		mount mount
		group string
		want  []string
	}{
		{mount{"/", "/c"}, "/a/b", []string{"/c/a/b", "/c/a", "/c"}},
		{mount{"/", "/c"}, "/", []string{"/c"}},
		{mount{"/docker/x", "/c"}, "/docker/x", []string{"/c"}},
		{mount{"/docker/x", "/c"}, "/docker/x/y", []string{"/c/y", "/c"}},
		{mount{"/docker/x", "/c"}, "/docker/xyz", []string{"/c"}},
		{mount{"/docker/x", "/c"}, "/", []string{"/c"}},
	} {
		if got := test.mount.levels(test.group); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%+v of %s: got %v, want %v", test.mount, test.group, got, test.want)
		}
	}
}

func FuzzKernelFiles(f *testing.F) {
	for _, file := range []string{"/proc/stat", "/proc/self/cgroup", "/proc/self/mountinfo", "/proc/pressure/io", "/proc/meminfo"} {
		if b, err := os.ReadFile(file); err == nil {
			f.Add(b)
		}
	}
	f.Add([]byte("some avg10=12.50 avg60=0.05\nfull avg10=1"))
	f.Add([]byte("50000 100000"))
	f.Add([]byte(`1 2 3 /\0 /\377 - cgroup x cpu`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if some, full, err := parsePressure(b); err == nil && (!believable(some) || !believable(full) || some > 1 || full > 1) {
			t.Fatalf("pressure %v, %v", some, full)
		}
		if cpus, err := parseQuota(b); err == nil && !believable(cpus) && cpus < 1e15 {
			t.Fatalf("quota %v", cpus)
		}
		parseLimit(b)
		parseKeyed(b, "usage_usec")
		for _, controller := range []string{"", "cpu"} {
			group, _ := cgroupPath(b, controller)
			m, ok := cgroupMount(b, controller)
			if ok && len(m.levels(group)) == 0 {
				t.Fatalf("no level of %q in %+v", group, m)
			}
		}
	})
}
