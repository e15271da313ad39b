package h2

import "encoding/binary"

// AppendFrame appends the head of a frame whose payload, of so many bytes, follows.
func AppendFrame(dst []byte, size int, t Type, flags Flags, stream uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, byte(size>>16), byte(size>>8), byte(size), byte(t), byte(flags)), stream)
}

// Chosen is a setting and its value.
type Chosen struct {
	Setting
	Value uint32
}

// AppendSettings appends SETTINGS; without any, it says nothing new.
func AppendSettings(dst []byte, all ...Chosen) []byte {
	dst = AppendFrame(dst, 6*len(all), Settings, 0, 0)
	for _, c := range all {
		dst = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(dst, uint16(c.Setting)), c.Value)
	}
	return dst
}

// AppendSettingsAck appends the acknowledgement of the peer's settings.
func AppendSettingsAck(dst []byte) []byte { return AppendFrame(dst, 0, Settings, Ack, 0) }

// AppendPing appends a PING of eight bytes.
func AppendPing(dst, data []byte, flags Flags) []byte {
	return append(AppendFrame(dst, len(data), Ping, flags, 0), data...)
}

// AppendReset ends a stream.
func AppendReset(dst []byte, stream uint32, c Code) []byte {
	return binary.BigEndian.AppendUint32(AppendFrame(dst, 4, RSTStream, 0, stream), uint32(c))
}

// AppendGoAway appends GOAWAY: streams above last are not processed.
func AppendGoAway(dst []byte, last uint32, c Code, reason string) []byte {
	dst = AppendFrame(dst, 8+len(reason), GoAway, 0, 0)
	dst = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(dst, last), uint32(c))
	return append(dst, reason...)
}

// AppendWindowUpdate gives credit for n bytes; stream 0 is the connection.
func AppendWindowUpdate(dst []byte, stream, n uint32) []byte {
	return binary.BigEndian.AppendUint32(AppendFrame(dst, 4, WindowUpdate, 0, stream), n)
}

// FinishBlock makes frames of the fields that stand in dst behind room for the head of a
// frame, which begins at start. A block larger than most goes on in CONTINUATION.
func FinishBlock(dst []byte, start int, flags Flags, stream uint32, most int) []byte {
	size := len(dst) - start - HeadSize
	if size <= most {
		AppendFrame(dst[:start], size, Headers, flags|EndHeaders, stream)
		return dst
	}
	block := append([]byte(nil), dst[start+HeadSize:]...) // rare
	dst = dst[:start]
	for t := Headers; ; t, flags = Continuation, 0 {
		n := min(most, len(block))
		if n == len(block) {
			flags |= EndHeaders
		}
		dst = append(AppendFrame(dst, n, t, flags, stream), block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return dst
		}
	}
}

// BeginBlock leaves room for the head of the frame that a block of fields becomes.
func BeginBlock(dst []byte) []byte { return append(dst, make([]byte, HeadSize)...) }
