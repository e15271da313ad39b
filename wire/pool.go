package wire

import "github.com/evenkeel-lb/evenkeel/balance"

// Append writes the frame behind dst.
func (m *Register) Append(dst []byte) []byte {
	start, s := len(dst), &m.Server
	dst = begin(dst, TRegister)
	dst = putText(dst, 1, m.Pool, MaxName)
	dst = putText(dst, 2, string(s.ID), MaxName)
	dst = putText(dst, 3, s.Address, MaxText)
	dst = putText(dst, 4, s.Public, MaxText)
	dst = putFloat(dst, 5, s.Slots)
	dst = putFloat(dst, 6, s.Speed)
	dst = putLabels(dst, 7, s.Labels)
	dst = putText(dst, 8, s.Location, MaxName)
	dst = putText(dst, 9, m.Down, MaxText)
	return end(dst, start)
}

// Decode reads a payload.
func (m *Register) Decode(payload []byte) error {
	*m = Register{Server: balance.ServerSpec{Labels: m.Server.Labels[:0]}}
	s, f := &m.Server, fields{what: TRegister, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Pool = f.text(MaxName)
		case 2:
			s.ID = balance.ServerID(f.text(MaxName))
		case 3:
			s.Address = f.text(MaxText)
		case 4:
			s.Public = f.text(MaxText)
		case 5:
			s.Slots = f.float()
		case 6:
			s.Speed = f.float()
		case 7:
			s.Labels = f.label(s.Labels)
		case 8:
			s.Location = f.text(MaxName)
		case 9:
			m.Down = f.plain(MaxText)
		}
	}
	return f.err
}
