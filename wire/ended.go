package wire

import (
	"encoding/binary"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Append writes the frame behind dst.
func (m *Ended) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, TEnded)
	dst = putFixed(dst, 1, uint64(m.Lease))
	dst = putUint(dst, 2, uint64(m.Result))
	dst = putBool(dst, 3, m.Lost)
	return end(dst, start)
}

// Decode reads a payload.
func (m *Ended) Decode(payload []byte) error {
	*m = Ended{}
	f := fields{what: TEnded, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Lease = balance.LeaseID(f.fixed())
		case 2:
			m.Result = balance.Result(f.upTo(uint64(balance.Results - 1)))
		case 3:
			m.Lost = f.bool()
		}
	}
	return f.err
}

// Append writes the frame behind dst.
func (m *Working) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, TWorking)
	for _, lease := range m.Leases[:min(len(m.Leases), MaxWorking)] {
		dst = binary.LittleEndian.AppendUint64(putTag(dst, 1, kindFixed), uint64(lease))
	}
	return end(dst, start)
}

// Decode reads a payload.
func (m *Working) Decode(payload []byte) error {
	m.Leases = m.Leases[:0]
	f := fields{what: TWorking, in: payload}
	for f.next() {
		if f.no == 1 && f.room(len(m.Leases), MaxWorking) {
			m.Leases = append(m.Leases, balance.LeaseID(f.fixed()))
		}
	}
	return f.err
}
