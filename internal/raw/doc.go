// Package raw reads and writes descriptors that do not block, by calls of which the
// scheduler is not told: one that comes back at once is not worth handing this thread's
// work to another, and on a busy machine that happens to calls of which it is told. The
// race detector must see the calls, since it takes a socket for what orders two
// goroutines; with it, they are those of package syscall.
package raw
