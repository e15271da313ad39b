package wire

// Append writes the frame behind dst.
func (m *Unplaced) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, TUnplaced)
	dst = putText(dst, 1, m.Detail, MaxText)
	return end(dst, start)
}

// Decode reads a payload. Detail lies in it.
func (m *Unplaced) Decode(payload []byte) error {
	*m = Unplaced{}
	f := fields{what: TUnplaced, in: payload}
	for f.next() {
		if f.no == 1 {
			m.Detail = f.plain(MaxText)
		}
	}
	return f.err
}
