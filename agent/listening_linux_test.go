package agent

import (
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestParseSocket(t *testing.T) {
	for _, test := range []struct {
		line    string
		at      string
		inode   uint64
		listens bool
	}{
		{"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1673 1 0000000072eb003a 100 0 0 10 0", "127.0.0.1:8080", 1673, true},
		{"   7: 0500000A:0050 0100000A:D431 01 00000000:00000000 02:0000 00000000  33  0 99 2 x", "10.0.0.5:80", 99, false},
		{"   1: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 18 1", "[::1]:8081", 18, true},
		{"   2: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 19 1", "127.0.0.1:8080", 19, true},
	} {
		s, listens, ok := parseSocket([]byte(test.line))
		if want := (listening{netip.MustParseAddrPort(test.at), test.inode}); !ok || s != want || listens != test.listens {
			t.Errorf("%s\n got %v, %t, %t, want %v, %t", test.line, s, listens, ok, want, test.listens)
		}
	}
	for _, bad := range []string{"", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
		"0: 0100007F:1F90 0:0 0A 0:0 0:0 0 0 0 -1 1", "0: 0100007F:1F9000 0:0 0A 0:0 0:0 0 0 0 1 1", "0: 0100007:1F90 0:0 0A 0:0 0:0 0 0 0 1 1", "0: X100007F:1F90 0:0 0A 0:0 0:0 0 0 0 1 1"} {
		if s, _, ok := parseSocket([]byte(bad)); ok {
			t.Errorf("%q: got %v", bad, s)
		}
	}
}

func TestListenersAt(t *testing.T) {
	at := netip.MustParseAddrPort
	all := []listening{{at("127.0.0.1:80"), 1}, {at("0.0.0.0:80"), 2}, {at("[::]:80"), 3}, {at("10.0.0.5:81"), 4}, {at("10.0.0.5:81"), 5}, {at("[::]:82"), 6}, {at("[::1]:83"), 7}, {at("0.0.0.0:84"), 8}}
	for _, test := range []struct {
		addrs []string
		port  uint16
		want  []uint64
		any   bool
	}{
		{[]string{"127.0.0.1"}, 80, []uint64{1}, false},
		{[]string{"10.0.0.5"}, 80, []uint64{2, 3}, true},
		{[]string{"10.0.0.5"}, 81, []uint64{4, 5}, false},
		{[]string{"10.0.0.6"}, 81, nil, false},
		{[]string{"10.0.0.6"}, 82, []uint64{6}, true},
		{[]string{"127.0.0.1", "::1"}, 83, []uint64{7}, false},
		{[]string{"::1"}, 84, nil, false},
		{nil, 80, nil, false},
	} {
		var addrs []netip.Addr
		for _, a := range test.addrs {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		if got, any := listenersAt(all, addrs, test.port); !reflect.DeepEqual(got, test.want) || any != test.any {
			t.Errorf("%v port %d: got %v, %t, want %v, %t", test.addrs, test.port, got, any, test.want, test.any)
		}
	}
}

func TestParseCPUList(t *testing.T) {
	for text, want := range map[string]int{"0\n": 1, "0-3": 4, "0-1,8,10-11\n": 5} {
		if got, err := parseCPUList([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "x", "3-1", "0-", "0,,1"} {
		if n, err := parseCPUList([]byte(bad)); err == nil {
			t.Errorf("%q: got %d", bad, n)
		}
	}
}

func TestUnit(t *testing.T) {
	for group, want := range map[string]string{
		"/": "/", "/a/b": "/a/b",
		"/system.slice/app.service":                                              "/system.slice/app.service",
		"/system.slice/app.service/workers":                                      "/system.slice/app.service",
		"/kubepods.slice/pod1.slice/cri-containerd-1.scope/init":                 "/kubepods.slice/pod1.slice/cri-containerd-1.scope",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/notes.service":  "/user.slice/user-1000.slice/user@1000.service/app.slice/notes.service",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/notes.slice/ab": "/user.slice/user-1000.slice/user@1000.service",
	} {
		if got := unit(group); got != want {
			t.Errorf("%s: got %s, want %s", group, got, want)
		}
	}
}

func TestSharedUnit(t *testing.T) {
	for group, shared := range map[string]bool{
		"/": true, "/app": false, "/system.slice": true, "/system.slice/app.service": false, "/init.scope": true,
		"/user.slice/user-0.slice/session-3.scope": true, "/user.slice/user-0.slice/user@0.service": true, "/docker/0123": false,
	} {
		if why := sharedUnit(group, true); (why != "") != shared {
			t.Errorf("%s: got %q, want shared %t", group, why, shared)
		}
	}
	if why := sharedUnit("/", false); why != "" {
		t.Errorf("a container's root: got %q, want its own", why)
	}
}

func FuzzSockets(f *testing.F) {
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if b, err := os.ReadFile(file); err == nil {
			f.Add(b)
		}
	}
	f.Add([]byte("0: 0100007F:1F90 0:0 0A 0:0 0:0 0 0 0 19 1"))
	f.Add([]byte("socket:[19]"))
	f.Add([]byte("0-3,8"))
	f.Add([]byte("/user.slice/user@0.service/x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, _, ok := parseSocket(b); ok && !s.at.IsValid() {
			t.Fatalf("socket %+v", s)
		}
		if n, err := parseCPUList(b); err == nil && n <= 0 {
			t.Fatalf("%d CPUs", n)
		}
		parseSocketLink(string(b))
		if group, ok := cgroupPath(b, ""); ok {
			own := unit(group)
			_ = sharedUnit(own, true) // it must not panic
			if own != group && !strings.HasPrefix(group, own+"/") {
				t.Fatalf("unit %q is not around %q", own, group)
			}
		}
	})
}
