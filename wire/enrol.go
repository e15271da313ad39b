package wire

import "encoding/binary"

// Append writes the frame behind dst.
func (m *Enrol) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, TEnrol)
	dst = putText(dst, 1, m.Token, MaxName)
	dst = putText(dst, 2, m.Pool, MaxName)
	dst = putText(dst, 3, m.ID, MaxName)
	dst = putText(dst, 4, m.Address, MaxText)
	if len(m.Request) > 0 {
		dst = putData(dst, 5, m.Request)
	}
	return end(dst, start)
}

// Decode reads a payload. All of m lies in it.
func (m *Enrol) Decode(payload []byte) error {
	*m = Enrol{}
	f := fields{what: TEnrol, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Token = f.text(MaxName)
		case 2:
			m.Pool = f.text(MaxName)
		case 3:
			m.ID = f.text(MaxName)
		case 4:
			m.Address = f.text(MaxText)
		case 5:
			m.Request = f.data(MaxRequest)
		}
	}
	return f.err
}

// Append writes the frame behind dst.
func (m *Enrolled) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, TEnrolled)
	for _, cert := range m.Chain[:min(len(m.Chain), MaxChain)] {
		dst = putData(dst, 1, cert)
	}
	return end(dst, start)
}

// Decode reads a payload. All of m lies in it.
func (m *Enrolled) Decode(payload []byte) error {
	*m = Enrolled{}
	f := fields{what: TEnrolled, in: payload}
	for f.next() {
		if f.no == 1 && f.room(len(m.Chain), MaxChain) {
			m.Chain = append(m.Chain, f.data(MaxCert))
		}
	}
	return f.err
}

// GreetEnrol reads the one frame of a connection by which an agent asks for a certificate, as Greet reads
// a Hello, within the same bounds.
func GreetEnrol(buf []byte, m *Enrol) (size int, fail *Fail) {
	if len(buf) >= headerSize {
		if t := Type(buf[4]); t != TEnrol {
			return 0, notOurs(buf, &FrameError{What: "this connection is for an enrol alone", Offset: 4})
		}
		if length := binary.LittleEndian.Uint32(buf); length > MaxHello-4 {
			return 0, notOurs(buf, &FrameError{What: "an enrol that is longer than a hello may be"})
		}
	}
	_, payload, size, err := Next(buf)
	if err == nil && size > 0 {
		err = m.Decode(payload)
	}
	if err != nil {
		return 0, notOurs(buf, err)
	}
	return size, nil
}
