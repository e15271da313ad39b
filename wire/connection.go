package wire

import "math"

// Append writes the frame behind dst.
func (m *Hello) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, THello)
	dst = putUint(dst, 1, uint64(m.Min))
	dst = putUint(dst, 2, uint64(m.Max))
	dst = putUint(dst, 3, uint64(m.Role))
	dst = putText(dst, 4, m.ID, MaxName)
	dst = putText(dst, 5, m.Software, MaxName)
	dst = putFixed(dst, 6, m.Instance)
	for _, epoch := range m.Connected[:min(len(m.Connected), MaxConnected)] {
		dst = putFixed(dst, 7, epoch)
	}
	for _, at := range m.Inside[:min(len(m.Inside), MaxInside)] {
		dst = putItem(dst, 8, at, MaxName)
	}
	return end(dst, start)
}

// Decode reads a payload.
func (m *Hello) Decode(payload []byte) error {
	*m = Hello{}
	f := fields{what: THello, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Min = uint32(f.upTo(math.MaxUint32))
		case 2:
			m.Max = uint32(f.upTo(math.MaxUint32))
		case 3:
			m.Role = Role(f.upTo(math.MaxUint8))
		case 4:
			m.ID = f.text(MaxName)
		case 5:
			m.Software = f.text(MaxName)
		case 6:
			m.Instance = f.fixed()
		case 7:
			if f.room(len(m.Connected), MaxConnected) {
				m.Connected = append(m.Connected, f.fixed())
			}
		case 8:
			if f.room(len(m.Inside), MaxInside) {
				m.Inside = append(m.Inside, f.text(MaxName))
			}
		}
	}
	return f.err
}

// Append writes the frame behind dst.
func (m *Welcome) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, TWelcome)
	dst = putUint(dst, 1, uint64(m.Version))
	dst = putText(dst, 2, m.Master, MaxName)
	dst = putUint(dst, 3, m.Epoch)
	dst = putBool(dst, 4, m.Elected)
	for _, at := range m.Inside[:min(len(m.Inside), MaxInside)] {
		dst = putItem(dst, 5, at, MaxName)
	}
	dst = putBool(putBool(dst, 6, m.Recalls), 7, m.Ends)
	return end(putBool(dst, 8, m.Overrides), start)
}

// Decode reads a payload.
func (m *Welcome) Decode(payload []byte) error {
	*m = Welcome{}
	f := fields{what: TWelcome, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Version = uint32(f.upTo(math.MaxUint32))
		case 2:
			m.Master = f.plain(MaxName)
		case 3:
			m.Epoch = f.uint()
		case 4:
			m.Elected = f.bool()
		case 5:
			if f.room(len(m.Inside), MaxInside) {
				m.Inside = append(m.Inside, f.text(MaxName))
			}
		case 6:
			m.Recalls = f.bool()
		case 7:
			m.Ends = f.bool()
		case 8:
			m.Overrides = f.bool()
		}
	}
	return f.err
}

// Append writes the frame behind dst.
func (m *Fail) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, TFail)
	dst = putUint(dst, 1, uint64(m.Code))
	dst = putText(dst, 2, m.Detail, MaxText)
	return end(dst, start)
}

// Decode reads a payload.
func (m *Fail) Decode(payload []byte) error {
	*m = Fail{}
	f := fields{what: TFail, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Code = Code(f.upTo(math.MaxUint16))
		case 2:
			m.Detail = f.plain(MaxText)
		}
	}
	return f.err
}

// Append writes the frame behind dst.
func (m *Ping) Append(dst []byte) []byte { return appendSeq(dst, TPing, m.Seq) }

// Decode reads a payload.
func (m *Ping) Decode(payload []byte) error { return decodeSeq(TPing, payload, &m.Seq) }

// Append writes the frame behind dst.
func (m *Pong) Append(dst []byte) []byte { return appendSeq(dst, TPong, m.Seq) }

// Decode reads a payload.
func (m *Pong) Decode(payload []byte) error { return decodeSeq(TPong, payload, &m.Seq) }

// Append writes the frame behind dst.
func (m *Cancel) Append(dst []byte) []byte { return appendSeq(dst, TCancel, m.Seq) }

// Decode reads a payload.
func (m *Cancel) Decode(payload []byte) error { return decodeSeq(TCancel, payload, &m.Seq) }

// appendSeq writes a message whose only field is a sequence number, 1.
func appendSeq(dst []byte, t Type, seq uint64) []byte {
	start := len(dst)
	return end(putUint(begin(dst, t), 1, seq), start)
}

func decodeSeq(t Type, payload []byte, seq *uint64) error {
	*seq = 0
	f := fields{what: t, in: payload}
	for f.next() {
		if f.no == 1 {
			*seq = f.uint()
		}
	}
	return f.err
}

// Append writes the frame behind dst.
func (m *Goodbye) Append(dst []byte) []byte {
	start := len(dst)
	return end(begin(dst, TGoodbye), start)
}

// Decode reads a payload.
func (m *Goodbye) Decode(payload []byte) error {
	f := fields{what: TGoodbye, in: payload}
	for f.next() {
	}
	return f.err
}
