package kept

import (
	"errors"
	"fmt"
	"io"
)

// File holds bytes outside memory. Its Close also removes it.
type File interface {
	io.WriterAt
	io.ReaderAt
	io.Closer
}

// Errors of Append.
var (
	ErrLong = errors.New("it is longer than is kept here")
	ErrFull = errors.New("there is no room for it beside what else is kept")
)

const (
	// blockSize is how many bytes of memory are taken at a time.
	blockSize = 16 << 10
	// inMemory is how many bytes of a blob stay in memory where there is a spool.
	inMemory = 64 << 10
)

// blob is bytes in memory or, beyond inMemory bytes, in a file of the spool, if there is one. They are only appended.
type blob struct {
	request *Request
	limit   int64 // bytes
	size    int64
	blocks  [][]byte // each blockSize bytes but the last
	file    File     // what follows the blocks; nil: nothing
	fileAt  int64    // bytes in the blocks, where the file begins
	charged int64    // bytes of memory taken
	spooled int64    // bytes of the spool taken
}

// Size returns how many bytes it has.
func (b *blob) Size() int64 { return b.size }

// Admits reports whether so many bytes may be kept at all; negative: it is not known how many there are.
func (b *blob) Admits(n int64) bool { return n <= b.limit }

// Append adds bytes. Its error is ErrLong, ErrFull, or that of the file. Part of p may have been added then.
func (b *blob) Append(p []byte) error {
	if b.size+int64(len(p)) > b.limit {
		return ErrLong
	}
	for len(p) > 0 {
		if b.file != nil {
			return b.appendFile(p)
		}
		if free := b.free(); free > 0 {
			last := &b.blocks[len(b.blocks)-1]
			n := min(free, len(p))
			*last = append(*last, p[:n]...)
			b.size, p = b.size+int64(n), p[n:]
			continue
		}
		if err := b.grow(); err != nil {
			return err
		}
	}
	return nil
}

// free returns how many bytes the last block still takes.
func (b *blob) free() int {
	if len(b.blocks) == 0 {
		return 0
	}
	return blockSize - len(b.blocks[len(b.blocks)-1])
}

// grow adds an empty block, or begins the file.
func (b *blob) grow() error {
	s := b.request.store
	s.mu.Lock()
	newFile, limit := s.newFile, s.spool.Limit
	if newFile == nil || limit == 0 || b.size < inMemory {
		defer s.mu.Unlock()
		if !s.memory.Take(b.request.client, blockSize) {
			return ErrFull
		}
		b.charged += blockSize
		b.blocks = append(b.blocks, make([]byte, 0, blockSize))
		return nil
	}
	s.mu.Unlock()
	f, err := newFile()
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	b.file, b.fileAt = f, b.size
	return nil
}

func (b *blob) appendFile(p []byte) error {
	s := b.request.store
	s.mu.Lock()
	taken := s.spool.Take(b.request.client, int64(len(p)))
	s.mu.Unlock()
	if !taken {
		return ErrFull
	}
	b.spooled += int64(len(p))
	n, err := b.file.WriteAt(p, b.size-b.fileAt)
	if b.size += int64(n); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// ReadAt reads as io.ReaderAt does.
func (b *blob) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && off < b.size {
		if b.file != nil && off >= b.fileAt {
			m, err := b.file.ReadAt(p[n:n+int(min(int64(len(p)-n), b.size-off))], off-b.fileAt)
			if n += m; err == nil && n < len(p) {
				err = io.EOF
			}
			return n, err
		}
		m := copy(p[n:], b.blocks[off/blockSize][off%blockSize:])
		n, off = n+m, off+int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// First returns its first bytes, at most so many, in parts; copies of those in the file.
func (b *blob) First(most int64) (parts [][]byte, err error) {
	for _, p := range b.blocks {
		if most <= 0 {
			return parts, nil
		}
		p = p[:min(int64(len(p)), most)]
		parts, most = append(parts, p), most-int64(len(p))
	}
	if b.file == nil || most <= 0 {
		return parts, nil
	}
	rest := make([]byte, min(most, b.size-b.fileAt))
	if _, err := b.file.ReadAt(rest, 0); err != nil && err != io.EOF {
		return parts, fmt.Errorf("spool: %w", err)
	}
	return append(parts, rest), nil
}

// freeLocked drops the bytes. The size stays.
func (b *blob) freeLocked() {
	s := b.request.store
	if b.charged > 0 {
		s.memory.Give(b.request.client, b.charged)
	}
	if b.spooled > 0 {
		s.spool.Give(b.request.client, b.spooled)
	}
	if b.file != nil {
		_ = b.file.Close() // nothing in it is needed any more
	}
	b.blocks, b.file, b.charged, b.spooled = nil, nil, 0, 0
	b.fileAt, b.size = 0, 0
}
