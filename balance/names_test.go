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
