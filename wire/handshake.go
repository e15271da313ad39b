package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Greet reads the first frame of a connection, which must be a Hello that this build
// can serve, and returns the version to speak. A size of zero without a fail says that
// more bytes are needed; the caller bounds how long it waits for them. A fail is the
// answer to send before closing.
//
// A Hello has MaxHello bytes at most, so of a peer that is not known yet no more is kept.
func Greet(buf []byte, hello *Hello) (version uint32, size int, fail *Fail) {
	if len(buf) >= headerSize && Type(buf[4]) == THello {
		if length := binary.LittleEndian.Uint32(buf); length > MaxHello-4 && length <= MaxFrame-4 {
			return 0, 0, notOurs(buf, &FrameError{What: fmt.Sprintf("a hello of length %d, at most %d", length, MaxHello-4)})
		}
	}
	_, payload, size, err := Next(buf)
	switch {
	case err != nil:
		return 0, 0, notOurs(buf, err)
	case len(buf) >= headerSize && Type(buf[4]) != THello:
		return 0, 0, notOurs(buf, &FrameError{What: fmt.Sprintf("type %d, but a connection begins with a hello, type %d", buf[4], THello), Offset: 4})
	case size == 0:
		return 0, 0, nil
	}
	if err := hello.Decode(payload); err != nil {
		return 0, 0, notOurs(buf, err)
	}
	if fail := hello.check(); fail != nil {
		return 0, 0, fail
	}
	return min(hello.Max, MaxVersion), size, nil
}

func notOurs(buf []byte, err error) *Fail {
	detail := err.Error()
	if name := Foreign(buf); name != "" {
		detail = fmt.Sprintf("this is Evenkeel's own protocol, not %s", name)
	}
	return &Fail{Code: BadFrame, Detail: detail}
}

// check returns why the Hello cannot be served, or nil.
func (m *Hello) check() *Fail {
	switch {
	case m.Min > m.Max:
		return &Fail{Code: BadVersion, Detail: fmt.Sprintf("versions %d to %d are no range", m.Min, m.Max)}
	case m.Max < MinVersion || m.Min > MaxVersion:
		return &Fail{Code: BadVersion, Detail: fmt.Sprintf("you speak versions %d to %d of the protocol, this side %d to %d: upgrade the older one", m.Min, m.Max, MinVersion, MaxVersion)}
	case m.Role != RoleEdge && m.Role != RoleAgent:
		return &Fail{Code: BadRole, Detail: fmt.Sprintf("role %d is neither edge, %d, nor agent, %d", m.Role, RoleEdge, RoleAgent)}
	case m.ID == "":
		return &Fail{Code: BadFrame, Detail: "the hello has no id"}
	}
	problem := balance.BadName(m.ID)
	if m.Role == RoleEdge {
		problem = balance.BadEdgeID(balance.EdgeID(m.ID))
	}
	if problem != "" {
		return &Fail{Code: BadFrame, Detail: "the hello's id: " + problem}
	}
	if problem := balance.BadText(m.Software, MaxName); problem != "" {
		return &Fail{Code: BadFrame, Detail: "the hello's software: " + problem}
	}
	return nil
}

// Error lets a Fail that came in be returned.
func (m *Fail) Error() string {
	if m.Detail == "" {
		return m.Code.String()
	}
	return m.Code.String() + ": " + m.Detail
}

var codeNames = [...]string{BadVersion: "bad version", BadFrame: "bad frame", BadRole: "bad role", Taken: "id taken",
	BadRegister: "bad registration", Unknown: "unknown pool", Forbidden: "forbidden", GoingAway: "going away", Connected: "connected already", Busy: "busy"}

func (c Code) String() string {
	if int(c) < len(codeNames) && codeNames[c] != "" {
		return codeNames[c]
	}
	return fmt.Sprintf("code %d", uint16(c))
}

var typeNames = [...]string{THello: "hello", TWelcome: "welcome", TFail: "fail", TPing: "ping", TPong: "pong",
	TAsk: "ask", TGranted: "granted", TQueued: "queued", TRefused: "refused", TCancel: "cancel", TDone: "done",
	TReports: "reports", THold: "hold", TWatch: "watch", TSnapshot: "snapshot", TChange: "change", TForm: "form", TLead: "lead", TDrain: "drain", TFence: "fence", TChosen: "chosen", TEnded: "ended", TWorking: "working", TOverride: "override", TUnplaced: "unplaced", TRegister: "register",
	TDispatch: "dispatch", TVerdict: "verdict", TGoodbye: "goodbye", TEnrol: "enrol", TEnrolled: "enrolled"}

// String returns the message's name in lower case, or its number if there is none.
func (t Type) String() string {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Known reports whether this build has a message of the type. Others are skipped.
func (t Type) Known() bool { return int(t) < len(typeNames) && typeNames[t] != "" }
