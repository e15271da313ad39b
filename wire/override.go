package wire

import (
	"bytes"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Append writes the frame behind dst.
func (m *Override) Append(dst []byte) []byte {
	start, o := len(dst), &m.Override
	dst = begin(dst, m.Type())
	dst = putText(dst, 1, m.Pool, MaxName)
	dst = putText(dst, 2, string(m.Server), MaxName)
	dst = putBool(dst, 3, o.On)
	dst = putUint(dst, 4, uint64(max(0, o.At)))
	dst = putText(dst, 5, o.By, MaxName)
	dst = putText(dst, 6, o.Reason, MaxReason)
	if len(o.Proof) > 0 {
		dst = putData(dst, 7, o.Proof)
	}
	dst = putUint(dst, 8, uint64(o.Setting))
	dst = putFloat(dst, 9, o.Value)
	return end(dst, start)
}

// Type returns the type of the message's frame.
func (m *Override) Type() Type {
	if m.Override.Setting == balance.Drained {
		return TDrain
	}
	return TOverride
}

// Statement returns what a proof of the override proves: all of it but the proof.
func (m *Override) Statement() []byte {
	bare := *m
	bare.Override.Proof = nil
	return bare.Append(nil)
}

// Decode reads a payload. A receiver need not tell frames of both types apart: one without a setting is of a drain.
func (m *Override) Decode(payload []byte) error {
	*m = Override{}
	o, f := &m.Override, fields{what: TOverride, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Pool = f.text(MaxName)
		case 2:
			m.Server = balance.ServerID(f.text(MaxName))
		case 3:
			o.On = f.bool()
		case 4:
			o.At = int64(f.upTo(latestTime))
		case 5:
			o.By = f.text(MaxName)
		case 6:
			o.Reason = f.text(MaxReason)
		case 7:
			o.Proof = f.data(MaxProof)
		case 8:
			o.Setting = balance.Setting(f.upTo(mostSetting))
		case 9:
			o.Value = f.float()
		}
	}
	return f.err
}

// mostSetting is the largest number of a setting that travels. Edges and agents keep also those that they do not know.
const mostSetting = 255

// latestTime is the latest time of day that travels, in microseconds since 1970: in the year 2255.
const latestTime = 9e15

// Own copies the strings out of the buffer that m was decoded from.
func (m *Override) Own() {
	for _, s := range []*string{&m.Pool, (*string)(&m.Server), &m.Override.By, &m.Override.Reason} {
		*s = strings.Clone(*s)
	}
	m.Override.Proof = bytes.Clone(m.Override.Proof)
}
