package fd

import (
	"fmt"
	"os"
	"sync"
)

var taken struct {
	sync.Mutex
	numbers map[int]bool
}

// Inherited returns the file of a descriptor that the process was started with, whose
// number its parent has told. It is had once: a second file would close a number that is
// another's by then.
func Inherited(number int, name string) (*os.File, error) {
	taken.Lock()
	defer taken.Unlock()
	if taken.numbers[number] {
		return nil, fmt.Errorf("%s: descriptor %d has been taken already", name, number)
	}
	if taken.numbers == nil {
		taken.numbers = make(map[int]bool)
	}
	f := os.NewFile(uintptr(number), name)
	if f == nil {
		return nil, fmt.Errorf("%s: %d is no descriptor", name, number)
	}
	taken.numbers[number] = true
	return f, nil
}
