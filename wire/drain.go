package wire

import (
	"bytes"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Append writes the frame behind dst.
func (m *Drain) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, TDrain)
	dst = putText(dst, 1, m.Pool, MaxName)
	dst = putText(dst, 2, string(m.Server), MaxName)
	dst = putBool(dst, 3, m.Drain.On)
	dst = putUint(dst, 4, uint64(max(0, m.Drain.At)))
	dst = putText(dst, 5, m.Drain.By, MaxName)
	dst = putText(dst, 6, m.Drain.Reason, MaxReason)
	if len(m.Drain.Proof) > 0 {
		dst = putData(dst, 7, m.Drain.Proof)
	}
	return end(dst, start)
}

// Statement returns what a proof of the drain proves: all of it but the proof.
func (m *Drain) Statement() []byte {
	bare := *m
	bare.Drain.Proof = nil
	return bare.Append(nil)
}

// Decode reads a payload.
func (m *Drain) Decode(payload []byte) error {
	*m = Drain{}
	f := fields{what: TDrain, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Pool = f.text(MaxName)
		case 2:
			m.Server = balance.ServerID(f.text(MaxName))
		case 3:
			m.Drain.On = f.bool()
		case 4:
			m.Drain.At = int64(f.upTo(latestTime))
		case 5:
			m.Drain.By = f.text(MaxName)
		case 6:
			m.Drain.Reason = f.text(MaxReason)
		case 7:
			m.Drain.Proof = f.data(MaxProof)
		}
	}
	return f.err
}

// latestTime is the latest time of day that travels, in microseconds since 1970: in the year 2255.
const latestTime = 9e15

// Own copies the strings out of the buffer that m was decoded from.
func (m *Drain) Own() {
	for _, s := range []*string{&m.Pool, (*string)(&m.Server), &m.Drain.By, &m.Drain.Reason} {
		*s = strings.Clone(*s)
	}
	m.Drain.Proof = bytes.Clone(m.Drain.Proof)
}
