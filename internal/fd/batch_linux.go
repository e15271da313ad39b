//go:build !evenkeel_portable

package fd

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Most is how many calls a Batch takes.
const Most = 32

// Batch gathers calls on sockets that do not block, and has the system make them all at
// once, by io_uring: what entering the system costs is paid once, and its code is still
// near the processor for the second call. Where io_uring is not to be had, as in many
// containers, the calls are made one by one, and all is as right and only slower.
//
// A Batch belongs to the thread on which it was made. The zero Batch makes calls one by
// one. A call on a socket that was closed or moved since it was added comes out as
// ErrClosed and reaches no descriptor: numbers are looked up when the calls are made. Do
// returns when all of them are done, so none is left in the ring.
type Batch struct {
	ring    *ring // nil: none
	calls   [Most]batched
	results [Most]Result
	n       int // calls
}

// batched is a call that is to be made.
type batched struct {
	op uint8
	fd *FD
	p  []byte
}

// Result is how a call came out.
type Result struct {
	N     int   // bytes
	Err   error // nil, ErrClosed, or a syscall.Errno: EAGAIN if nothing could be done without waiting
	Maybe bool  // with an Err: the call may have been made all the same
}

// NewBatch returns a Batch for the calling thread, which is locked to its goroutine. With an
// error, which says why io_uring cannot be used, it makes calls one by one.
func NewBatch() (*Batch, error) {
	b := new(Batch)
	if raced {
		return b, errors.New("the race detector does not see what io_uring does")
	}
	r, err := newRing()
	if err != nil {
		return b, err
	}
	if b.ring = r; b.tried() {
		return b, nil
	}
	b.Close()
	return b, errors.New("io_uring does not do what it should")
}

// tried reports whether a ring does what is expected of it.
func (b *Batch) tried() bool {
	near, far, err := Pair()
	if err != nil {
		return false
	}
	defer near.Close()
	defer far.Close()
	p := make([]byte, 4)
	b.Receive(far, p)
	b.Send(near, []byte("try"))
	b.Receive(far, p)
	r := b.Do()
	return r[0] == Result{Err: syscall.EAGAIN} && r[1] == Result{N: 3} && r[2] == Result{N: 3} && string(p[:3]) == "try"
}

// Close gives the ring back. Calls are made one by one from then on.
func (b *Batch) Close() {
	if b.ring != nil {
		b.ring.close()
		b.ring = nil
	}
}

// Receive adds a read of a socket, into p. There must be fewer than Most calls.
func (b *Batch) Receive(f *FD, p []byte) { b.add(batched{opReceive, f, p}) }

// Send adds a write to one, likewise.
func (b *Batch) Send(f *FD, p []byte) { b.add(batched{opSend, f, p}) }

func (b *Batch) add(c batched) {
	b.calls[b.n] = c
	b.n++
}

// Do makes the calls, in their order, and returns how they came out, likewise. That is good
// until the next Do.
func (b *Batch) Do() []Result {
	calls, results := b.calls[:b.n], b.results[:b.n]
	b.n = 0
	if b.ring == nil || len(calls) < 2 {
		for i := range calls {
			results[i] = calls[i].make()
		}
		return results
	}
	for i := range results {
		results[i].N = pending
	}
	err := b.ring.make(calls, results)
	if err == errLost {
		b.Close() // what is still to come of it would be taken for results of later calls
		return results
	}
	if err != nil {
		for i := range calls {
			if results[i].N == pending {
				results[i] = calls[i].make()
			}
		}
	}
	return results
}

// pending stands in a Result as long as its call has not been made.
const pending = -1

// make makes a call by itself.
func (c *batched) make() (r Result) {
	if c.op == opSend {
		r.N, r.Err = c.fd.Send(c.p)
	} else {
		r.N, r.Err = c.fd.Receive(c.p)
	}
	return r
}

// ring is the memory that is shared with the system. What is submitted lies in entries,
// from head to tail, and what has been done in done.
type ring struct {
	fd          FD
	enter       func(entries uint32, left int) syscall.Errno // submit, but in tests
	shared, own []byte                                       // what is mapped

	head, tail         *uint32
	entries            *[Most]entry
	doneHead, doneTail *uint32
	done               *[2 * Most]completion
}

// What the kernel's linux/io_uring.h lays down.
const (
	opSend    = 26 // IORING_OP_SEND
	opReceive = 27 // IORING_OP_RECV

	getEvents      = 1 << 0  // IORING_ENTER_GETEVENTS
	singleIssuer   = 1 << 12 // IORING_SETUP_SINGLE_ISSUER, since Linux 6.0
	deferTaskWork  = 1 << 13 // IORING_SETUP_DEFER_TASKRUN, since Linux 6.1
	singleMapping  = 1 << 0  // IORING_FEAT_SINGLE_MMAP
	entriesMapping = 0x10000000
)

// entry is struct io_uring_sqe, as far as it is used here.
type entry struct {
	op      uint8
	_       [3]byte
	fd      int32
	_       uint64
	address uint64
	length  uint32
	message uint32 // flags of send and recv
	user    uint64 // comes back with the completion
	_       [3]uint64
}

// completion is struct io_uring_cqe.
type completion struct {
	user   uint64
	result int32
	_      uint32
}

// parameters is struct io_uring_params. The offsets are of the shared mapping.
type parameters struct {
	entries, completions, flags uint32
	_                           [2]uint32
	features                    uint32
	_                           [4]uint32
	submit                      struct {
		head, tail, mask, entries, flags, dropped, array uint32
		_                                                [3]uint32
	}
	complete struct {
		head, tail, mask, entries, overflow, completions uint32
		_                                                [4]uint32
	}
}

// The sizes are the kernel's.
var (
	_ [64]byte  = [unsafe.Sizeof(entry{})]byte{}
	_ [16]byte  = [unsafe.Sizeof(completion{})]byte{}
	_ [120]byte = [unsafe.Sizeof(parameters{})]byte{}
)

func newRing() (*ring, error) {
	p := parameters{flags: singleIssuer | deferTaskWork}
	n, _, errno := syscall.Syscall(unix.SYS_IO_URING_SETUP, Most, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, os.NewSyscallError("io_uring_setup", errno)
	}
	r := &ring{fd: FD{above: int(n) + 1}}
	r.enter = r.submit
	if err := r.open(&p); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *ring) open(p *parameters) (err error) {
	if p.features&singleMapping == 0 || p.entries != Most || p.completions != 2*Most {
		return fmt.Errorf("io_uring has %d entries and %d completions, with features %#x", p.entries, p.completions, p.features)
	}
	const entrySize, indexSize, completionSize = uint32(unsafe.Sizeof(entry{})), 4, uint32(unsafe.Sizeof(completion{}))
	size := max(p.submit.array+p.entries*indexSize, p.complete.completions+p.completions*completionSize)
	const access, sharing = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	if r.shared, err = unix.Mmap(r.fd.number(), 0, int(size), access, sharing); err != nil {
		return os.NewSyscallError("mmap of io_uring", err)
	}
	if r.own, err = unix.Mmap(r.fd.number(), entriesMapping, int(p.entries*entrySize), access, sharing); err != nil {
		return os.NewSyscallError("mmap of io_uring", err)
	}
	number := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.shared[offset])) }
	r.head, r.tail = number(p.submit.head), number(p.submit.tail)
	r.doneHead, r.doneTail = number(p.complete.head), number(p.complete.tail)
	r.entries = (*[Most]entry)(unsafe.Pointer(&r.own[0]))
	r.done = (*[2 * Most]completion)(unsafe.Pointer(&r.shared[p.complete.completions]))
	for i := range p.entries { // the n-th to be submitted is the n-th entry
		*number(p.submit.array + i*indexSize) = i
	}
	return nil
}

func (r *ring) close() {
	for _, mapped := range [][]byte{r.shared, r.own} {
		if mapped != nil {
			_ = unix.Munmap(mapped)
		}
	}
	r.fd.Close()
}

// errLost says that the system has calls of which it does not say what becomes of them.
var errLost = errors.New("io_uring has lost calls")

// make makes the calls. With another error than errLost those whose results are pending
// have not been made.
func (r *ring) make(calls []batched, results []Result) error {
	tail := *r.tail // only this thread changes it
	open := 0
	for i := range calls {
		c := &calls[i]
		if !c.fd.IsOpen() {
			results[i] = Result{Err: ErrClosed}
			continue
		}
		open++
		e := entry{op: c.op, fd: int32(c.fd.number()), address: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(c.p)))), length: uint32(len(c.p)),
			message: unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL, user: uint64(i)}
		r.entries[tail%Most] = e
		tail++
	}
	atomic.StoreUint32(r.tail, tail)
	var failed error
	for left := open; left > 0; {
		errno := r.enter(tail-atomic.LoadUint32(r.head), left)
		left -= r.collect(results)
		if errno == 0 || errno == syscall.EINTR || left == 0 {
			continue
		}
		failed = errno
		waiting := tail - atomic.LoadUint32(r.head)
		if waiting == 0 { // the system has them, and does not say what has become of them
			lost(errno, results)
			return errLost
		}
		tail -= waiting // they are withdrawn
		left -= int(waiting)
		atomic.StoreUint32(r.tail, tail)
	}
	return failed
}

// lost gives calls up that have been made, perhaps.
func lost(errno syscall.Errno, results []Result) {
	for i := range results {
		if results[i].N == pending {
			results[i] = Result{Err: errno, Maybe: true}
		}
	}
}

// submit has the system take so many entries, and returns when all that are left are done, or, where it did not take all of
// them, at once. None of them waits for anything.
func (r *ring) submit(entries uint32, left int) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd.number()), uintptr(entries), uintptr(left), getEvents, 0, 0)
	return errno
}

// collect takes the results of what has been done, and returns how many there were.
func (r *ring) collect(results []Result) int {
	head, tail := *r.doneHead, atomic.LoadUint32(r.doneTail)
	for at := head; at != tail; at++ {
		c := &r.done[at%(2*Most)]
		res := &results[c.user]
		if *res = (Result{N: int(c.result)}); c.result < 0 {
			*res = Result{Err: syscall.Errno(-c.result)}
		}
	}
	atomic.StoreUint32(r.doneHead, tail)
	return int(tail - head)
}
