package wire

// Append writes the frame behind dst.
func (m *Lead) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, TLead)
	dst = putText(dst, 1, m.Pool, MaxName)
	dst = putUint(dst, 2, m.Fence)
	dst = putText(dst, 3, m.Leader, MaxText)
	dst = putText(dst, 4, m.Master, MaxName)
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
			m.Leader = f.plain(MaxText)
		case 4:
			m.Master = f.plain(MaxName)
		}
	}
	return f.err
}

// Append writes the frame behind dst.
func (m *Fence) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, TFence)
	dst = putText(dst, 1, m.Pool, MaxName)
	dst = putUint(dst, 2, m.Seen)
	return end(dst, start)
}

// Decode reads a payload.
func (m *Fence) Decode(payload []byte) error {
	*m = Fence{}
	f := fields{what: TFence, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Pool = f.text(MaxName)
		case 2:
			m.Seen = f.uint()
		}
	}
	return f.err
}
