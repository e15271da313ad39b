// Package memory returns unused memory of the process to the system.
package memory

import "runtime/debug"

// Return gives back what the heap has free, and the pages of the program's own file, most
// of which starting touched, or a rush, and an idle process does not need. Those stay in
// the system's cache until something else needs the room: pages that are used again are
// found there, and cost a fault of a few microseconds for each 64 KiB. It collects
// garbage, so it is for when there is little to do.
//
// An error says that the file's pages stayed. Nothing is wrong then.
func Return() error {
	debug.FreeOSMemory()
	return returnFile()
}
