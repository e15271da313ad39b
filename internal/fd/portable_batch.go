//go:build !linux || evenkeel_portable

package fd

// Most is how many calls a Batch takes.
const Most = 32

// Batch gathers calls on connections and makes them one after another. The zero Batch is ready for use.
type Batch struct {
	calls   [Most]batched
	results [Most]Result
	n       int // calls
}

// batched is a call that is to be made.
type batched struct {
	make func(*FD, []byte) (int, error)
	fd   *FD
	p    []byte
}

// Result is how a call came out.
type Result struct {
	N     int   // bytes
	Err   error // nil, ErrClosed, or a syscall.Errno: EAGAIN if nothing could be done without waiting
	Maybe bool  // with an Err: the call may have been made all the same, which does not happen here
}

// NewBatch returns a Batch.
func NewBatch() (*Batch, error) { return new(Batch), nil }

// Close does nothing here.
func (*Batch) Close() {}

// Receive adds a read, into p. There must be fewer than Most calls.
func (b *Batch) Receive(f *FD, p []byte) { b.add(batched{(*FD).Receive, f, p}) }

// Send adds a write, likewise.
func (b *Batch) Send(f *FD, p []byte) { b.add(batched{(*FD).Send, f, p}) }

func (b *Batch) add(c batched) {
	b.calls[b.n] = c
	b.n++
}

// Do makes the calls, in their order, and returns how they came out, likewise. That is good until the next Do.
func (b *Batch) Do() []Result {
	calls, results := b.calls[:b.n], b.results[:b.n]
	b.n = 0
	for i, c := range calls {
		results[i] = Result{}
		results[i].N, results[i].Err = c.make(c.fd, c.p)
	}
	return results
}
