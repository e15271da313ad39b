package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func TestNextSaysWhatIsWrong(t *testing.T) {
	for _, test := range []struct {
		in   string // hexadecimal
		size int
		want string // in the error; "": none
	}{
		{"", 0, ""},
		{"01000000", 0, ""},
		{"0100000023", 5, ""},
		{"0200000012", 0, ""},
		{"00000000ff", 0, "length 0 has no type"},
		{"fdff0f0010", 0, "length 1048573, at most 1048572"},
		{hex.EncodeToString([]byte("GET / HTTP/1.1\r\n")), 0, "length 542393671"},
	} {
		in, _ := hex.DecodeString(test.in)
		_, _, size, err := Next(in)
		var bad *FrameError
		switch {
		case size != test.size:
			t.Errorf("%s: size %d, want %d", test.in, size, test.size)
		case test.want == "" && err != nil, test.want != "" && (!errors.As(err, &bad) || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", test.in, err, test.want)
		}
	}
}

func TestDecodeSaysWhatIsWrongAndWhere(t *testing.T) {
	long := strings.Repeat("61", 256)
	for _, test := range []struct {
		name   string
		t      Type
		in     string
		want   string
		offset int
	}{
		{"number 0", THello, "0001", "hello: field 0: a field has the number 0", 1},
		{"kind 5", THello, "0d01", "kind 5 is none of", 1},
		{"wrong kind", THello, "0a0161", "hello: field 1: kind 2, want 0", 3},
		{"varint cut off", THello, "0880", "varint is cut off", 1},
		{"varint of 11 bytes", THello, "08" + strings.Repeat("ff", 10) + "01", "varint is cut off or longer", 1},
		{"bytes cut off", THello, "2205616263", "5 bytes, but only 3 follow", 2},
		{"fixed cut off", TDone, "1101020304", "cut off within 8 bytes", 1},
		{"uint32", TWelcome, "08ffffffff1f", "8589934591, at most 4294967295", 6},
		{"name", TWatch, "0a8002" + long, "watch: field 1: 256 bytes, at most 255", 259},
		{"address", TAsk, "2203010203", "an address of 3 bytes, want 4 or 16", 5},
		{"link", TAsk, "4002", "ask: field 8: 2, at most 1", 2},
		{"time", TAsk, "38" + "ffffffffffffffff7f", "at most 2251799813685248", 10},
		{"result", TDone, "1809", "9, at most 8", 2},
		{"state", TSnapshot, "22022004", "4, at most 3", 4},
		{"within", TReports, "0a04" + "2202" + "0801", "field 1: kind 0, want 2", 6},
		{"values", TReports, "0a04" + "32020102", "field 6: 2 bytes of values, want 8 each", 6},
		{"form", TForm, "0841", "65, at most 64", 2},
		{"list cut off", TChange, "4203000102", "field 8: a list is cut off within an entry", 5},
		{"place", TChange, "4208808040" + "0000000000", "field 8: a place beyond 1048575", 10},
		{"too many", TAsk, strings.Repeat("4a00", 65), "field 9: more than 64 of them", 130},
		{"too many labels", TRegister, strings.Repeat("3a00", 65), "field 7: more than 64", 130},
		{"too many reports", TAsk, strings.Repeat("820100", 17), "field 16: more than 16", 51},
		{"too many metrics", TReports, "0a8202" + strings.Repeat("2200", 129), "field 4: more than 128", 261},
	} {
		in, err := hex.DecodeString(test.in)
		if err != nil {
			t.Fatal(test.name, err)
		}
		err = bind(blanks[test.t]()).decode(in)
		var bad *FrameError
		if !errors.As(err, &bad) || !strings.Contains(bad.What, test.want) || bad.Offset != test.offset {
			t.Errorf("%s: %v, want %q at byte %d", test.name, err, test.want, test.offset)
		}
	}
}

func TestUnknownFieldsAreSkipped(t *testing.T) {
	future, _ := hex.DecodeString("f80701" + "f9070102030405060708" + "fa0703616263")
	for _, test := range full {
		_, payload, _, _ := Next(bind(test.m).append(nil))
		back := blanks[test.t]()
		if err := bind(back).decode(append(bytes.Clone(future), payload...)); err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if !reflect.DeepEqual(back, test.m) {
			t.Errorf("%s:\n got %+v\nwant %+v", test.name, back, test.m)
		}
	}
}

func TestDecodeForgetsWhatTheTargetHeld(t *testing.T) {
	for _, test := range full {
		used := blanks[test.t]()
		_, payload, _, _ := Next(bind(test.m).append(nil))
		if err := bind(used).decode(payload); err != nil {
			t.Fatal(err)
		}
		if err := bind(used).decode(nil); err != nil {
			t.Fatal(err)
		}
		got, want := bind(used).append(nil), bind(blanks[test.t]()).append(nil)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: decoded from nothing it appends as %x, want %x", test.name, got, want)
		}
	}
}

func TestStringsLieInThePayload(t *testing.T) {
	_, payload, _, _ := Next((&Watch{Pool: "render"}).Append(nil))
	var m Watch
	if err := m.Decode(payload); err != nil {
		t.Fatal(err)
	}
	kept := strings.Clone(m.Pool)
	for i := range payload {
		payload[i] = 'x'
	}
	if m.Pool != "xxxxxx" || kept != "render" {
		t.Errorf("after the buffer is used again: %q, its clone %q", m.Pool, kept)
	}
}

func TestAppendKeepsToTheLimits(t *testing.T) {
	text, name := strings.Repeat("t", 2*MaxText), strings.Repeat("n", 2*MaxName)
	labels := make([]balance.Label, 2*MaxLabels)
	for i := range labels {
		labels[i] = balance.Label{Key: name, Value: name}
	}
	metrics := make([]balance.Metric, 2*MaxMetrics)
	for i := range metrics {
		metrics[i] = balance.Metric{Name: name, Value: 1}
	}
	reports := make([]PoolReport, 2*MaxReports)
	for i := range reports {
		reports[i] = PoolReport{Pool: name, Report: balance.Report{Server: balance.ServerID(name), Age: 1 << 62, Metrics: metrics}}
	}
	exclude := make([]balance.ServerID, 2*MaxExclude)
	for i := range exclude {
		exclude[i] = balance.ServerID(name)
	}
	servers := make([]balance.SnapshotServer, 3*MaxServers)
	for i := range servers {
		servers[i] = balance.SnapshotServer{ID: balance.ServerID(name), Address: name, Slots: 1}
	}
	request := balance.Request{Key: text, Tenant: name, Deadline: 1 << 62, Exclude: exclude, Labels: labels, Location: name, Method: name, Host: text, Path: text, Hold: 1 << 62}
	for _, test := range []struct {
		m      any
		frames int // at least
	}{
		{&Ask{Pool: name, Request: request, Reports: reports}, 1},
		{&Dispatch{Pool: name, Edge: balance.EdgeID(name), Request: request, Limit: -1}, 1},
		{&Granted{Grant: balance.Grant{Lease: 1, Server: balance.ServerID(name), Address: text, Public: text, Expires: 1}}, 1},
		{&Refused{Refusal: balance.Refusal{Detail: text, RetryAfter: time.Nanosecond}}, 1},
		{&Fail{Detail: text}, 1},
		{&Hello{ID: name, Software: name}, 1},
		{&Register{Pool: name, Server: balance.ServerSpec{ID: balance.ServerID(name), Address: text, Public: text, Labels: labels, Location: name}}, 1},
		{&Reports{Reports: reports}, 2},
		{&Snapshot{Snapshot: balance.Snapshot{Pool: name, Servers: servers}}, 3},
	} {
		in, frames, got := bind(test.m).append([]byte("kept")), 0, 0
		if !bytes.HasPrefix(in, []byte("kept")) {
			t.Errorf("%T: Append changed what stood before", test.m)
		}
		more := false
		for in = in[4:]; len(in) > 0; frames++ {
			typ, payload, size, err := Next(in)
			if err != nil || size == 0 {
				t.Fatalf("%T: %v, size %d", test.m, err, size)
			}
			back := blanks[typ]()
			if err := bind(back).decode(payload); err != nil {
				t.Fatalf("%T: %v", test.m, err)
			}
			switch m := back.(type) {
			case *Reports:
				got += len(m.Reports)
			case *Snapshot:
				got, more = got+len(m.Snapshot.Servers), m.More
				if m.Snapshot.Pool == "" || more != (got < len(servers)) {
					t.Errorf("after %d of %d servers More is %v", got, len(servers), more)
				}
			}
			in = in[size:]
		}
		if frames < test.frames {
			t.Errorf("%T: %d frames, want at least %d", test.m, frames, test.frames)
		}
		switch test.m.(type) {
		case *Reports:
			if got != len(reports) {
				t.Errorf("%d reports, want %d", got, len(reports))
			}
		case *Snapshot:
			if got != len(servers) {
				t.Errorf("%d servers, want %d", got, len(servers))
			}
		}
	}
}

func TestTimesAreRoundedUp(t *testing.T) {
	for _, test := range []struct {
		in   balance.Instant
		want balance.Instant
	}{{0, 0}, {now + 1, now + 1000}, {now + 1000, now + 1000}, {now, now + 1000}, {now - 5e9, now + 1000}, {now + 1001, now + 2000}} {
		_, payload, _, _ := Next((&Ask{Request: balance.Request{Deadline: test.in}}).Append(nil, now))
		var m Ask
		if err := m.Decode(payload, now); err != nil || m.Request.Deadline != test.want {
			t.Errorf("deadline %d became %d, %v; want %d", test.in, m.Request.Deadline, err, test.want)
		}
	}
}

func TestGreet(t *testing.T) {
	hello := func(m Hello) string { return string(m.Append(nil)) }
	for _, test := range []struct {
		name, in string
		version  uint32
		code     Code
		detail   string
	}{
		{"ours", hello(Hello{Min: 1, Max: 2, Role: RoleEdge, ID: "a"}), 2, 0, ""},
		{"newer, still speaks ours", hello(Hello{Min: 1, Max: 9, Role: RoleAgent, ID: "a"}), 2, 0, ""},
		{"nothing yet", "", 0, 0, ""},
		{"the half", hello(Hello{Min: 1, Max: 2, Role: RoleEdge, ID: "a"})[:9], 0, 0, ""},
		{"too new", hello(Hello{Min: 8, Max: 9, Role: RoleEdge, ID: "a"}), 0, BadVersion, "you speak versions 8 to 9 of the protocol, this side 2 to 2"},
		{"too old", hello(Hello{Role: RoleEdge, ID: "a"}), 0, BadVersion, "versions 0 to 0"},
		{"no range", hello(Hello{Min: 3, Max: 1, Role: RoleEdge, ID: "a"}), 0, BadVersion, "3 to 1 are no range"},
		{"no role", hello(Hello{Min: 1, Max: 2, ID: "a"}), 0, BadRole, "role 0"},
		{"no id", hello(Hello{Min: 1, Max: 2, Role: RoleEdge}), 0, BadFrame, "no id"},
		{"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0, BadFrame, "Evenkeel's own protocol, not HTTP"},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, BadFrame, "not HTTP/2"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 0, BadFrame, "not TLS"},
		{"another frame first", string((&Watch{Pool: "p"}).Append(nil)), 0, BadFrame, "type 24, but a connection begins with a hello"},
		{"another type, not whole yet", "\x40\x00\x00\x00\x10", 0, BadFrame, "type 16"},
		{"a hello of rubbish", "\x03\x00\x00\x00\x01\x0f\x00", 0, BadFrame, "kind 7"},
		{"rubbish", "\xde\xad\xbe\xef\x00", 0, BadFrame, "length"},
	} {
		var m Hello
		version, size, fail := Greet([]byte(test.in), &m)
		switch {
		case fail == nil && test.code != 0, fail != nil && (fail.Code != test.code || !strings.Contains(fail.Detail, test.detail)):
			t.Errorf("%s: %v, want %v: %s", test.name, fail, test.code, test.detail)
		case version != test.version, version != 0 && size != len(test.in), version == 0 && size != 0:
			t.Errorf("%s: version %d, size %d; want %d", test.name, version, size, test.version)
		}
	}
}
