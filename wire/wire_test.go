package wire

import (
	"maps"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

const now balance.Instant = 1e15

// message is any of the package's messages, with now bound.
type message interface {
	append(dst []byte) []byte
	decode(payload []byte) error
}

type plain interface {
	Append(dst []byte) []byte
	Decode(payload []byte) error
}

type timed interface {
	Append(dst []byte, now balance.Instant) []byte
	Decode(payload []byte, now balance.Instant) error
}

type plainMessage struct{ plain }

func (m plainMessage) append(dst []byte) []byte    { return m.Append(dst) }
func (m plainMessage) decode(payload []byte) error { return m.Decode(payload) }

type timedMessage struct{ timed }

func (m timedMessage) append(dst []byte) []byte    { return m.Append(dst, now) }
func (m timedMessage) decode(payload []byte) error { return m.Decode(payload, now) }

func bind(m any) message {
	if t, ok := m.(timed); ok {
		return timedMessage{t}
	}
	return plainMessage{m.(plain)}
}

var blanks = map[Type]func() any{
	THello: func() any { return new(Hello) }, TWelcome: func() any { return new(Welcome) }, TFail: func() any { return new(Fail) },
	TPing: func() any { return new(Ping) }, TPong: func() any { return new(Pong) },
	TAsk: func() any { return new(Ask) }, TGranted: func() any { return new(Granted) }, TQueued: func() any { return new(Queued) },
	TRefused: func() any { return new(Refused) }, TCancel: func() any { return new(Cancel) }, TDone: func() any { return new(Done) },
	TReports: func() any { return new(Reports) }, THold: func() any { return new(Hold) }, TWatch: func() any { return new(Watch) },
	TSnapshot: func() any { return new(Snapshot) }, TChange: func() any { return new(Change) }, TForm: func() any { return new(Form) }, TLead: func() any { return new(Lead) }, TDrain: func() any { return new(Override) }, TOverride: func() any { return new(Override) }, TFence: func() any { return new(Fence) }, TChosen: func() any { return new(Chosen) }, TEnded: func() any { return new(Ended) }, TWorking: func() any { return new(Working) }, TUnplaced: func() any { return new(Unplaced) }, TRegister: func() any { return new(Register) },
	TDispatch: func() any { return new(Dispatch) }, TVerdict: func() any { return new(Verdict) }, TGoodbye: func() any { return new(Goodbye) }, TEnrol: func() any { return new(Enrol) }, TEnrolled: func() any { return new(Enrolled) },
}

var report = PoolReport{Pool: "render", Report: balance.Report{Server: "r1", Age: 1500 * time.Microsecond, Window: 500 * time.Millisecond,
	Metrics: []balance.Metric{{Name: balance.CPUUtilization, Value: .5}, {Name: balance.InFlight, Value: 3}}}}

// full has each message with every field set, and further examples of some.
var full = []struct {
	name string
	t    Type
	m    any
}{
	{"hello", THello, &Hello{Min: 2, Max: 3, Role: RoleEdge, ID: "edge-a", Software: "evenkeel 0.1", Instance: 0x5eed, Connected: []uint64{77}, Inside: []string{"127.0.0.1:7481"}}},
	{"welcome", TWelcome, &Welcome{Version: 2, Master: "m1", Epoch: 77, Elected: true, Inside: []string{"[::]:7480"}, Recalls: true, Ends: true, Overrides: true}},
	{"fail", TFail, &Fail{Code: Taken, Detail: "edge-a is connected from elsewhere"}},
	{"ping", TPing, &Ping{Seq: 300}},
	{"pong", TPong, &Pong{Seq: 300}},
	{"ask", TAsk, &Ask{Seq: 5, Pool: "render", Request: balance.Request{Key: "k", Client: netip.MustParseAddr("192.0.2.7"), Priority: -2, Tenant: "t",
		Deadline: now + 5e6, Link: balance.LinkRedirect, Exclude: []balance.ServerID{"r1", "r2"}, Labels: []balance.Label{{Key: "zone", Value: "b"}},
		Location: "eu", Method: "GET", Host: "h", Path: "/p", Hold: time.Second, ID: 0x1d, Belief: balance.Disbelieved, Size: 240, Class: "long"}, Reports: []PoolReport{report}}},
	{"granted", TGranted, &Granted{Seq: 5, Grant: balance.Grant{Lease: 0x3f00000000017, Server: "r1", Address: "r1.test:8000", At: "10.0.0.5:8000", Public: "http://r1.example", Expires: now + 1e9, Fence: 42, Tag: 0xa1b2c3d4e5f60718}, Queue: time.Millisecond, Number: 18}},
	{"alias", TGranted, &Granted{Seq: 6, Grant: balance.Grant{Lease: 0x3f00000000018, Fence: 42}, Number: 18}},
	{"queued", TQueued, &Queued{Seq: 5, Position: 1}},
	{"follow", TAsk, &Ask{Seq: 5, Pool: "render", Request: balance.Request{Follow: true}}},
	{"standing", TQueued, &Queued{Seq: 5, Position: 3, Wait: 2 * time.Second}},
	{"refused", TRefused, &Refused{Seq: 5, Refusal: balance.Refusal{Reason: balance.Saturated, RetryAfter: time.Second, Detail: "full", Leader: "10.0.0.2:7400", LeaderID: "m2"}}},
	{"onward", TAsk, &Ask{Seq: 5, Pool: "render", Request: balance.Request{MayOverflow: true}}},
	{"overflow", TRefused, &Refused{Seq: 5, Refusal: balance.Refusal{Reason: balance.Overflowed, Detail: "full", Pool: "cloud"}}},
	{"cancel", TCancel, &Cancel{Seq: 5}},
	{"done", TDone, &Done{Pool: "render", Lease: 0x3f00000000017, Outcome: balance.Outcome{Result: balance.Full, Duration: 12 * time.Millisecond,
		RetryAfter: 5 * time.Second, Status: 200, GRPC: 8, Error: "full", FirstByte: 3 * time.Millisecond, Bytes: 4096, Size: 180}, Tag: 0xa1b2c3d4e5f60718}},
	{"reports", TReports, &Reports{Reports: []PoolReport{report}}},
	{"formed", TReports, &Reports{Reports: []PoolReport{{Form: 2, Report: balance.Report{Age: 1500 * time.Microsecond, Window: 500 * time.Millisecond, Metrics: []balance.Metric{{Value: .5}, {Value: 3}}}}}}},
	{"hold", THold, &Hold{Pool: "render", Lease: 0x3f00000000017, Server: "r1", Age: time.Second, Left: time.Minute, Tag: 0xa1b2c3d4e5f60718, Idle: true, Size: 240, Class: "long"}},
	{"watch", TWatch, &Watch{Pool: "render"}},
	{"snapshot", TSnapshot, &Snapshot{Snapshot: balance.Snapshot{Pool: "render", Version: 9, Dispatch: true, Servers: []balance.SnapshotServer{
		{ID: "r1", Address: "r1.test:8000", At: "10.0.0.5:8000", Public: "http://r1.example", State: balance.Draining, Slots: 4, Service: .25, Load: 2, Basis: balance.BasisFirm, Labels: []balance.Label{{Key: "zone", Value: "b"}}}}, Edges: 3, LocalFrom: 5 * time.Millisecond}, More: true, Seq: 41}},
	{"change", TChange, &Change{Pool: "render", Version: 10, Dispatch: true, Servers: []Placed{{At: 2, Server: balance.SnapshotServer{
		ID: "r3", Address: "10.0.0.7:8000", Slots: 8, Service: .5}}}, Count: 3, Seq: 42, Edges: 3, Loads: []Load{{0, 5}, {1, .5}}, Capacities: []Capacity{{1, 4, .25}}, LocalFrom: 5 * time.Millisecond}},
	{"gap", TChange, &Change{Pool: "render", Version: 11, Count: 6, Seq: 43, Edges: 3, Loads: []Load{{0, 5}, {1, .5}, {5, 2}}}},
	{"kinds", TSnapshot, &Snapshot{Snapshot: balance.Snapshot{Pool: "render", Version: 9, Servers: []balance.SnapshotServer{{ID: "r1", Kind: balance.IsCanary}, {ID: "r2", Kind: balance.IsBackup}}, Canary: .05}, Seq: 41}},
	{"kind", TChange, &Change{Pool: "render", Version: 10, Servers: []Placed{{At: 1, Server: balance.SnapshotServer{ID: "r2", Kind: balance.IsCanary}}}, Count: 2, Seq: 42, Canary: .5}},
	{"form", TForm, &Form{Number: 2, Names: []string{balance.CPUUtilization, balance.InFlight}}},
	{"lead", TLead, &Lead{Pool: "render", Fence: 42, Leader: "10.0.0.2:7400", Master: "m2"}},
	{"drain", TDrain, &Override{Pool: "render", Server: "r1", Override: balance.Override{On: true, At: 1796032800000000, By: "ann", Reason: "disk"}}},
	{"override", TOverride, &Override{Pool: "render", Server: "r1", Override: balance.Override{Setting: balance.SlotsSet, Value: 8, On: true, At: 1796032800000000, By: "ann", Reason: "disk"}}},
	{"fence", TFence, &Fence{Pool: "render", Seen: 42}},
	{"unplaced", TUnplaced, &Unplaced{Detail: "no pool \"render\""}},
	{"register", TRegister, &Register{Pool: "render", Server: balance.ServerSpec{ID: "r1", Address: "10.0.0.5:8000", Public: "http://r1.example", Slots: 4, Speed: 2,
		Labels: []balance.Label{{Key: "zone", Value: "b"}}, Location: "eu"}, Down: "refused"}},
	{"dispatch", TDispatch, &Dispatch{Lease: 0x3f00000000017, Pool: "render", Edge: "edge-a", Request: balance.Request{Key: "k", Client: netip.MustParseAddr("2001:db8::7"),
		Method: "GET", Host: "h", Path: "/p", Tenant: "t", Priority: 3, Size: 240, Class: "long"}, Limit: 50 * time.Millisecond, Fence: 42, Tag: 0xa1b2c3d4e5f60718}},
	{"verdict", TVerdict, &Verdict{Lease: 0x3f00000000017, Accepted: true, Detail: "d"}},
	{"goodbye", TGoodbye, &Goodbye{}},
	{"enrol", TEnrol, &Enrol{Token: "c2VjcmV0", Pool: "render", ID: "r1", Address: "10.0.0.5:8000", Request: []byte{0x30, 0x81, 0xc5}}},
	{"chosen", TChosen, &Chosen{Pool: "render", Lease: 0x17, Server: "r1", Request: balance.Request{Key: "k", Client: netip.MustParseAddr("192.0.2.7"), Priority: -2, Tenant: "t", Belief: balance.Proven, ID: 0x1d, Size: 240, Class: "long"}}},
	{"ended", TEnded, &Ended{Lease: 0x3f00000000017, Result: balance.Canceled, Lost: true}},
	{"working", TWorking, &Working{Leases: []balance.LeaseID{0x3f00000000017, 0x3f00000000018}}},
	{"enrolled", TEnrolled, &Enrolled{Chain: [][]byte{{0x30, 0x82}, {0x30, 0x83}}}},
}

func TestRoundTripOfEveryMessage(t *testing.T) {
	missing := maps.Clone(blanks)
	for _, test := range full {
		delete(missing, test.t)
	}
	for typ := range missing {
		t.Errorf("no example of %v", typ)
	}
	for _, test := range full {
		frame := bind(test.m).append(nil)
		got, payload, size, err := Next(frame)
		if err != nil || got != test.t || size != len(frame) {
			t.Fatalf("%s: Next = %v, size %d, %v; want %v, %d", test.name, got, size, err, test.t, len(frame))
		}
		back := blanks[test.t]()
		if err := bind(back).decode(payload); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if !reflect.DeepEqual(back, test.m) {
			t.Errorf("%s:\n got %+v\nwant %+v", test.name, back, test.m)
		}
	}
}
