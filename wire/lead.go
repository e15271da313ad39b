package wire

// Append writes the frame behind dst.
func (m *Lead) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, TLead)
	dst = putText(dst, 1, m.Pool, MaxName)
	dst = putUint(dst, 2, m.Fence)
	dst = putText(dst, 3, m.Leader, MaxText)
	return end(dst, start)
}

// Decode reads a payload.
func (m *Lead) Decode(payload []byte) error {
	*m = Lead{}
	f := fields{what: TLead, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Pool = f.text(MaxName)
		case 2:
			m.Fence = f.uint()
		case 3:
			m.Leader = f.text(MaxText)
		}
	}
	return f.err
}
