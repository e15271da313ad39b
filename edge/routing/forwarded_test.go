package routing

import (
	"fmt"
	"testing"
)

func TestForwardedChain(t *testing.T) {
	for _, c := range []struct {
		forwardedFor, forwarded []string
		want                    string
	}{
		{nil, nil, "[]"},
		{[]string{"192.0.2.1, 198.51.100.2:99"}, []string{"for=10.0.0.1"}, "[{192.0.2.1  } {198.51.100.2  }]"},
		{nil, []string{"for=198.51.100.9;proto=https"}, "[{198.51.100.9 https }]"},
		{nil, []string{`For="[2001:db8::1]:4711"; Host="a.example:8443" ;PROTO=HTTP`, "for=192.0.2.60"}, "[{2001:db8::1 http a.example:8443} {192.0.2.60  }]"},
		{nil, []string{`for=unknown, for=_hidden,for="::ffff:192.0.2.1"`}, "[{invalid IP  } {invalid IP  } {192.0.2.1  }]"},
		{nil, []string{`by="a,b;c\"d";for=192.0.2.1, ,`}, "[{192.0.2.1  }]"},
		{nil, []string{`for=192.0.2.1;proto=javascript;host="a b"`}, "[{192.0.2.1  }]"},
		{nil, []string{`for="192.0.2.1`}, "[{invalid IP  }]"},
		{nil, []string{`host="a\.exam\\ple\""`}, "[{invalid IP  }]"},
		{nil, []string{`host="\a.exam\ple";proto=https`}, "[{invalid IP https a.example}]"},
		{nil, []string{`host="a.exampl\e", host="\b"`}, "[{invalid IP  a.example} {invalid IP  b}]"},
		{nil, []string{`host="", host=`, `host="a"`}, "[{invalid IP  } {invalid IP  } {invalid IP  a}]"},
		{nil, []string{`host=a\;proto=http`}, `[{invalid IP http a\}]`},
		{nil, []string{"host=a\x7f", "host=a\xff", "host=a\"b", `host=b"`}, "[{invalid IP  } {invalid IP  } {invalid IP  } {invalid IP  }]"},
	} {
		if got := fmt.Sprint(ForwardedChain(c.forwardedFor, c.forwarded)); got != c.want {
			t.Errorf("%q, %q: got %s, want %s", c.forwardedFor, c.forwarded, got, c.want)
		}
	}
}

func FuzzForwardedChain(f *testing.F) {
	f.Add("1.2.3.4", `for="[::1]:1";host="a\"b"`)
	f.Fuzz(func(t *testing.T, forwardedFor, forwarded string) {
		for _, chain := range [][]Hop{ForwardedChain([]string{forwardedFor}, nil), ForwardedChain(nil, []string{forwarded, forwarded})} {
			for _, h := range chain {
				if h.Host != "" && !isHost(h.Host) {
					t.Errorf("host %q", h.Host)
				}
			}
		}
	})
}

func TestUpgradesThatARouteAllows(t *testing.T) {
	for _, c := range []struct {
		names   []string
		offered string
		want    bool
	}{
		{nil, "websocket", true},
		{nil, "WebSocket", true},
		{nil, "tcp", true},
		{nil, "websocket, h2c", false},
		{nil, "h2c", false},
		{nil, "foo", false},
		{[]string{}, "websocket", false},
		{[]string{"Foo", "spdy/3.1"}, "foo/2", true},
		{[]string{"Foo", "spdy/3.1"}, "SPDY/3.1, foo", true},
		{[]string{"Foo", "spdy/3.1"}, "spdy/4", false},
		{[]string{"h2c", "http"}, "h2c", false},
		{[]string{"h2c", "http"}, "HTTP/2.0", false},
		{nil, "", false},
		{nil, "websocket,", false},
	} {
		if got := NewUpgrades(c.names).Allow(c.offered); got != c.want {
			t.Errorf("%q with %q: got %v, want %v", c.names, c.offered, got, c.want)
		}
	}
}

// A list is read no further than it is needed.
func TestSplittingEndsEarly(t *testing.T) {
	for part := range unquotedSplit(`"a,b",c,d`, ',') {
		if part != `"a,b"` {
			t.Errorf("the first part is %q", part)
		}
		break
	}
}
