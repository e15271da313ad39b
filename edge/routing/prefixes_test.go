package routing

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func prefixes(t *testing.T, list ...string) (all []netip.Prefix) {
	t.Helper()
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func TestWhoMayConnect(t *testing.T) {
	for _, c := range []struct {
		allow, deny   []string
		admits, turns []string
	}{
		{nil, nil, []string{"192.0.2.1", "::1"}, nil},
		{nil, []string{"192.0.2.0/24", "2001:db8::/32"}, []string{"192.0.3.1", "2001:db9::"}, []string{"192.0.2.255", "::ffff:192.0.2.1", "2001:db8:1::%eth0"}},
		{[]string{"10.0.0.0/8"}, nil, []string{"10.1.2.3", "::ffff:10.1.2.3"}, []string{"11.0.0.1", "::1"}},
		{[]string{"::ffff:10.0.0.0/104"}, nil, []string{"10.1.2.3"}, []string{"11.0.0.1"}},
		{[]string{"::ffff:0.0.0.0/96"}, nil, []string{"10.1.2.3", "192.0.2.1"}, []string{"::1", "2001:db8::1"}},
		{[]string{"10.0.0.0/8"}, []string{"10.9.0.0/16", "10.0.0.1/32"}, []string{"10.1.2.3"}, []string{"10.9.1.1", "10.0.0.1"}},
		{[]string{"0.0.0.0/0"}, nil, []string{"10.1.2.3"}, []string{"::1"}},
	} {
		r := Access{NewPrefixes(prefixes(t, c.allow...)), NewPrefixes(prefixes(t, c.deny...))}
		for _, a := range c.admits {
			if !r.Admits(netip.MustParseAddr(a)) {
				t.Errorf("allow %v, deny %v: %s may not connect", c.allow, c.deny, a)
			}
		}
		for _, a := range c.turns {
			if r.Admits(netip.MustParseAddr(a)) {
				t.Errorf("allow %v, deny %v: %s may connect", c.allow, c.deny, a)
			}
		}
	}
	some := Access{Allow: NewPrefixes(prefixes(t, "0.0.0.0/0", "::/0"))}
	if some.Admits(netip.Addr{}) {
		t.Error("who has no address may connect where addresses are listed")
	}
}

// A set answers as a walk through the list does.
func TestPrefixesAnswerAsTheListDoes(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	address := func() netip.Addr {
		if chance.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{byte(chance.IntN(3)), byte(chance.IntN(3)), byte(chance.IntN(256)), byte(chance.IntN(256))})
		}
		return netip.AddrFrom16([16]byte{0x20, byte(chance.IntN(3)), byte(chance.IntN(3)), 15: byte(chance.IntN(256))})
	}
	for range 200 {
		var list []netip.Prefix
		for range chance.IntN(20) {
			a := address()
			list = append(list, netip.PrefixFrom(a, chance.IntN(a.BitLen()+1)))
		}
		set := NewPrefixes(list)
		for range 200 {
			a, want := address(), false
			for _, p := range list {
				want = want || p.Contains(a)
			}
			if got := set.Contain(a); got != want {
				t.Fatalf("%v in %v: got %v, want %v", a, list, got, want)
			}
		}
	}
}

func TestNoPolicyHasSuitesOfCBC(t *testing.T) {
	for _, p := range TLSPolicies() {
		for _, s := range p.Suites() {
			if name := tls.CipherSuiteName(s); !strings.Contains(name, "GCM") && !strings.Contains(name, "POLY1305") || !strings.HasPrefix(name, "TLS_ECDHE_") {
				t.Errorf("%v has %s", p, name)
			}
		}
		if want := map[TLSPolicy]uint16{Intermediate: tls.VersionTLS12, Modern: tls.VersionTLS13}[p]; p.Version() != want {
			t.Errorf("%v begins at %s, want %s", p, tls.VersionName(p.Version()), tls.VersionName(want))
		}
	}
}

// rdn is one attribute of a name in a set of its own.
func rdn(id string, value any) pkix.RelativeDistinguishedNameSET {
	return pkix.RelativeDistinguishedNameSET{attribute(id, value)}
}

func attribute(id string, value any) pkix.AttributeTypeAndValue {
	var oid asn1.ObjectIdentifier
	for number := range strings.SplitSeq(id, ".") {
		n, _ := strconv.Atoi(number)
		oid = append(oid, n)
	}
	return pkix.AttributeTypeAndValue{Type: oid, Value: value}
}

const (
	cn = "2.5.4.3"
	ou = "2.5.4.11"
	dc = "0.9.2342.19200300.100.1.25"
)

func subject(t *testing.T, sets ...pkix.RelativeDistinguishedNameSET) (string, error) {
	raw, err := asn1.Marshal(pkix.RDNSequence(sets))
	if err != nil {
		t.Fatal(err)
	}
	return Subject(raw)
}

func TestNoSubjectEndsItsLine(t *testing.T) {
	for want, sets := range map[string][]pkix.RelativeDistinguishedNameSET{
		"CN=alice,O=Acme":                      {rdn("2.5.4.10", "Acme"), rdn(cn, "alice")},
		`CN=a\0D\0AEvenkeel-Client-Subject: b`: {rdn(cn, "a\r\nEvenkeel-Client-Subject: b")},
		`CN=J\C3\BCrgen`:                       {rdn(cn, "Jürgen")},
		`CN=\20a\, b\20`:                       {rdn(cn, " a, b ")},
		`CN=\#a\\C3\+b\"`:                      {rdn(cn, `#a\C3+b"`)},
		`CN=a#b`:                               {rdn(cn, "a#b")},
		`CN=a b~\7F\1F`:                        {rdn(cn, "a b~\x7f\x1f")},
		`CN=a+OU=b`:                            {{attribute(cn, "a"), attribute(ou, "b")}},
		`1.2.3=#0c0161`:                        {rdn("1.2.3", asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte("a")})},
		`2.5.4.3=#1e020061`:                    {rdn(cn, asn1.RawValue{Tag: asn1.TagBMPString, Bytes: []byte("\x00a")})},
		`2.5.4.3=#4c0161`:                      {rdn(cn, asn1.RawValue{Class: asn1.ClassApplication, Tag: asn1.TagUTF8String, Bytes: []byte("a")})},
		`2.5.4.3=#2c030c0161`:                  {rdn(cn, asn1.RawValue{Tag: asn1.TagUTF8String, IsCompound: true, Bytes: []byte("\x0c\x01a")})},
		"":                                     nil,
	} {
		if got, err := subject(t, sets...); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

func TestDifferentSubjectsAreDifferentTexts(t *testing.T) {
	value := func(tag int, bytes string) asn1.RawValue { return asn1.RawValue{Tag: tag, Bytes: []byte(bytes)} }
	corp := []pkix.RelativeDistinguishedNameSET{rdn(dc, value(asn1.TagIA5String, "example")), rdn(dc, value(asn1.TagIA5String, "corp"))}
	under := func(more ...pkix.RelativeDistinguishedNameSET) []pkix.RelativeDistinguishedNameSET {
		return append(slices.Clone(corp), more...)
	}
	seen := make(map[string]int)
	for i, sets := range [][]pkix.RelativeDistinguishedNameSET{
		under(rdn(cn, "Users"), rdn(cn, "alice")), under(rdn(cn, "Admins"), rdn(cn, "alice")),
		{rdn(cn, "root"), rdn(ou, "guests")}, {rdn(ou, "guests"), rdn(cn, "root")}, {{attribute(ou, "guests"), attribute(cn, "root")}},
		{rdn(cn, "root")}, {rdn(cn, "a"), rdn(cn, "root")}, {rdn(cn, "a,CN=root")}, {rdn(cn, "a+CN=root")}, {rdn(cn, "root ")}, {rdn(cn, "root\\ ")},
		{rdn(cn, value(asn1.TagT61String, "\xe9"))}, {rdn(cn, value(asn1.TagT61String, "\xe8"))}, {rdn(cn, "\uFFFD")},
		{rdn(cn, value(asn1.TagBMPString, "\x00a"))}, {rdn(cn, "a")}, {rdn(cn, 5)}, {rdn(cn, "5")}, {rdn(cn, true)}, {rdn(cn, "true")},
		{rdn(ou, "#0c0161")}, {rdn("1.2.3", "a")}, {rdn("1.2.3", "#0c0161")}, {rdn(cn, "é")}, {rdn(cn, `\C3\A9`)},
	} {
		got, err := subject(t, sets...)
		if before, twice := seen[got]; twice || err != nil {
			t.Errorf("subject %d and %d are both %q (%v)", before, i, got, err)
		}
		seen[got] = i
	}
	if got, _ := subject(t, under(rdn(cn, "Users"), rdn(cn, "alice"))...); got != "CN=alice,CN=Users,DC=corp,DC=example" {
		t.Errorf("got %q", got)
	}
}

func TestLongSubjectsAreErrors(t *testing.T) {
	if got, err := subject(t, rdn(cn, strings.Repeat("x", 1021))); err != nil || len(got) != 1024 {
		t.Errorf("1,024 bytes: got %d, %v", len(got), err)
	}
	for _, long := range []string{strings.Repeat("x", 1022), strings.Repeat("\x01", 400)} {
		if got, err := subject(t, rdn(cn, long)); err == nil {
			t.Errorf("a subject of %d bytes", len(got))
		}
	}
	if got, err := Subject([]byte("no name")); err == nil {
		t.Errorf("what is no name is %q", got)
	}
	raw, err := asn1.Marshal(pkix.RDNSequence{rdn(cn, "a")})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Subject(append(raw, 0)); err == nil {
		t.Errorf("a name and what is behind it is %q", got)
	}
}

// The first URI, else the first DNS name, as one line of printable ASCII.
func TestAltNames(t *testing.T) {
	uri := func(path string) *url.URL { return &url.URL{Scheme: "spiffe", Host: "example", Path: path} }
	for _, c := range []struct {
		cert x509.Certificate
		want string
	}{
		{x509.Certificate{}, ""},
		{x509.Certificate{DNSNames: []string{"a.example", "b.example"}}, "a.example"},
		{x509.Certificate{DNSNames: []string{"a.example"}, URIs: []*url.URL{uri("/one"), uri("/two")}}, "spiffe://example/one"},
		{x509.Certificate{DNSNames: []string{" a\nb\x7f~\xff "}}, `a\0Ab\7F~\FF`},
		{x509.Certificate{DNSNames: []string{strings.Repeat("x", 1024)}}, strings.Repeat("x", 1024)},
		{x509.Certificate{DNSNames: []string{strings.Repeat("x", 1025)}}, ""},
	} {
		if got := AltName(&c.cert); got != c.want {
			t.Errorf("%q, %v: got %q, want %q", c.cert.DNSNames, c.cert.URIs, got, c.want)
		}
	}
}

func TestPrefixesThatCannotStandInASet(t *testing.T) {
	for text, want := range map[string]bool{"10.0.0.0/8": true, "::/0": true, "::ffff:0.0.0.0/96": true, "::ffff:0.0.0.0/95": false} {
		if err := CheckPrefix(netip.MustParsePrefix(text)); (err == nil) != want {
			t.Errorf("%s: %v, want that it can stand there: %v", text, err, want)
		}
	}
	if CheckPrefix(netip.Prefix{}) == nil {
		t.Error("what is no prefix can stand in a set")
	}
	some := Access{Deny: NewPrefixes(prefixes(t, "10.0.0.0/8"))}
	if (&Access{}).Open() != true || some.Open() || (&Access{Allow: some.Deny}).Open() {
		t.Error("a client outside of all prefixes may connect with a list, or none may without one")
	}
}
