//go:build !linux || evenkeel_portable

package fd

// Pipe would be where bytes are that move from one socket to another without being copied to user space. There is
// none here.
type Pipe struct{}

// NewPipe returns nil: the system has none to give.
func NewPipe(int) *Pipe { return nil }

// Close does nothing.
func (*Pipe) Close() {}

// Write returns ErrClosed.
func (*Pipe) Write([]byte) (int, error) { return 0, ErrClosed }

// Fill returns ErrClosed.
func (*Pipe) Fill(*FD, int64) (int64, error) { return 0, ErrClosed }

// Drain returns ErrClosed.
func (*Pipe) Drain(*FD, int64) (int64, error) { return 0, ErrClosed }
