package settings

import "testing"

// What people write in several ways means one thing, in files and flags.
func TestAnAddressIsWrittenInSeveralWays(t *testing.T) {
	for written, want := range map[string]string{"h:1": "h:1", "http://h:1": "h:1", "http://h:1/": "h:1", "http://h": "h:80", "https://h": "https://h:443",
		"https://h:1/": "https://h:1", "http://[::1]": "[::1]:80", "http://[::1]:1": "[::1]:1"} {
		_, s, err := ParseServer(written)
		if err != nil || s.Address != want {
			t.Errorf("--server %s: got %q, %v, want %q", written, s.Address, err, want)
		}
		file := &Settings{Pools: map[string]Pool{"web": {Servers: []Server{{Address: written}}}}, Agent: &Agent{Address: written, Masters: []string{"http://m:2"}, Admin: "http://127.0.0.1:3"}}
		if file.normalizeAddresses(); file.Pools["web"].Servers[0].Address != want || file.Agent.Address != want || file.Agent.Masters[0] != "m:2" || file.Agent.Admin != "127.0.0.1:3" {
			t.Errorf("%s in a file: got %+v, want %q", written, file, want)
		}
	}
	for _, bad := range []string{"h", "http://h/x", "http://u@h:1", "ftp://h:1", "http://", "h:0"} {
		if _, _, err := ParseServer(bad); err == nil {
			t.Errorf("--server %s is taken", bad)
		}
	}
}

func TestAddressesConflict(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{":1", ":1", true}, {":1", ":2", false}, {":0", ":0", false}, {":1", "127.0.0.1:1", true}, {"0.0.0.0:1", "[::1]:1", false}, {"[::]:1", "127.0.0.1:1", true},
		{"0.0.0.0:1", "[::]:1", true}, {"localhost:1", "127.0.0.1:1", true}, {"127.0.0.1:1", "127.0.0.2:1", false}, {"unix:/a", "unix:/a", true}, {"unix:/a", ":1", false},
	} {
		if addressesConflict(c.a, c.b) != c.want || addressesConflict(c.b, c.a) != c.want {
			t.Errorf("%s and %s: got %t and %t, want %t", c.a, c.b, addressesConflict(c.a, c.b), addressesConflict(c.b, c.a), c.want)
		}
	}
}
