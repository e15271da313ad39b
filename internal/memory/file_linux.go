package memory

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func returnFile() error {
	all, err := ownMappings()
	if err != nil {
		return fmt.Errorf("pages of the program: %w", err)
	}
	for _, m := range all {
		if err := m.advise(unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("pages of the program: %w", err)
		}
	}
	return nil
}

// mapping is a piece of the address space.
type mapping struct{ begin, end uintptr }

func (m mapping) advise(what uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.begin, m.end-m.begin, what); errno != 0 {
		return fmt.Errorf("madvise %x-%x: %w", m.begin, m.end, errno)
	}
	return nil
}

func ownMappings() ([]mapping, error) {
	file, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return nil, err
	}
	return clean(text, file), nil
}

// clean finds the mappings of a file that cannot be written and hold nothing but what the
// file does. A loader writes to some before it locks them; giving those back would
// undo it.
func clean(smaps []byte, file string) (all []mapping) {
	var now mapping
	fits := false
	for in := bufio.NewScanner(bytes.NewReader(smaps)); in.Scan(); {
		line := in.Text()
		words := strings.Fields(line)
		switch {
		case len(words) < 2:
		case words[0] == "Anonymous:":
			if fits && words[1] == "0" {
				all = append(all, now)
			}
		case !strings.HasSuffix(words[0], ":"):
			_, err := fmt.Sscanf(words[0], "%x-%x", &now.begin, &now.end)
			fits = err == nil && strings.HasPrefix(words[1], "r-") && strings.HasSuffix(line, " "+file)
		}
	}
	return all
}
