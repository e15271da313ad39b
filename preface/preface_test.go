package preface

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func ports(source, destination string) Proxy {
	return Proxy{netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)}
}

func v2(t testing.TB, text string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return signature + string(b)
}

// readAll reads as a connection is read: never more than the header is known to have.
func readAll(in []byte) (p Proxy, n int, err error) {
	for {
		p, more, err := ReadProxy(in[:n])
		if err != nil || more == 0 {
			return p, n, err
		}
		if n += more; n > len(in) {
			return p, n, errShort
		}
	}
}

var errShort = errors.New("the header is longer than what there is")

func TestReadProxy(t *testing.T) {
	four, six := ports("192.0.2.1:56324", "192.0.2.11:443"), ports("[2001:db8::1]:1", "[2001:db8::2]:65535")
	for _, c := range []struct {
		in   string
		want Proxy
		err  error
	}{
		{"PROXY TCP4 192.0.2.1 192.0.2.11 56324 443\r\n", four, nil},
		{"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", six, nil},
		{"PROXY TCP4 1.2.3.4 1.2.3.5 0 0\r\n", ports("1.2.3.4:0", "1.2.3.5:0"), nil},
		{"PROXY UNKNOWN\r\n", Proxy{}, nil},
		{"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", Proxy{}, nil},
		{v2(t, "2111000c c0000201 c000020b dc04 01bb"), four, nil},
		{v2(t, "21110014 c0000201 c000020b dc04 01bb 04 0005 0000000000"), four, nil},
		{v2(t, "21210024 20010db8000000000000000000000001 20010db8000000000000000000000002 0001 ffff"), six, nil},
		{v2(t, "20000000"), Proxy{}, nil},
		{v2(t, "2011000c c0000201 c000020b dc04 01bb"), Proxy{}, nil},
		{v2(t, "2112000c c0000201 c000020b dc04 01bb"), Proxy{}, nil},
		{v2(t, "21000003 ffffff"), Proxy{}, nil},
		{v2(t, "1111000c c0000201 c000020b dc04 01bb"), Proxy{}, ErrProxyVersion},
		{v2(t, "2211000c c0000201 c000020b dc04 01bb"), Proxy{}, ErrProxyVersion},
		{v2(t, "2111000b c0000201 c000020b dc04 01"), Proxy{}, ErrProxyLength},
		{v2(t, "2111ffff"), Proxy{}, ErrProxyLength},
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Proxy{}, ErrNoProxy},
		{"\r\n\r\n\x00\r\nQUIX\n\x21\x11\x00\x00", Proxy{}, ErrNoProxy},
		{"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Proxy{}, ErrNoProxy},
		{"proxy TCP4 1.2.3.4 1.2.3.5 1 2\r\n", Proxy{}, ErrNoProxy},
		{"PROXY  TCP4 1.2.3.4 1.2.3.5 1 2\r\n", Proxy{}, ErrProxyLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\n............", Proxy{}, ErrProxyLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.5 01 2\r\n", Proxy{}, ErrProxyLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.5 1 65536\r\n", Proxy{}, ErrProxyLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.5 1 -2\r\n", Proxy{}, ErrProxyLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.5 1 2 3\r\n", Proxy{}, ErrProxyLine},
		{"PROXY TCP4 1.2.3.04 1.2.3.5 1 2\r\n", Proxy{}, ErrProxyLine},
		{"PROXY TCP4 ::1 ::2 1 2\r\n..", Proxy{}, ErrProxyLine},
		{"PROXY TCP6 1.2.3.4 1.2.3.5 1 2\r\n", Proxy{}, ErrProxyLine},
		{"PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n", Proxy{}, ErrProxyLine},
		{"PROXY UDP4 1.2.3.4 1.2.3.5 1 2\r\n", Proxy{}, ErrProxyLine},
		{"PROXY UNKNOWN" + strings.Repeat(" x", 60) + "\r\n", Proxy{}, ErrProxyLine},
	} {
		const behind = "what follows"
		got, n, err := readAll([]byte(c.in + behind))
		if got != c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%q: got %v, %v; want %v, %v", c.in, got, err, c.want, c.err)
		}
		if c.err == nil && n != len(c.in) {
			t.Errorf("%q: read %d bytes, want %d: the rest is the protocol's", c.in, n, len(c.in))
		}
	}
}

func TestWrittenProxyIsRead(t *testing.T) {
	for _, p := range []Proxy{{}, ports("1.2.3.4:5", "6.7.8.9:10"), ports("[::1]:5", "[::2]:10"), ports("[::ffff:1.2.3.4]:5", "6.7.8.9:10")} {
		want := p
		if p.Source.IsValid() {
			want = proxied(p.Source.Addr(), p.Source.Port(), p.Destination.Addr(), p.Destination.Port())
		}
		for _, b := range [][]byte{p.AppendV1(nil), p.AppendV2(nil, ""), p.AppendV2(nil, "a.example")} {
			if got, n, err := readAll(b); got != want || n != len(b) || err != nil {
				t.Errorf("%q: got %v, %d, %v; want %v of %d bytes", b, got, n, err, want, len(b))
			}
		}
	}
	mixed := ports("1.2.3.4:5", "[2001:db8::1]:10")
	if got := string(mixed.AppendV1(nil)); got != "PROXY TCP6 ::ffff:1.2.3.4 2001:db8::1 5 10\r\n" {
		t.Errorf("of two families: got %q", got)
	}
	if b := ports("1.2.3.4:5", "6.7.8.9:10").AppendV2(nil, "a.example"); !bytes.HasSuffix(b, []byte("\x02\x00\x09a.example")) {
		t.Errorf("got %q, want the name in it", b)
	}
}

// hello is what a client of Go's sends first.
func hello(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	client, server := net.Pipe()
	got := make(chan []byte, 1)
	go func() {
		_ = server.SetReadDeadline(time.Now().Add(time.Minute))
		b := make([]byte, 64<<10)
		n, _ := server.Read(b) // short: the test fails
		_ = server.Close()
		got <- b[:n]
	}()
	_ = tls.Client(client, cfg).Handshake() // ends with the pipe
	_ = client.Close()
	return <-got
}

// inRecords cuts the one record of b into several.
func inRecords(b []byte, size int) (out []byte) {
	for part := range slices.Chunk(b[recordHead:], size) {
		out = append(append(out, b[0], b[1], b[2], byte(len(part)>>8), byte(len(part))), part...)
	}
	return out
}

func TestServerName(t *testing.T) {
	for name, cfg := range map[string]*tls.Config{
		"a.example":                          {ServerName: "A.Example"},
		"b.example":                          {ServerName: "b.example", MaxVersion: tls.VersionTLS12},
		"":                                   {ServerName: "192.0.2.1"},
		strings.Repeat("x", 60) + ".example": {ServerName: strings.Repeat("x", 60) + ".example", NextProtos: []string{"h2", "http/1.1"}},
	} {
		cfg.InsecureSkipVerify = true
		whole := hello(t, cfg)
		for _, in := range [][]byte{whole, inRecords(whole, 20), inRecords(whole, 100)} {
			if got, ok, err := ServerName(append(slices.Clip(in), "more"...)); got != name || !ok || err != nil {
				t.Errorf("%q: got %q, %v, %v", name, got, ok, err)
			}
			for n := range len(in) {
				if got, ok, err := ServerName(in[:n]); got != "" || ok || err != nil {
					t.Fatalf("%q: %d of %d bytes: got %q, %v, %v; want to wait", name, n, len(in), got, ok, err)
				}
			}
		}
	}
}

func TestBadHello(t *testing.T) {
	good := hello(t, &tls.Config{ServerName: "a.example"})
	at := bytes.Index(good, []byte("a.example"))
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   error
	}{
		"HTTP":              {func([]byte) []byte { return []byte("GET / HTTP/1.1\r\n\r\n") }, ErrNoTLS},
		"an alert":          {func([]byte) []byte { return []byte("\x15\x03\x01\x00\x02\x01\x00") }, ErrNoTLS},
		"a ServerHello":     {func(b []byte) []byte { b[recordHead] = 2; return b }, ErrNoTLS},
		"an empty record":   {func(b []byte) []byte { return append([]byte{22, 3, 1, 0, 0}, b...) }, ErrNoTLS},
		"a record too long": {func(b []byte) []byte { b[3], b[4] = 0x40, 1; return b }, ErrNoTLS},
		"a name with NUL":   {func(b []byte) []byte { b[at] = 0; return b }, ErrHello},
		"a name with blank": {func(b []byte) []byte { b[at] = ' '; return b }, ErrHello},
		"a name too long":   {func(b []byte) []byte { b[at-1]++; return b }, ErrHello},
		"a list too long":   {func(b []byte) []byte { b[at-4]++; return b }, ErrHello},
		"too short":         {func([]byte) []byte { return []byte("\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03") }, ErrHello},
	} {
		if got, ok, err := ServerName(c.change(bytes.Clone(good))); got != "" || ok || err != c.want {
			t.Errorf("%s: got %q, %v, %v; want %v", name, got, ok, err, c.want)
		}
	}
	old := append([]byte("\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x01"), make([]byte, 32)...)
	old = append(old, "\x00\x00\x02\x00\x2f\x01\x00"...)
	if got, ok, err := ServerName(old); got != "" || !ok || err != nil {
		t.Errorf("without extensions: got %q, %v, %v; want no name", got, ok, err)
	}
}

func FuzzServerName(f *testing.F) {
	f.Add(hello(f, &tls.Config{ServerName: "a.example"}))
	f.Add(inRecords(hello(f, &tls.Config{ServerName: "a.example", MaxVersion: tls.VersionTLS12}), 7))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		name, whole, err := ServerName(b)
		if name != "" && (!whole || err != nil || name != strings.ToLower(name) || len(name) > nameLongest) {
			t.Fatalf("got %q, %v, %v", name, whole, err)
		}
		if whole == (err != nil) && err != nil {
			t.Fatalf("both whole and %v", err)
		}
		// A verdict stands, whatever comes behind it.
		again, still, worse := ServerName(append(slices.Clip(b), "\x16\x03\x01 and more"...))
		if (whole || err != nil) && (again != name || still != whole || worse != err) {
			t.Fatalf("got %q, %v, %v; with more behind it %q, %v, %v", name, whole, err, again, still, worse)
		}
	})
}

func FuzzProxy(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 192.0.2.11 56324 443\r\n"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(v2(f, "2111000c c0000201 c000020b dc04 01bb")))
	f.Add([]byte(v2(f, "20000000")))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, n, err := readAll(b)
		if n > ProxyMost {
			t.Fatalf("%d bytes are wanted", n)
		}
		if err != nil {
			return
		}
		if p.Source.IsValid() != p.Destination.IsValid() {
			t.Fatalf("half an answer: %v", p)
		}
		for _, written := range [][]byte{p.AppendV1(nil), p.AppendV2(nil, "x")} {
			again, m, err := readAll(written)
			same := again == p || p.Source.Addr().Is4() != p.Destination.Addr().Is4()
			if !same || m != len(written) || err != nil {
				t.Fatalf("%v is written as %q and read as %v, %v", p, written, again, err)
			}
		}
	})
}
