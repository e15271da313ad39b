package wire

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Kinds of values.
const (
	kindVarint = 0 // unsigned LEB128, at most 10 bytes
	kindFixed  = 1 // 8 bytes, little endian
	kindBytes  = 2 // varint length, then as many bytes
)

// The put functions append a field, or nothing if its value is zero.

func putTag(dst []byte, no, kind int) []byte {
	return binary.AppendUvarint(dst, uint64(no<<3|kind))
}

func putUint(dst []byte, no int, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return binary.AppendUvarint(putTag(dst, no, kindVarint), v)
}

func putInt(dst []byte, no int, v int64) []byte {
	return putUint(dst, no, uint64(v)<<1^uint64(v>>63))
}

func putBool(dst []byte, no int, v bool) []byte {
	if !v {
		return dst
	}
	return putUint(dst, no, 1)
}

func putFixed(dst []byte, no int, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return binary.LittleEndian.AppendUint64(putTag(dst, no, kindFixed), v)
}

func putFloat(dst []byte, no int, v float64) []byte { return putFixed(dst, no, math.Float64bits(v)) }

func putText(dst []byte, no int, s string, limit int) []byte {
	if s == "" {
		return dst
	}
	return putItem(dst, no, s, limit)
}

// putItem appends one string of a list, even if it is empty.
func putItem(dst []byte, no int, s string, limit int) []byte {
	s = s[:min(len(s), limit)]
	dst = binary.AppendUvarint(putTag(dst, no, kindBytes), uint64(len(s)))
	return append(dst, s...)
}

// putData appends bytes, even if there are none. It cuts nothing: what is too long is the caller's fault.
func putData(dst []byte, no int, b []byte) []byte {
	dst = binary.AppendUvarint(putTag(dst, no, kindBytes), uint64(len(b)))
	return append(dst, b...)
}

func putAddr(dst []byte, no int, a netip.Addr) []byte {
	switch {
	case a.Is4():
		b := a.As4()
		return append(append(putTag(dst, no, kindBytes), 4), b[:]...)
	case a.Is6():
		b := a.As16()
		return append(append(putTag(dst, no, kindBytes), 16), b[:]...)
	}
	return dst
}

// maxMicros is the longest time that travels, some 71 years. Longer ones become it.
const maxMicros = 1 << 51

// micros rounds up, so that what is not zero stays so.
func micros(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return min(uint64(d-1)/1000+1, maxMicros)
}

func putDuration(dst []byte, no int, d time.Duration) []byte { return putUint(dst, no, micros(d)) }

// putInstant writes an instant as the time until it; one that has passed is a microsecond away.
func putInstant(dst []byte, no int, now, at balance.Instant) []byte {
	if at == 0 {
		return dst
	}
	return putUint(dst, no, max(1, micros(at.Sub(now))))
}

// nest opens a message within a message, whose fields are appended next; unnest writes
// its length, for which nest left one byte at mark.
func nest(dst []byte, no int) (_ []byte, mark int) {
	dst = append(putTag(dst, no, kindBytes), 0)
	return dst, len(dst)
}

func unnest(dst []byte, mark int) []byte {
	size := len(dst) - mark
	if size < 1<<7 {
		dst[mark-1] = byte(size)
		return dst
	}
	var length [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(length[:], uint64(size))
	dst = append(dst, length[:n-1]...)
	copy(dst[mark+n-1:], dst[mark:mark+size])
	copy(dst[mark-1:], length[:n])
	return dst
}

func putLabels(dst []byte, no int, labels []balance.Label) []byte {
	for _, l := range labels[:min(len(labels), MaxLabels)] {
		var mark int
		dst, mark = nest(dst, no)
		dst = putText(dst, 1, l.Key, MaxName)
		dst = putText(dst, 2, l.Value, MaxName)
		dst = unnest(dst, mark)
	}
	return dst
}
