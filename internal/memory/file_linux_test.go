package memory

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestClean(t *testing.T) {
	const smaps = `00400000-00500000 r-xp 00000000 fe:00 11 /opt/a program
Rss:                 900 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
00500000-00600000 r--p 00100000 fe:00 11 /opt/a program
Anonymous:             0 kB
00600000-00700000 r--p 00200000 fe:00 11 /opt/a program
Anonymous:             8 kB
00700000-00800000 rw-p 00300000 fe:00 11 /opt/a program
Anonymous:             0 kB
00900000-00a00000 r-xp 00000000 fe:00 12 /lib/other
Anonymous:             0 kB
00a00000-00b00000 rw-p 00000000 00:00 0
Anonymous:             0 kB
00b00000-00c00000 r--p 00000000 00:00 0
Anonymous:             0 kB
`
	got := clean([]byte(smaps), "/opt/a program")
	want := []mapping{{0x400000, 0x500000}, {0x500000, 0x600000}} // not what a loader wrote to, may be written or is another's
	if !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestReturn(t *testing.T) {
	all, err := ownMappings()
	if err != nil || len(all) == 0 {
		t.Fatalf("mappings of the program: %x, %v", all, err)
	}
	var size int
	for _, m := range all {
		size += int(m.end - m.begin)
		if err := m.advise(unix.MADV_POPULATE_READ); err != nil {
			t.Skip("this system cannot bring in pages:", err)
		}
	}
	before := resident(t)
	if err := Return(); err != nil {
		t.Fatal(err)
	}
	if after := resident(t); after > before-size/4 {
		t.Errorf("%d bytes of files are resident, and %d were before: got back less than a quarter of the program's %d", after, before, size)
	}
}

// resident tells how many bytes of files are mapped and in memory.
func resident(t *testing.T) int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, all, files int
	if _, err := fmt.Sscan(string(text), &size, &all, &files); err != nil {
		t.Fatalf("statm %q: %v", text, err)
	}
	return files * os.Getpagesize()
}
