package wire

import (
	"bytes"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func FuzzNext(f *testing.F) {
	var all []byte
	for _, test := range full {
		frame := bind(test.m).append(nil)
		f.Add(frame)
		all = append(all, frame...)
	}
	f.Add(all)
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var hello Hello
		if version, size, fail := Greet(in, &hello); fail == nil && (version == 0) != (size == 0) {
			t.Errorf("Greet: version %d, size %d, no fail", version, size)
		}
		var enrol Enrol
		if size, fail := GreetEnrol(in, &enrol); fail == nil && size > MaxHello {
			t.Errorf("GreetEnrol: size %d", size)
		}
		for rest := in; ; {
			typ, payload, size, err := Next(rest)
			if size == 0 || err != nil {
				return
			}
			if size > len(rest) || len(payload) != size-headerSize || typ != Type(rest[4]) {
				t.Fatalf("Next: type %d, payload of %d, size %d of %d", typ, len(payload), size, len(rest))
			}
			rest = rest[size:]
		}
	})
}

// FuzzDecode holds that what can be decoded is, appended and decoded again, the same.
func FuzzDecode(f *testing.F) {
	for _, test := range full {
		frame := bind(test.m).append(nil)
		f.Add(uint8(test.t), frame[headerSize:])
	}
	f.Add(uint8(TOverride), []byte{})
	f.Fuzz(func(t *testing.T, number uint8, payload []byte) {
		blank := blanks[Type(number)]
		if blank == nil {
			return
		}
		m := blank()
		if bind(m).decode(payload) != nil {
			return
		}
		once := bind(m).append(nil)
		if o, ok := m.(*Override); ok {
			number = uint8(o.Type()) // its setting says which of two types it is, not the frame that it came in
		}
		var twice []byte
		for rest := once; len(rest) > 0; {
			typ, payload, size, err := Next(rest)
			if err != nil || size == 0 || typ != Type(number) {
				t.Fatalf("type %d: Append wrote %x: %v", number, once, err)
			}
			back := blank()
			if err := bind(back).decode(payload); err != nil {
				t.Fatalf("type %d: Append wrote %x: %v", number, once, err)
			}
			twice = append(twice, bind(back).append(nil)...)
			rest = rest[size:]
		}
		if !bytes.Equal(once, twice) {
			t.Errorf("type %d: appended %x, decoded and appended again %x", number, once, twice)
		}
	})
}

var (
	anyName   = rapid.StringN(0, 20, MaxName)
	anyText   = rapid.StringN(0, 100, MaxText)
	anyPlain  = rapid.Map(anyText, balance.PlainText)
	anyMicros = rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "µs")) * time.Microsecond
	})
	anyServer = rapid.Map(anyName, func(s string) balance.ServerID { return balance.ServerID(s) })
	anyLabel  = rapid.Custom(func(t *rapid.T) balance.Label {
		return balance.Label{Key: anyName.Draw(t, "key"), Value: anyName.Draw(t, "value")}
	})
	anyReport = rapid.Custom(func(t *rapid.T) PoolReport {
		return PoolReport{Pool: anyName.Draw(t, "pool"), Report: balance.Report{Server: anyServer.Draw(t, "server"), Age: anyMicros.Draw(t, "age"), Window: anyMicros.Draw(t, "window"),
			Metrics: list(t, "metrics", 5, rapid.Custom(func(t *rapid.T) balance.Metric {
				return balance.Metric{Name: anyName.Draw(t, "name"), Value: rapid.Float64().Draw(t, "value")}
			}))}}
	})
	anyAddr = rapid.Custom(func(t *rapid.T) netip.Addr {
		a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), rapid.SampledFrom([]int{0, 4, 16}).Draw(t, "size"), 16).Draw(t, "bytes"))
		return a
	})
)

// list draws a list that is nil when it is empty, as Decode leaves it.
func list[T any](t *rapid.T, label string, most int, of *rapid.Generator[T]) []T {
	if s := rapid.SliceOfN(of, 0, most).Draw(t, label); len(s) > 0 {
		return s
	}
	return nil
}

func anyInstant(t *rapid.T, label string) balance.Instant {
	if d := anyMicros.Draw(t, label); d != 0 {
		return now.Add(d)
	}
	return 0
}

func TestAnyAskComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &Ask{Seq: rapid.Uint64().Draw(t, "seq"), Pool: anyName.Draw(t, "pool"), Request: balance.Request{
			Key: anyText.Draw(t, "key"), Client: anyAddr.Draw(t, "client"), Priority: rapid.Int().Draw(t, "priority"), Tenant: anyName.Draw(t, "tenant"),
			Deadline: anyInstant(t, "deadline"), Link: rapid.SampledFrom([]balance.Link{balance.LinkRoute, balance.LinkRedirect}).Draw(t, "link"),
			Exclude: list(t, "exclude", 5, anyServer), Labels: list(t, "labels", 5, anyLabel), Location: anyName.Draw(t, "location"),
			Method: anyName.Draw(t, "method"), Host: anyText.Draw(t, "host"), Path: anyText.Draw(t, "path"), Hold: anyMicros.Draw(t, "hold"), Belief: rapid.SampledFrom([]balance.Belief{balance.Told, balance.Proven, balance.Disbelieved}).Draw(t, "belief"), Size: anySize.Draw(t, "size"), Class: anyName.Draw(t, "class")},
			Reports: list(t, "reports", 3, anyReport)}
		comesBack(t, m, new(Ask))
	})
}

func TestAnyAnswerComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seq := rapid.Uint64().Draw(t, "seq")
		comesBack(t, &Granted{Seq: seq, Grant: balance.Grant{Lease: balance.LeaseID(rapid.Uint64().Draw(t, "lease")), Server: anyServer.Draw(t, "server"),
			Address: anyText.Draw(t, "address"), Public: anyText.Draw(t, "public"), Expires: anyInstant(t, "expires"), Fence: rapid.Uint64().Draw(t, "fence"), Tag: rapid.Uint64().Draw(t, "tag")}, Queue: anyMicros.Draw(t, "queue")}, new(Granted))
		comesBack(t, &Refused{Seq: seq, Refusal: balance.Refusal{Reason: balance.Reason(rapid.Uint8().Draw(t, "reason")), RetryAfter: anyMicros.Draw(t, "retry"),
			Detail: anyPlain.Draw(t, "detail"), Leader: anyPlain.Draw(t, "leader"), Needs: anyMicros.Draw(t, "needs")}}, new(Refused))
		comesBack(t, &Done{Pool: anyName.Draw(t, "pool"), Lease: balance.LeaseID(rapid.Uint64().Draw(t, "lease")), Outcome: anyOutcome(t), Tag: rapid.Uint64().Draw(t, "tag")}, new(Done))
		comesBack(t, &Reports{Reports: list(t, "reports", 5, anyReport)}, new(Reports))
	})
}

var anySize = rapid.Float64Range(0, balance.MaxSize)

func anyOutcome(t *rapid.T) balance.Outcome {
	o := balance.Outcome{Result: balance.Result(rapid.IntRange(0, int(balance.Results)-1).Draw(t, "result")), Duration: anyMicros.Draw(t, "duration")}
	o.FirstByte, o.Bytes, o.Size = anyMicros.Draw(t, "first byte"), rapid.Int64Min(0).Draw(t, "bytes"), anySize.Draw(t, "size")
	if o.Result != balance.OK { // of a good end nothing else is told
		o.RetryAfter, o.Status = anyMicros.Draw(t, "retry"), rapid.IntRange(0, balance.MaxStatus).Draw(t, "status")
		o.GRPC, o.Error = rapid.IntRange(0, balance.MaxStatus).Draw(t, "grpc"), anyPlain.Draw(t, "error")
	}
	return o
}

func comesBack(t *rapid.T, m, back any) {
	typ, payload, _, err := Next(bind(m).append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := bind(back).decode(payload); err != nil {
		t.Fatalf("%v: %v", typ, err)
	}
	if !reflect.DeepEqual(back, m) {
		t.Errorf("%v:\n got %+v\nwant %+v", typ, back, m)
	}
}

// hot are the messages of a pick and a done, and what rides with them.
var hot = []Type{TAsk, TGranted, TRefused, TDone, TReports}

func TestTheHotMessagesAllocateNothing(t *testing.T) {
	for _, test := range full {
		if !slices.Contains(hot, test.t) {
			continue
		}
		m, back := bind(test.m), bind(blanks[test.t]())
		var buf []byte
		if n := testing.AllocsPerRun(100, func() {
			buf = m.append(buf[:0])
			if err := back.decode(buf[headerSize:]); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations, want none", test.name, n)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, test := range full {
		if slices.Contains(hot, test.t) {
			b.Run(test.name, func(b *testing.B) {
				m, buf := bind(test.m), make([]byte, 0, 1024)
				for b.Loop() {
					buf = m.append(buf[:0])
				}
				b.ReportMetric(float64(len(buf)), "bytes")
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, test := range full {
		if slices.Contains(hot, test.t) {
			b.Run(test.name, func(b *testing.B) {
				payload, back := bind(test.m).append(nil)[headerSize:], bind(blanks[test.t]())
				for b.Loop() {
					if err := back.decode(payload); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
