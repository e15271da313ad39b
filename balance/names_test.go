package balance

import (
	"fmt"
	"strings"
	"testing"
)

func TestPublicIsAPlainHTTPURL(t *testing.T) {
	for _, good := range []string{"http://x.example", "https://x.example:8443/base", "http://[::1]:80/", "http://10.0.0.5", "https://x.example/a%20b/", "http://under_score:80"} {
		if problem := BadPublic(good); problem != "" {
			t.Errorf("%q: %s", good, problem)
		}
	}
	for _, bad := range []string{"x.example", "//evil", "javascript:alert(1)", "ftp://x", "http://", "http:///path", "http:x", "http://u:p@evil", "http://u@evil",
		"http://x/\r\nSet-Cookie: a=b", "http://x\n", "http://\x00", "http://evil/ path", "http://evil/\t", "http://x/\x7f", "http://bücher.example", "http://x/\xff",
		"http://evil/#", "http://evil/?x=", "http://evil?", "http://evil\\@good", "http://x/\"", "http://x/<", "http://x:0", "http://x:99999", "http://x:", "http://x:y",
		"http://a..b", "http://0.0.0.0", "http://[::]", "http://224.0.0.1", "http://x/%zz", "http://" + strings.Repeat("a.", 1100)} {
		if BadPublic(bad) == "" {
			t.Errorf("%q is taken for a public URL", bad)
		}
	}
}

func TestAddressIsAHostAndAPort(t *testing.T) {
	for _, good := range []string{"10.0.0.5:8000", "[::1]:80", "[fe80::1%eth0]:80", "localhost:1", "a-b.example.:65535", "web_1:80", "https://x:443", "s:1", "unix:/tmp/x"} {
		if problem := BadAddress(good); problem != "" {
			t.Errorf("%q: %s", good, problem)
		}
	}
	for _, bad := range []string{"", "10.0.0.5", ":80", "x:", "127.0.0.1:0", "127.0.0.1:99999", "a b:1", "x\r\n:1", "/tmp/sock", "unix:tmp/x", "http://x:80", "https://https://x:1",
		"https://x:1/path", "u@x:1", "x/y:1", "0.0.0.0:80", "[::]:80", "224.0.0.1:80", "x\x00:1", "é:1", "\xff:1", "..:1", strings.Repeat("a", 300) + ":1", "x:+80", "x: 80"} {
		if BadAddress(bad) == "" {
			t.Errorf("%q is taken for an address", bad)
		}
	}
}

func TestNamesArePrintableAndBounded(t *testing.T) {
	for _, good := range []string{"a", "10.0.0.5:8000", "zwölf", "東京", strings.Repeat("n", MaxName)} {
		if problem := BadName(good); problem != "" {
			t.Errorf("%q: %s", good, problem)
		}
	}
	for _, bad := range []string{"", "a\nb", "\x00", "\x1b[31m", "\x7f", "a\xff", "\u202eabc", "\u2028", strings.Repeat("n", MaxName+1)} {
		if BadName(bad) == "" {
			t.Errorf("%q is taken for a name", bad)
		}
	}
	for _, bad := range []EdgeID{"", "two words", "a\r\nb", "a:b", "é", EdgeID(strings.Repeat("n", MaxName+1))} {
		if BadEdgeID(bad) == "" {
			t.Errorf("%q is taken for an edge's id", bad)
		}
	}
	if problem := BadEdgeID("edge-1.example~2"); problem != "" {
		t.Error(problem)
	}
}

// Each field of a server is judged, wherever the server comes from.
func TestEachFieldOfAServerIsJudged(t *testing.T) {
	many := make([]Label, MaxLabels+1)
	for i := range many {
		many[i] = Label{fmt.Sprint(i), "v"}
	}
	for field, spoil := range map[string]func(*ServerSpec){
		"id":         func(s *ServerSpec) { s.ID = "a\xff" },
		"address":    func(s *ServerSpec) { s.Address = "a b:1" },
		"public":     func(s *ServerSpec) { s.Public = "javascript:alert(1)" },
		"location":   func(s *ServerSpec) { s.Location = "\n" },
		"labels":     func(s *ServerSpec) { s.Labels = many },
		"labels.bad": func(s *ServerSpec) { s.Labels = []Label{{"bad", "\xff"}} },
	} {
		s := ServerSpec{ID: "a", Address: "a:1", Public: "http://a", Labels: many[:MaxLabels], Location: "here"}
		s.Validate(func(field, problem string) { t.Errorf("the sound one: %s: %s", field, problem) })
		spoil(&s)
		var told []string
		s.Validate(func(field, problem string) { told = append(told, field) })
		if len(told) != 1 || told[0] != field {
			t.Errorf("a bad %s: told %q", field, told)
		}
	}
}

// What is as long as may be is taken, and what is a byte longer is not; and each is told what it is.
func TestBoundsOfWords(t *testing.T) {
	long := func(n int) string { return strings.Repeat("n", n) }
	labels := func(n int) string { return strings.Repeat(strings.Repeat("a", 62)+".", n) }
	for _, c := range []struct {
		name string
		bad  func(string) string
		good string
		more string
		says string
	}{
		{"name", BadName, long(MaxName), long(MaxName + 1), "256 bytes, want at most 255"},
		{"name that is empty", BadName, "a", "", "empty, want 1 to 255 bytes"},
		{"address", BadAddress, "[fe80::1%" + long(maxAddress-len("[fe80::1%]:80")) + "]:80", "[fe80::1%" + long(maxAddress-len("[fe80::1%]:80")+1) + "]:80", "513 bytes, want at most 512"},
		{"host", BadAddress, labels(4) + "a:80", labels(4) + "aa:80", "a host of 254 bytes, want at most 253"},
		{"label of a host", BadAddress, long(63) + ":80", long(64) + ":80", "want an IP address, or a name"},
		{"unix socket", BadAddress, "unix:/" + long(maxUnix-1), "unix:/" + long(maxUnix), "an absolute path of 2 to 107"},
		{"unix socket to listen on", BadListen, "unix:" + long(maxUnix), "unix:" + long(maxUnix+1), "a path of 1 to 107"},
		{"public URL", BadPublic, "http://a/" + long(maxPublic-9), "http://a/" + long(maxPublic-8), "2049 bytes, want at most 2048"},
	} {
		if problem := c.bad(c.good); problem != "" {
			t.Errorf("%s, as long as may be: %s", c.name, problem)
		}
		if problem := c.bad(c.more); !strings.Contains(problem, c.says) {
			t.Errorf("%s, a byte longer: %q, want %q", c.name, problem, c.says)
		}
	}
}

func TestAddressesToListenOn(t *testing.T) {
	for _, good := range []string{":80", ":0", "127.0.0.1:0", "0.0.0.0:80", "[::]:80", "[::1]:80", "localhost:80", "a.test:8080", "unix:/run/x", "unix:x"} {
		if problem := BadListen(good); problem != "" {
			t.Errorf("%q: %s", good, problem)
		}
	}
	for bad, want := range map[string]string{
		"*:80": "want :80 for every address", "80": "is a port alone, want host:port, such as :80", ":99999": `port "99999", want 1 to 65535`, ":x": `port "x"`, "a.test:99999": `port "99999"`,
		"a b:80": "want an IP address, or a name", "224.0.0.1:80": "no single machine's address", "unix:": "want unix: and a path", "unix:a\nb": "want unix: and a path", "": "want host:port",
	} {
		if problem := BadListen(bad); !strings.Contains(problem, want) {
			t.Errorf("%q: %q, want %q", bad, problem, want)
		}
	}
}

// Who writes an address wrong is told what was meant.
func TestWhatToWriteInPlaceOfAnAddress(t *testing.T) {
	for bad, want := range map[string]string{
		"::1:80": "an IPv6 address stands in brackets: [::1]:80", "::1": "has no port, want host:port, such as [::1]:8000", "[::1]": "has no port, want host:port, such as [::1]:8000",
		"8080": "is a port alone, want host:port, such as 10.0.0.5:8080", "99999": `port "99999", want 1 to 65535`, "web": "has no port, want host:port, such as web:8000",
		":80": "has no host, want host:port, such as 10.0.0.5:80", "http://a:80/x": "with http:// or https:// before it or without", "a:b:c": "want host:port, such as 10.0.0.5:8000",
		"": "empty, want host:port", "https://unix:/x": "spoken to without https://", "0.0.0.0:80": "no single machine's address",
	} {
		if problem := BadAddress(bad); !strings.Contains(problem, want) {
			t.Errorf("%q: %q, want %q", bad, problem, want)
		}
	}
}

func TestPlainText(t *testing.T) {
	for text, want := range map[string]string{"plain ~": "plain ~", "a\tb\r\nc": "a b  c", "zwölf": "zwölf", "\x1b[31m": "\ufffd[31m", "a\xffb": "a\ufffdb", "\u202e": "\ufffd", "\x7f": "\ufffd"} {
		if got := PlainText(text); got != want {
			t.Errorf("%q reads %q, want %q", text, got, want)
		}
	}
}

// Each word of a request is judged, and no sound one.
func TestEachWordOfARequestIsJudged(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	sound := Request{Key: long(MaxText), Tenant: long(MaxName), Location: long(MaxName), Method: long(MaxName), Host: long(MaxText), Path: long(MaxText), Exclude: make([]ServerID, MaxExclude), Labels: make([]Label, MaxLabels)}
	for i := range sound.Exclude {
		sound.Exclude[i], sound.Labels[i] = "a", Label{Key: "k"}
	}
	for field, spoil := range map[string]func(*Request){
		"": func(*Request) {}, "key": func(r *Request) { r.Key += "x" }, "tenant": func(r *Request) { r.Tenant += "x" }, "location": func(r *Request) { r.Location += "x" },
		"method": func(r *Request) { r.Method += "x" }, "host": func(r *Request) { r.Host += "x" }, "path": func(r *Request) { r.Path += "x" },
		"exclude": func(r *Request) { r.Exclude = append(r.Exclude, "a") }, "labels": func(r *Request) { r.Labels = append(r.Labels, Label{Key: "k"}) },
	} {
		r := sound.clone()
		spoil(&r)
		told := ""
		if r.Validate(func(field, _ string) { told += field }); told != field {
			t.Errorf("a bad %q: told %q", field, told)
		}
	}
	r := Request{Exclude: []ServerID{"", "a"}}
	told := ""
	if r.Validate(func(field, _ string) { told += field }); told != "exclude" {
		t.Errorf("a server without a name is excluded: told %q", told)
	}
}
