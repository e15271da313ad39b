package h2

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frame is one as it goes over the wire.
func frame(t Type, flags Flags, stream uint32, payload string) []byte {
	return append(AppendFrame(nil, len(payload), t, flags, stream), payload...)
}

func TestNext(t *testing.T) {
	for _, c := range []struct {
		name    string
		data    []byte
		payload string
		code    Code
	}{
		{"DATA", frame(Data, EndStream, 1, "abc"), "abc", NoError},
		{"padded DATA", frame(Data, Padded, 1, "\x02abc\x00\x00"), "abc", NoError},
		{"nothing but padding", frame(Data, Padded, 1, "\x02\x00\x00"), "", NoError},
		{"more padding than payload", frame(Data, Padded, 1, "\x03ab"), "", ProtocolError},
		{"padded without a length", frame(Data, Padded, 1, ""), "", ProtocolError},
		{"DATA of the connection", frame(Data, 0, 0, "abc"), "", ProtocolError},
		{"HEADERS", frame(Headers, EndHeaders, 3, "abc"), "abc", NoError},
		{"HEADERS with everything", frame(Headers, EndHeaders|Padded|Prioritised, 3, "\x01\x00\x00\x00\x01\x10abc\x00"), "abc", NoError},
		{"HEADERS too short for a priority", frame(Headers, Prioritised, 3, "\x00\x00\x00\x01"), "", FrameSizeError},
		{"HEADERS that depend on themselves", frame(Headers, Prioritised, 3, "\x80\x00\x00\x03\x10"), "", ProtocolError},
		{"PRIORITY", frame(Priority, 0, 3, "\x00\x00\x00\x01\x10"), "\x00\x00\x00\x01\x10", NoError},
		{"PRIORITY that depends on itself", frame(Priority, 0, 3, "\x00\x00\x00\x03\x10"), "", ProtocolError},
		{"PRIORITY too long", frame(Priority, 0, 3, "\x00\x00\x00\x01\x10\x00"), "", FrameSizeError},
		{"RST_STREAM too short", frame(RSTStream, 0, 3, "\x00"), "", FrameSizeError},
		{"RST_STREAM of the connection", frame(RSTStream, 0, 0, "\x00\x00\x00\x00"), "", ProtocolError},
		{"SETTINGS", frame(Settings, 0, 0, "\x00\x04\x00\x00\x00\x01"), "\x00\x04\x00\x00\x00\x01", NoError},
		{"SETTINGS of a stream", frame(Settings, 0, 1, ""), "", ProtocolError},
		{"half a setting", frame(Settings, 0, 0, "\x00\x04\x00"), "", FrameSizeError},
		{"an ack that says something", frame(Settings, Ack, 0, "\x00\x04\x00\x00\x00\x01"), "", FrameSizeError},
		{"PUSH_PROMISE", frame(PushPromise, 0, 1, "\x00\x00\x00\x02"), "", ProtocolError},
		{"PING", frame(Ping, 0, 0, "12345678"), "12345678", NoError},
		{"PING of a stream", frame(Ping, 0, 1, "12345678"), "", ProtocolError},
		{"PING too short", frame(Ping, 0, 0, "1234567"), "", FrameSizeError},
		{"GOAWAY too short", frame(GoAway, 0, 0, "1234567"), "", FrameSizeError},
		{"WINDOW_UPDATE", frame(WindowUpdate, 0, 0, "\x00\x00\x00\x01"), "\x00\x00\x00\x01", NoError},
		{"WINDOW_UPDATE too long", frame(WindowUpdate, 0, 0, "\x00\x00\x00\x01\x00"), "", FrameSizeError},
		{"CONTINUATION of the connection", frame(Continuation, 0, 0, ""), "", ProtocolError},
		{"an unknown one", frame(0xfa, 0xff, 7, "abc"), "abc", NoError},
		{"the largest", frame(Data, 0, 1, strings.Repeat("x", FrameMost)), strings.Repeat("x", FrameMost), NoError},
		{"one too large", frame(Data, 0, 1, strings.Repeat("x", FrameMost+1)), "", FrameSizeError},
	} {
		f, n, err := Next(append(c.data, "more"...))
		var why *Error
		switch errors.As(err, &why); {
		case c.code != NoError:
			if why == nil || why.Code != c.code {
				t.Errorf("%s: got %v, want code %d", c.name, err, c.code)
			}
		case err != nil || n != len(c.data) || string(f.Payload) != c.payload || f.Size != n-HeadSize:
			t.Errorf("%s: got %q and %d bytes, %v; want %q and %d", c.name, f.Payload, n, err, c.payload, len(c.data))
		}
		if _, n, _ := Next(c.data[:len(c.data)-1]); n != 0 {
			t.Errorf("%s: took %d bytes of one that has not come whole", c.name, n)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		Chosen
		code Code
	}{
		{Chosen{EnablePush, 1}, NoError}, {Chosen{EnablePush, 2}, ProtocolError},
		{Chosen{InitialWindowSize, WindowMost}, NoError}, {Chosen{InitialWindowSize, WindowMost + 1}, FlowControlError},
		{Chosen{MaxFrameSize, FrameMost}, NoError}, {Chosen{MaxFrameSize, FrameMost - 1}, ProtocolError}, {Chosen{MaxFrameSize, 1 << 24}, ProtocolError},
		{Chosen{0xf0, 7}, NoError},
	} {
		f, _, err := Next(AppendSettings(nil, c.Chosen, Chosen{MaxConcurrentStreams, 3}))
		if err != nil {
			t.Fatal(err)
		}
		s, value, rest, err := NextSetting(f.Payload)
		var why *Error
		if errors.As(err, &why); c.code == NoError && err != nil || c.code != NoError && (why == nil || why.Code != c.code) {
			t.Errorf("%v: got %v, want code %d", c.Chosen, err, c.code)
		}
		if (Chosen{s, value}) != c.Chosen || len(rest) != 6 {
			t.Errorf("%v: read as %d %d", c.Chosen, s, value)
		}
	}
}

// What is appended another implementation reads as it was meant.
func TestAppended(t *testing.T) {
	large := bytes.Repeat([]byte("y"), 3*FrameMost)
	var out []byte
	out = AppendSettings(out, Chosen{InitialWindowSize, 70000})
	out = AppendSettingsAck(out)
	out = AppendPing(out, []byte("12345678"), Ack)
	out = AppendReset(out, 3, Cancel)
	out = AppendWindowUpdate(out, 5, 99)
	for _, value := range [][]byte{[]byte("small"), large} {
		start := len(out)
		out = AppendStatus(BeginBlock(out), 207)
		out = AppendField(out, []byte("Content-Type"), []byte("text/plain"))
		out = AppendField(out, []byte("X-Own"), value)
		out = FinishBlock(out, start, EndStream, 7, FrameMost)
	}
	out = AppendGoAway(out, 9, EnhanceYourCalm, "why")
	framer := http2.NewFramer(nil, bytes.NewReader(out))
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	framer.MaxHeaderListSize = 1 << 20
	next := func() http2.Frame {
		f, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if v, ok := next().(*http2.SettingsFrame).Value(http2.SettingInitialWindowSize); !ok || v != 70000 {
		t.Errorf("got %d", v)
	}
	if !next().(*http2.SettingsFrame).IsAck() {
		t.Error("no ack")
	}
	if f := next().(*http2.PingFrame); !f.IsAck() || string(f.Data[:]) != "12345678" {
		t.Errorf("got %v", f)
	}
	if f := next().(*http2.RSTStreamFrame); f.StreamID != 3 || f.ErrCode != http2.ErrCodeCancel {
		t.Errorf("got %v", f)
	}
	if f := next().(*http2.WindowUpdateFrame); f.StreamID != 5 || f.Increment != 99 {
		t.Errorf("got %v", f)
	}
	for _, value := range []string{"small", string(large)} {
		f := next().(*http2.MetaHeadersFrame)
		if f.PseudoValue("status") != "207" || !f.StreamEnded() || len(f.Fields) != 3 || f.Fields[1] != (hpack.HeaderField{Name: "content-type", Value: "text/plain"}) || f.Fields[2] != (hpack.HeaderField{Name: "x-own", Value: value}) {
			t.Errorf("got %.200v", f)
		}
	}
	if f := next().(*http2.GoAwayFrame); f.LastStreamID != 9 || f.ErrCode != http2.ErrCodeEnhanceYourCalm || string(f.DebugData()) != "why" {
		t.Errorf("got %v", f)
	}
}

// Every status and every name that stands in the static table is found there as it was said.
func TestStaticTable(t *testing.T) {
	var got []hpack.HeaderField
	d := hpack.NewDecoder(0, func(f hpack.HeaderField) { got = append(got, f) })
	names := "accept-charset accept-encoding accept-language accept authorization cookie expect from if-match if-modified-since if-none-match if-range if-unmodified-since max-forwards range referer user-agent accept-ranges access-control-allow-origin age allow cache-control content-disposition content-encoding content-language content-length content-location content-range content-type date etag expires last-modified link location refresh retry-after server set-cookie strict-transport-security vary via www-authenticate x-none"
	for _, name := range strings.Fields(names) {
		if name != "x-none" && static([]byte(name)) == 0 {
			t.Errorf("%s is not found", name)
		}
		for _, size := range []int{0, 1, 126, 127, 128, 255, 20000} {
			got = got[:0]
			value := strings.Repeat("v", size)
			if _, err := d.Write(AppendField(nil, []byte(strings.ToUpper(name)), []byte(value))); err != nil || d.Close() != nil || len(got) != 1 || got[0] != (hpack.HeaderField{Name: name, Value: value}) {
				t.Errorf("%s of %d bytes: got %.100v, %v", name, size, got, err)
			}
		}
	}
	for status := 100; status < 1000; status++ {
		got = got[:0]
		if _, err := d.Write(AppendStatus(nil, status)); err != nil || len(got) != 1 || got[0].Name != ":status" || got[0].Value != string([]byte{'0' + byte(status/100), '0' + byte(status/10%10), '0' + byte(status%10)}) {
			t.Errorf("%d: got %v, %v", status, got, err)
		}
	}
}

// Whatever comes, frames have what they say, and no more is taken than is there.
func FuzzNext(f *testing.F) {
	f.Add(frame(Data, Padded, 1, "\x02abc\x00\x00"))
	f.Add(frame(Headers, Padded|Prioritised, 3, "\x01\x00\x00\x00\x01\x10abc\x00"))
	f.Add(AppendSettings(nil, Chosen{MaxFrameSize, FrameMost}))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, n, err := Next(b)
		switch {
		case err != nil:
			return
		case n == 0:
			if len(b) >= HeadSize+FrameMost {
				t.Fatalf("waits for more than %d bytes", len(b))
			}
			return
		case n > len(b) || got.Size != n-HeadSize || len(got.Payload) > got.Size:
			t.Fatalf("%d of %d bytes, size %d, payload %d", n, len(b), got.Size, len(got.Payload))
		}
		for p := got.Payload; got.Type == Settings && len(p) > 0; {
			if _, _, p, err = NextSetting(p); err != nil {
				return
			}
		}
		if got.Type == WindowUpdate && got.Number() > WindowMost {
			t.Fatal("an increment beyond what windows may be")
		}
	})
}

// A request's pseudo-fields are found as they were said.
func TestAppendRequest(t *testing.T) {
	for _, c := range []struct {
		method, path, scheme string
	}{{"GET", "/", "http"}, {"POST", "/a?b", "https"}, {"PURGE", "/" + strings.Repeat("x", 300), "http"}} {
		var got []hpack.HeaderField
		d := hpack.NewDecoder(0, func(f hpack.HeaderField) { got = append(got, f) })
		_, err := d.Write(AppendRequest(nil, []byte(c.method), c.scheme == "https", []byte("a:1"), []byte(c.path)))
		if want := []hpack.HeaderField{{Name: ":method", Value: c.method}, {Name: ":scheme", Value: c.scheme}, {Name: ":authority", Value: "a:1"}, {Name: ":path", Value: c.path}}; err != nil || d.Close() != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
}
