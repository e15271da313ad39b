package edge

import (
	"io"

	"github.com/evenkeel-lb/evenkeel/h2"
)

// tongue is how a loop speaks HTTP/2 on one connection: all frames of a turn leave in one
// write at its end, and what the peer does not take at once is kept.
type tongue struct {
	end
	speaker interface{ flush() }
	out     []byte // frames of this turn; nil: none
	down    outflow
	taken   int64 // bytes that the socket has taken
	spoken  bool  // it is among the loop's speakers
	room    int64 // bytes of bodies that the peer takes yet, of all streams
	first   int64 // of one stream, when it begins
	most    int   // bytes of a frame
	unpack  bool  // the peer must be told that we use no table of fields
}

// newTongue is before anything is known of the peer; the end is not begun. All that it says
// in a turn it says at the turn's end.
func newTongue(who interface{ flush() }) tongue {
	return tongue{end: end{prompt: true}, speaker: who, room: h2.WindowFirst, first: h2.WindowFirst, most: h2.FrameMost}
}

const (
	mostBehind = 128 << 10 // bytes on their way to a peer, after which no more of a body goes there
	mostFrames = 4         // rooms for frames that are kept
	frameRoom  = 16 << 10  // of those
)

// speak has what is put into out, or is kept, leave at the end of the turn: all of a
// turn in one write.
func (k *tongue) speak() {
	l := k.loop
	if k.out == nil {
		if n := len(l.frameRooms); n > 0 {
			k.out, l.frameRooms = l.frameRooms[n-1], l.frameRooms[:n-1]
		} else {
			k.out = make([]byte, 0, frameRoom)
		}
	}
	if !k.spoken {
		k.spoken = true
		l.speakers = append(l.speakers, k)
	}
}

// speak lets all say what they have to.
func (l *loop) speak() {
	for i := 0; i < len(l.speakers); i++ { // one may say something to another
		k := l.speakers[i]
		l.speakers[i] = nil
		k.spoken = false
		if k.isOpen() {
			k.speaker.flush()
		}
		k.lay()
	}
	l.speakers = l.speakers[:0]
}

// lay gives the room for frames back.
func (k *tongue) lay() {
	if l := k.loop; k.out != nil && !k.spoken {
		if len(l.frameRooms) < mostFrames && cap(k.out) <= 2*mostBehind {
			l.frameRooms = append(l.frameRooms, k.out[:0])
		}
		k.out = nil
	}
}

// send sends what there is to say. clear: all has gone. took: so many bytes have.
func (k *tongue) send() (clear bool, took int64, err error) {
	before, kept := k.down.waiting()+int64(len(k.out)), k.down.waiting()
	clear, err = k.down.flush(&k.end)
	k.taken += kept - k.down.waiting()
	if err == nil && len(k.out) > 0 {
		k.down.compact()
		n := 0
		n, err = k.down.write(&k.end, k.out)
		k.taken += int64(n)
		clear = k.down.empty()
	}
	k.out = k.out[:0]
	return clear, before - k.down.waiting(), err
}

// behind is how many bytes the peer has not taken yet.
func (k *tongue) behind() int { return len(k.out) + int(k.down.waiting()) }

// beginBlock begins a block of fields.
func (k *tongue) beginBlock() (start int) {
	k.speak()
	start = len(k.out)
	k.out = h2.BeginBlock(k.out)
	if k.unpack {
		k.unpack = false
		k.out = append(k.out, h2.EmptyTable)
	}
	return start
}

// bid says goodbye.
func (k *tongue) bid(last uint32, c h2.Code, reason string) {
	k.speak()
	k.out = h2.AppendGoAway(k.out, last, c, reason)
}

// more reads what has come behind what is kept, and returns both, good until the next
// read of the loop's. It returns EAGAIN if there is nothing, io.EOF at the end.
func (k *tongue) more(kept []byte, most int) ([]byte, error) {
	l := k.loop
	if l.frames == nil {
		l.frames = make([]byte, h2.HeadSize+h2.FrameMost+allAtOnce)
	}
	at := copy(l.frames, kept)
	n, err := k.read(l.frames[at : at+most])
	if n == 0 && err == nil {
		err = io.EOF
	}
	return l.frames[:at+max(0, n)], err
}

// heed takes in what the peer has chosen. first: bytes that one stream may now take.
// streams: how many there may be at once, if it says so, else as it was given.
func (k *tongue) heed(f *h2.Frame, was uint32) (first int64, streams uint32, err error) {
	first, streams = k.first, was
	for p := f.Payload; len(p) > 0; {
		var s h2.Setting
		var value uint32
		if s, value, p, err = h2.NextSetting(p); err != nil {
			return first, streams, err
		}
		switch s {
		case h2.MaxConcurrentStreams:
			streams = value
		case h2.InitialWindowSize:
			first = int64(value)
		case h2.MaxFrameSize:
			k.most = min(int(value), allAtOnce)
		case h2.HeaderTableSize:
			k.unpack = true
		}
	}
	k.speak()
	k.out = h2.AppendSettingsAck(k.out)
	return first, streams, nil
}

// widen makes a window n bytes wider, as WINDOW_UPDATE asks (RFC 9113, 6.9).
func widen(window *int64, n int64) *h2.Error {
	switch {
	case n == 0:
		return &h2.Error{Code: h2.ProtocolError, Reason: "WINDOW_UPDATE of nothing"}
	case *window+n > h2.WindowMost:
		return &h2.Error{Code: h2.FlowControlError, Reason: "a window is larger than windows may be"}
	}
	*window += n
	return nil
}

// resized is a stream's window when what each may take at first changes (RFC 9113, 6.9.2).
func resized(window *int64, by int64) error {
	if *window += by; *window > h2.WindowMost {
		return &h2.Error{Code: h2.FlowControlError, Reason: "INITIAL_WINDOW_SIZE makes a window larger than windows may be"}
	}
	return nil
}
