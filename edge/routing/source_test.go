package routing

import (
	"net/netip"
	"strings"
	"testing"
)

func TestSources(t *testing.T) {
	h := RequestInfo{Path: "/p", Query: "a=1&b%20c=d+e&bad=%zz&bad=ok", Headers: lines{"x-user": {"ann", "bob"}, "cookie": {"a=1; sid=x=y", "sid=second"}}}
	for spec, want := range map[string]string{
		"": "", "client": "192.0.2.1", "path": "/p", "header:X-User": "ann", "header:None": "", "cookie:sid": "x=y", "cookie:none": "",
		"query:a": "1", "query:b c": "d e", "query:bad": "ok", "query:none": "", "query:%zz": "",
	} {
		s, err := newKeySource(spec)
		if err != nil {
			t.Errorf("%s: %v", spec, err)
		}
		if got, _ := s.Read(&h, netip.MustParseAddr("192.0.2.1")); got != want {
			t.Errorf("%s: got %q, want %q", spec, got, want)
		}
	}
	for _, spec := range []string{"header", "header:", "other:", "cookie:", "body:x", "client:x", "path:", "x"} {
		if _, err := newKeySource(spec); err == nil || !strings.Contains(err.Error(), spec) {
			t.Errorf("%s: error %v, want one that names it", spec, err)
		}
	}
}

func TestClientsOwnLeaseIsDropped(t *testing.T) {
	for target, want := range map[string]string{
		"/r": "/r", "/r?lease=1": "/r", "/r?a=1&lease=1&b=2&lease=3": "/r?a=1&b=2", "/r?le%61se=1&a": "/r?a", "/r?leased=1": "/r?leased=1", "/r?": "/r?", "/r?lea%zz=1&lease": "/r?lea%zz=1", "lease=1": "lease=1",
	} {
		if got := WithoutParameter(target, "lease"); got != want {
			t.Errorf("%s: got %s, want %s", target, got, want)
		}
	}
}

// lines are the fields of a head, by their names in lower case.
type lines map[string][]string

func (l lines) First(name string) string {
	if len(l[name]) == 0 {
		return ""
	}
	return l[name][0]
}

func (l lines) All(name string) []string { return l[name] }
