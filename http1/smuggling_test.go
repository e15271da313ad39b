package http1

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata/smuggling.golden")

const golden = "testdata/smuggling.golden"

// TestSmuggling holds the verdict on every mutation against the golden file: refused
// with a status, or forwarded as exactly these bytes with so much left for the next
// request. A changed verdict shows in the diff of that file.
func TestSmuggling(t *testing.T) {
	list := mutations()
	if len(list) < 800 {
		t.Errorf("%d mutations, want 800 at least", len(list))
	}
	var b strings.Builder
	refused := 0
	for _, m := range list {
		verdict := verdictOn(m.in)
		if strings.HasPrefix(verdict, "refuse") {
			refused++
		}
		fmt.Fprintf(&b, "# %s\n%q\n%s\n\n", m.name, m.in, verdict)
		checkForwarding(t, []byte(m.in))
	}
	t.Logf("%d mutations, %d refused", len(list), refused)
	if *update {
		if err := os.WriteFile(filepath.FromSlash(golden), []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	compareGolden(t, b.String())
}

func compareGolden(t *testing.T, got string) {
	want, err := os.ReadFile(filepath.FromSlash(golden))
	if err != nil {
		t.Fatal(err)
	}
	gots, wants := strings.Split(got, "\n\n"), strings.Split(string(want), "\n\n")
	for i := range min(len(gots), len(wants)) {
		if gots[i] != wants[i] {
			t.Errorf("got\n%s\nwant\n%s\nto accept: go test ./http1 -run TestSmuggling -update", gots[i], wants[i])
			return
		}
	}
	if len(gots) != len(wants) {
		t.Errorf("%d mutations, the golden file has %d; to accept: go test ./http1 -run TestSmuggling -update", len(gots)-1, len(wants)-1)
	}
}

func verdictOn(in string) string {
	out, n, err := forwarded([]byte(in))
	switch e, refused := err.(Error); {
	case refused:
		return fmt.Sprintf("refuse %d %s", e.Status(), e)
	case err != nil:
		return "wait"
	}
	return fmt.Sprintf("forward %q\nleave %q", out, in[n:])
}

type mutation struct{ name, in string }

// next is the request that a smuggler wants to slip through.
const next = "GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n"

// mutations makes the table. Each family varies one thing of a request that is good
// otherwise; every name is unique.
func mutations() []mutation {
	return slices.Concat(
		lengths(), codings(), bothLengths(), bytesEverywhere(), lineEnds(), folds(), spaces(),
		targets(), hosts(), versions(), methods(), chunkSizes(), chunkBytes(), trailerSections(), connections(), doubles(),
	)
}

func family(name, format string, values ...string) (list []mutation) {
	for _, v := range values {
		list = append(list, mutation{fmt.Sprintf("%s %.60q", name, v), strings.ReplaceAll(format, "$", v)})
	}
	return list
}

const chunkedHello = "5\r\nhello\r\n0\r\n\r\n"

var lengthValues = []string{
	"5", "0", "05", "00", "005", "+5", "-5", "-0", "+0", " 5", "5 ", "\t5", "5\t", " 5 ", "  5", "5,5", "5, 5", "5 ,5", ",5", "5,", ",", "5,6", "6,5", "5;5", "5;", ";5",
	"0x5", "0X5", "5h", "0b101", "0o5", "5.0", "5.", ".5", "5e0", "1e1", "5 5", "5_0", "5'0", "\"5\"", "'5'", "(5)", "5 (comment)", "5\x0b", "\x0b5", "5\x0c", "5\x00", "\x005", "5\xa0", "\xa05",
	"\u0665", "\uff15", "five", "", " ", "NaN", "Infinity", "-1", "true", "null", "4294967301", "4294967296", "18446744073709551621", "18446744073709551616", "9223372036854775808", "9223372036854775807",
	"999999999999999999", "1000000000000000000", "99999999999999999999999999999999999999", "000000000000000000000000000005", "5\\r\\n", "5%0d%0a", "%35", "5/1", "5:5", "5=5", "*", "5*", "bytes 5", "5\r\n Content-Length: 6",
}

func lengths() []mutation {
	return slices.Concat(
		family("content-length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:$\r\n\r\nhello"+next, lengthValues...),
		family("content-length in 1.0", "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: $\r\n\r\nhello"+next, lengthValues[:30]...),
		family("content-length named", "POST / HTTP/1.1\r\nHost: a\r\n$: 5\r\n\r\nhello"+next,
			"content-length", "CONTENT-LENGTH", "Content-length", "cOnTeNt-LeNgTh", "Content_Length", "CONTENT_LENGTH", "Content.Length", "ContentLength", "Content--Length", "Content-Length-", "-Content-Length",
			"Content-Length ", "Content-Length\t", " Content-Length", "\tContent-Length", "Content -Length", "Content- Length", "Content-Length\x0b", "Content-Length\x0c", "Content-Length\x00", "\x00Content-Length",
			"Content-Length\xa0", "Content-Length\r", "Content-Length\n", "\"Content-Length\"", "Content-Length;", "Content-Length,", "Content-Length/", "Content-Length:", "Content-Length=", "Content-Length\\", "(Content-Length)",
			"X-Content-Length", "Content-Lengt", "Content-Lengthh", "C\xd0\xbentent-Length", "Content\xe2\x80\x90Length", "Content%2dLength", "X: y\r\nContent-Length", "X: y\nContent-Length", "X: y\rContent-Length", "X: y\r\n\tContent-Length"),
	)
}

var codingValues = []string{
	"chunked", "Chunked", "CHUNKED", "cHuNkEd", " chunked", "chunked ", "\tchunked", "chunked\t", "  chunked", "\x0bchunked", "chunked\x0b", "\x0cchunked", "chunked\x0c", "chunked\x00", "\x00chunked", "\xa0chunked", "chunked\xa0",
	"chunked,", ",chunked", ", chunked", "chunked,,", "chunked, chunked", "chunked,chunked", "chunked chunked", "chunked;", "chunked;q=1", "chunked; a=b", "chunked=1", "\"chunked\"", "'chunked'", "(chunked)", "chunked(x)", "<chunked>",
	"xchunked", "chunkedx", "x-chunked", "chunked-x", "chunke", "hunked", "chunk", "chun\xc4\xb7ed", "\xd1\x81hunked", "ch\u00fcnked", "chunked\\", "/chunked", "chunked/1.1", "chunked:", ":chunked", "%63hunked",
	"identity", "identity, chunked", "chunked, identity", "gzip", "gzip, chunked", "gzip,chunked", "chunked, gzip", "deflate, chunked", "compress", "br", "trailers", "chunked, trailers", "cow", "cow, chunked", "*", "", " ", "0", "null", "none",
	"chunked\r\n ", "\r\n chunked", "\r\n\tchunked", "x\r\n chunked", "chunked\r\nX: y", "chunked\nX: y", "chunked\rX: y", "chun\r\n ked", "chun\tked", "chun ked", "gzip;q=0, chunked", "gzip\tchunked",
}

func codings() []mutation {
	return slices.Concat(
		family("transfer-encoding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:$\r\n\r\n"+chunkedHello+next, codingValues...),
		family("transfer-encoding in 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: $\r\n\r\n"+chunkedHello+next, codingValues[:32]...),
		family("transfer-encoding named", "POST / HTTP/1.1\r\nHost: a\r\n$: chunked\r\n\r\n"+chunkedHello+next,
			"transfer-encoding", "TRANSFER-ENCODING", "tRANSFER-eNCODING", "Transfer_Encoding", "TRANSFER_ENCODING", "Transfer.Encoding", "TransferEncoding", "Transfer--Encoding", "Transfer-Encoding-",
			"Transfer-Encoding ", "Transfer-Encoding\t", " Transfer-Encoding", "\tTransfer-Encoding", "Transfer -Encoding", "Transfer- Encoding", "Transfer-Encoding\x0b", "Transfer-Encoding\x00", "\x00Transfer-Encoding", "Transfer-Encoding\xa0",
			"Transfer-Encoding\r", "Transfer-Encoding\n", "Transfer-Encoding:", "Transfer-Encoding;", "Transfer-Encoding,", "\"Transfer-Encoding\"", "X-Transfer-Encoding", "Transfer-Encodin", "Transfer-Encodingg", "Tr\xd0\xb0nsfer-Encoding",
			"Transfer\xe2\x80\x90Encoding", "Transfer%2dEncoding", "TE", "Content-Transfer-Encoding", "X: y\r\nTransfer-Encoding", "X: y\nTransfer-Encoding", "X: y\rTransfer-Encoding", "X: y\r\n Transfer-Encoding", "Accept-Encoding", "Content-Encoding"),
	)
}

func bothLengths() []mutation {
	return slices.Concat(
		family("length, then coding", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding:$\r\n\r\n"+chunkedHello+next, codingValues...),
		family("coding, then length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:$\r\nContent-Length: 4\r\n\r\n"+chunkedHello+next, codingValues[:24]...),
		family("coding beside a length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: $\r\n\r\n"+chunkedHello+next, lengthValues[:26]...),
	)
}

// bytesEverywhere puts each byte that is not plain text into each place.
func bytesEverywhere() (list []mutation) {
	var odd []string
	for c := range 0x20 {
		odd = append(odd, string([]byte{byte(c)}))
	}
	odd = append(odd, "\x7f", "\x80", "\x85", "\xa0", "\xff", "\u2028", "\ufeff")
	for place, format := range map[string]string{
		"first":             "$POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"in the method":     "PO$ST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"after the method":  "POST$/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"in the target":     "POST /a$b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"in the query":      "POST /?a$b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"after the target":  "POST /$HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"in the version":    "POST / HTTP/1$.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"after the version": "POST / HTTP/1.1$\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"before a name":     "POST / HTTP/1.1\r\nHost: a\r\n$X: y\r\nContent-Length: 5\r\n\r\nhello",
		"in a name":         "POST / HTTP/1.1\r\nHost: a\r\nX$X: y\r\nContent-Length: 5\r\n\r\nhello",
		"after a name":      "POST / HTTP/1.1\r\nHost: a\r\nX$: y\r\nContent-Length: 5\r\n\r\nhello",
		"before a value":    "POST / HTTP/1.1\r\nHost: a\r\nX:$y\r\nContent-Length: 5\r\n\r\nhello",
		"in a value":        "POST / HTTP/1.1\r\nHost: a\r\nX: a value of$some length\r\nContent-Length: 5\r\n\r\nhello",
		"after a value":     "POST / HTTP/1.1\r\nHost: a\r\nX: y$\r\nContent-Length: 5\r\n\r\nhello",
		"in the Host":       "POST / HTTP/1.1\r\nHost: a$b\r\nContent-Length: 5\r\n\r\nhello",
		"in Connection":     "POST / HTTP/1.1\r\nHost: a\r\nConnection: a$b\r\nContent-Length: 5\r\n\r\nhello",
		"before the end":    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n$\r\nhello",
	} {
		list = append(list, family("byte "+place, format, odd...)...)
	}
	slices.SortStableFunc(list, func(a, b mutation) int { return strings.Compare(a.name, b.name) })
	return list
}

func lineEnds() (list []mutation) {
	ends := []string{"\n", "\r", "\r\r\n", "\n\r", "\r\n\r", "\n\n", "\r\r", " \r\n", "\t\r\n", "\x0b\r\n", "\x00\r\n", "\r \n", "\r\x00\n", "\\r\\n", "\u2028", "\x85\r\n", "\r\n\r\n"}
	for _, row := range []struct{ where, format string }{
		{"request line", "POST / HTTP/1.1$Host: a\r\nContent-Length: 5\r\n\r\nhello" + next},
		{"Host", "POST / HTTP/1.1\r\nHost: a$Content-Length: 5\r\n\r\nhello" + next},
		{"last field", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5$\r\nhello" + next},
		{"head", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n$hello" + next},
		{"message", "GET / HTTP/1.1\r\nHost: a$" + next},
		{"chunk size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5$hello\r\n0\r\n\r\n" + next},
		{"chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello$0\r\n\r\n" + next},
		{"chunk extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a$hello\r\n0\r\n\r\n" + next},
		{"last chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0$\r\n" + next},
		{"body", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n$" + next},
		{"trailer", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y$\r\n" + next},
	} {
		list = append(list, family("end of "+row.where, row.format, ends...)...)
	}
	return list
}

func folds() []mutation {
	return family("fold", "POST / HTTP/1.1\r\n$\r\n\r\nhello"+next,
		"Host: a\r\n Content-Length: 5", "Host: a\r\n\tContent-Length: 5", "Host: a\r\nContent-Length:\r\n 5", "Host: a\r\nContent-Length:\r\n\t5", "Host: a\r\nContent-Length: 5\r\n ", "Host: a\r\nContent-Length: 5\r\n\t", "Host: a\r\nContent-Length: 5\r\n 0",
		" Host: a\r\nContent-Length: 5", "\tHost: a", "Host:\r\n a", "Host: a\r\n b", "Host: a\r\nX: y\r\n z", "Host: a\r\nX: y\r\n\tz", "Host: a\r\nX:\r\n\r\n y", "Host: a\n Content-Length: 5", "Host: a\r Content-Length: 5",
		"Host: a\r\nTransfer-Encoding:\r\n chunked", "Host: a\r\nTransfer-Encoding: identity\r\n , chunked", "Host: a\r\nX: y\r\n Transfer-Encoding: chunked", "Host: a\r\nX: y\r\n\x0bTransfer-Encoding: chunked", "Host: a\r\nX: y\r\n\r Transfer-Encoding: chunked", "Host: a\r\n\r\n Content-Length: 5")
}

func spaces() []mutation {
	return slices.Concat(
		family("request line", "$\r\nHost: a\r\n\r\n"+next,
			"GET / HTTP/1.1", " GET / HTTP/1.1", "GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET / HTTP/1.1 ", "GET\t/ HTTP/1.1", "GET /\tHTTP/1.1", "GET / HTTP/1.1\t", "GET / /b HTTP/1.1", "GET / HTTP/1.1 HTTP/1.1", "GET", "GET /", "GET / ", "GET HTTP/1.1", "GET  HTTP/1.1",
			" / HTTP/1.1", "/ HTTP/1.1", "", " ", "\t", "GET /\x0bHTTP/1.1", "GET\x0b/\x0bHTTP/1.1", "GET\x0c/ HTTP/1.1", "GET\xa0/ HTTP/1.1", "GET / HTTP/1.1\x00", "GET / HTTP/1.1;", "GET / HTTP/1.1,", "GET /\rHTTP/1.1", "GET / \rHTTP/1.1", "GET\r/ HTTP/1.1", "Host: b", "GET / HTTP/1.1\r\n", "\r\nGET / HTTP/1.1", "\nGET / HTTP/1.1", "\rGET / HTTP/1.1", "\r\n\r\nGET / HTTP/1.1", "\r\n GET / HTTP/1.1"),
		family("field line", "GET / HTTP/1.1\r\nHost: a\r\n$\r\n\r\n"+next,
			"X:y", "X:  y", "X:\ty", "X: y ", "X: y\t", "X : y", "X\t: y", "X  : y", " X: y", ":", ": y", " : y", "X", "X y", "X;y", "X=y", "X:", "X: ", "X::y", "X: :y", "X:y:z", "X Y: z", "X,Y: z", "X/Y: z", "X@Y: z", "X[Y]: z", "X{Y}: z", "X\"Y\": z", "X(Y): z", "X<Y>: z", "X\\Y: z", "X=Y: z", "X?Y: z", "X!#$%&'*+-.^_`|~Y: z", "\xefX: y", "X\xef: y", "X: \xef", "GET /b HTTP/1.1", "HTTP/1.1 200 OK", "X: y\r\nX: y", "X: a, b", "X: \"a\r\n b\""),
	)
}

func targets() []mutation {
	return slices.Concat(
		family("target", "GET $ HTTP/1.1\r\nHost: a\r\n\r\n"+next,
			"/", "//", "///", "//b/x", "/.", "/..", "/../x", "/./x", "/x/../y", "/%2e%2e/", "/%2f", "/%00", "/%0d%0aX:y", "/%", "/%4", "/%4g", "/%zz", "/%%41", "/x%", "/?%", "/?%zz", "/?", "/??", "/?a=b&c=d", "/;a=b", "/a;b?c", "/#", "/#x", "/x#y", "/?x#y", "#", "?", "?x", "x", "x/y", "x:80", "*", "/*", "**", "*/", "\\", "/\\", "\\\\b\\x", "/a\\b",
			"/\"", "/<x>", "/{x}", "/[x]", "/|", "/^", "/`", "/'", "/\xc3\xa9", "/\xff", "/a b", "/a%20b", "/a+b", "/:80", "/@b", "/http://b/", "/a//b", "/~a", "/,", "/=", "/$", "/!", "/("),
		family("absolute target", "GET $ HTTP/1.1\r\nHost: b\r\n\r\n"+next,
			"http://b/", "http://b", "http://b?x", "http://b/x?y", "HTTP://b/", "hTtPs://b/", "https://b/", "http://B/", "http://b:80/", "http://b:/", "http://b:x/", "http://b:65536/", "http://b:-1/", "http://u@b/", "http://u:p@b/", "http://@b/", "http://a@b@c/", "http:///", "http://", "http:/", "http:", "http:b", "http:/b/", "http//b/", "://b/", "//b/", "ftp://b/", "ws://b/", "file:///etc/passwd", "javascript:x", "http://b#x", "http://b/#x", "http://b/%zz", "http://b\\x/", "http://b\\@c/",
			"http://[::1]/", "http://[::1]:80/", "http://[::1/", "http://::1/", "http://[b]/", "http://[::1]x/", "http://[::1%25eth0]/", "http://[v1.x]/", "http://b,c/", "http://b%2ec/", "http://b%00/", "http://b;c/", "http://b c/", "http://b_c/", "http://127.1/", "http://0x7f.1/", "http://*/", "http://b./", "http://.b/", "http+unix://b/", "http://b*/"),
		family("CONNECT to", "CONNECT $ HTTP/1.1\r\nHost: a\r\n\r\n"+next,
			"b:443", "b", "b:", ":443", "b:0", "b:65535", "b:65536", "b:443/", "http://b:443", "/", "*", "u@b:443", "[::1]:443", "[::1]", "b:443:443", "b:443,c:443", "b:+443", "b:0443", "b:000443", "b:44 3"),
		family("asterisk of", "$ * HTTP/1.1\r\nHost: a\r\n\r\n"+next, "OPTIONS", "GET", "options", "POST", "CONNECT", "PRI", "HEAD"),
	)
}

var hostValues = []string{
	"a", "A", "a.b", "a:80", "a:0", "a:65535", "a:65536", "a:99999", "a:100000", "a:", ":", ":80", "a:80:80", "a:x", "a:+80", "a:-80", "a: 80", "a :80", "a:80 ", "", " ", "\t", "a b", "a,b", "a, b", "a;b", "a/b", "a/", "/", "a?b", "a#b", "a@b", "u@a", "u:p@a", "@a", "a@", "a\\b", "a%b", "a%41", "a%00", "a%2eb",
	"[::1]", "[::1]:80", "[::1", "::1", "::1]", "[]", "[]:80", "[a]", "[::1]a", "[::1]:", "[::1]:x", "[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7:8:9]", "[1:2:3:4:5:6:7]", "[1::2::3]", "[:1:2:3:4:5:6:7]", "[1:2:3:4:5:6:7:]", "[::ffff:1.2.3.4]", "[::ffff:1.2.3]", "[::ffff:1.2.3.256]", "[1.2.3.4]", "[::12345]", "[::g]", "[fe80::1%eth0]", "[fe80::1%25eth0]", "[v1.a]",
	"a_b", "-a", "a-", "a..b", ".a", "a.", "*", "*.a", "a*", "a'b", "a\"b", "\"a\"", "<a>", "(a)", "{a}", "a|b", "a^b", "a`b", "a~b", "a!b", "a$b", "a&b", "a=b", "a+b", "127.0.0.1", "127.1", "0x7f000001", "2130706433", "\u00e9.fr", "xn--9ca.fr", "a\xff", "http://a", "http://a/", "a\r\n b", "a\r\nHost: b", "a\r\nhost: a", "a\r\nX-Host: b", "a\r\nHOST : b", "a\r\nHost\t: b", "a\r\n Host: b",
}

func hosts() []mutation {
	return slices.Concat(
		family("Host", "GET / HTTP/1.1\r\nHost: $\r\n\r\n"+next, hostValues...),
		family("Host in 1.0", "GET / HTTP/1.0\r\nHost: $\r\n\r\n"+next, hostValues[:30]...),
		family("Host beside an absolute target", "GET http://b/ HTTP/1.1\r\nHost: $\r\n\r\n"+next, hostValues[:42]...),
		family("without Host", "$\r\n\r\n"+next, "GET / HTTP/1.1", "GET / HTTP/1.0", "GET http://b/ HTTP/1.1", "GET http://b/ HTTP/1.0", "OPTIONS * HTTP/1.1", "CONNECT b:1 HTTP/1.1", "CONNECT b:1 HTTP/1.0", "GET / HTTP/1.1\r\nX-Host: a", "GET / HTTP/1.1\r\nHos: a", "GET / HTTP/1.1\r\nHost_: a"),
	)
}

func versions() []mutation {
	list := []string{"HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/1.2", "HTTP/1.9", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9", "HTTP/2", "HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/1.10", "HTTP/1.01", "HTTP/01.1", "HTTP/11", "HTTP/1,1", "HTTP/1:1", "HTTP/1.1.1", "HTTP/-1.1", "HTTP/+1.1", "HTTP/1.-1", "HTTP/ 1.1", "HTTP /1.1", "HTTP/1 .1", "HTTP/1. 1",
		"http/1.1", "Http/1.1", "HTTPS/1.1", "HTTP1.1", "HTTP-1.1", "HTTP\\1.1", "HTTP//1.1", "HTTTP/1.1", "HTP/1.1", "ICY/1.1", "SIP/2.0", "RTSP/1.0", "HTTP/a.b", "HTTP/1.x", "HTTP/\xef\xbc\x91.1", "HTTP/4294967297.1", "HTTP/1.4294967297", "\"HTTP/1.1\"", "HTTP/1.1#", "HTTP/1.1?"}
	return slices.Concat(
		family("version", "POST / $\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"+next, list...),
		family("version of a chunked request", "POST / $\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+chunkedHello+next, list[:14]...),
		family("preface", "$", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\n\nSM\n\n", "PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n", "PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n", "pri * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00", "\x00", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 200 OK\r\n\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "\x80\x2e\x01\x03\x01"),
	)
}

func methods() []mutation {
	return slices.Concat(
		family("method", "$ / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"+next,
			"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "Get", "gET", "BREW", "M-SEARCH", "X!#$%&'*+-.^_`|~", "G@T", "G/T", "G:T", "G,T", "G;T", "G=T", "G\"T", "G(T)", "G[T]", "G{T}", "G?T", "G\\T", "G\xc3\x89T", "\xefGET", "123", "-", ".", "GET/", "GET,POST", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
		family("length in", "$ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"+next, "GET /", "CONNECT b:1", "TRACE /", "OPTIONS *", "HEAD /"),
		family("chunks in", "$ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+chunkedHello+next, "GET /", "CONNECT b:1", "TRACE /", "OPTIONS *", "HEAD /", "DELETE /"),
	)
}

func chunkSizes() []mutation {
	return family("chunk size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n$\r\nhello\r\n0\r\n\r\n"+next,
		"5", "05", "0005", "00000005", "000000005", "0000000000000000000005", "0x5", "0X5", "x5", "5h", "h", "+5", "-5", "-0", " 5", "5 ", "\t5", "5\t", "  5", "5  ", "5 5", "5,5", "5,", ",5", "5.0", "5.", "5e0", "5;", "5;a", "5;a=b", "5;a=\"b\"", "5;a=\"b", "5; a", "5;a ;b", "5 ;a", "5\t;a", "5;;", "5;\x00", "5;\x0b", "5;\x7f", "5;\xff", "5;\t", "5;a=\"\r\n\"", "5;a\r", "5;a\n", "5\r", "5\n", "\r\n5", "\n5", "", ";", ";a", "g", "G", "5g", "5_", "\"5\"", "(5)",
		"\xef\xbc\x95", "5\x00", "\x005", "5\x0b", "\x0b5", "5\x0c", "5\xa0", "FFFFFFFF", "100000000", "100000005", "FFFFFFFFF", "7FFFFFFFFFFFFFFF", "8000000000000000", "FFFFFFFFFFFFFFFF", "10000000000000005", "FFFFFFFFFFFFFFFFFFFFFFFF", "4", "6", "0", "00", "0;a", "5\r\nhello\r\n5", "a", "A", "5;"+strings.Repeat("a", 2000))
}

func chunkBytes() (list []mutation) {
	for _, row := range []struct{ where, format string }{
		{"after a chunk size", "5$\r\nhello\r\n0\r\n\r\n"}, {"after a chunk", "5\r\nhello$\r\n0\r\n\r\n"}, {"instead of CRLF after a chunk", "5\r\nhello$0\r\n\r\n"},
		{"before a chunk size", "$5\r\nhello\r\n0\r\n\r\n"}, {"after the last size", "5\r\nhello\r\n0$\r\n\r\n"}, {"before the last CRLF", "5\r\nhello\r\n0\r\n$\r\n"}, {"in an extension", "5;a$b\r\nhello\r\n0\r\n\r\n"},
	} {
		list = append(list, family("byte "+row.where, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+row.format+next,
			"\x00", "\t", "\n", "\x0b", "\x0c", "\r", " ", "\x7f", "\x85", "\xa0", "\xff", "0", "g", ";", "-", "\r\n", "XX")...)
	}
	return list
}

func trailerSections() []mutation {
	return family("trailers", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n$\r\n"+next,
		"", "X: y\r\n", "X: y\r\nZ: w\r\n", "X:y\r\n", "X : y\r\n", " X: y\r\n", "X: y\r\n z\r\n", "X\r\n", ": y\r\n", "X: y\n", "X: y\r", "X: \x00\r\n", "X\x00: y\r\n", "Content-Length: 5\r\n", "content-length: 5\r\n", "Content_Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Transfer_Encoding: chunked\r\n", "Host: evil\r\n", "Connection: close\r\n", "Trailer: X\r\n", "Authorization: x\r\n", "Cookie: a=b\r\n", "Set-Cookie: a=b\r\n", "Content-Type: a/b\r\n", "Content-Encoding: gzip\r\n", "Content-Range: x\r\n",
		"Expect: 100-continue\r\n", "Cache-Control: no-store\r\n", "TE: x\r\n", "Upgrade: x\r\n", "X-Forwarded-For: 1\r\n", "X_Forwarded_For: 1\r\n", "Forwarded: for=1\r\n", "Via: x\r\n", "If-Match: x\r\n", "Proxy-Authorization: x\r\n", "Grpc-Status: 0\r\n", "GET /smuggled HTTP/1.1\r\nHost: evil\r\n", "5\r\nhello\r\n")
}

func connections() []mutation {
	return slices.Concat(
		family("Connection", "GET / HTTP/1.1\r\nHost: a\r\nConnection: $\r\nX: y\r\nUpgrade: websocket\r\nKeep-Alive: 5\r\nCookie: c\r\nX-Forwarded-For: 1\r\n\r\n"+next,
			"close", "Close", "keep-alive", "Keep-Alive", "close, keep-alive", "keep-alive, close", "upgrade", "Upgrade", "close, upgrade", "X", "x", "x, close", "X, X", "", ",", ",,", ", close", "close,", "close,,keep-alive", "close keep-alive", "close;", "close;a=b", "\"close\"", "(close)", "close/1", "host", "Host", "content-length", "Content_Length", "transfer-encoding", "Transfer_Encoding", "cookie", "X-Forwarded-For", "x_forwarded_for", "TE", "te, close", "Keep-Alive, X", "a\tb", "a b", "clo\x00se", "close\x0b", "closed",
			"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "close\r\nConnection: keep-alive", "X\r\nConnection: Cookie"),
		family("Upgrade", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: $\r\n\r\n"+next, "websocket", "WebSocket", "h2c", "HTTP/2.0", "websocket, h2c", "", ",", "websocket,", "a b", "a/", "/a", "a/b/c", "\"a\"", "a\r\nUpgrade: b", "TLS/1.0, HTTP/1.1"),
		family("Expect", "POST / HTTP/1.1\r\nHost: a\r\nExpect: $\r\nContent-Length: 5\r\n\r\nhello"+next, "100-continue", "100-Continue", "100 continue", "100-continue, x", "100-continue\r\nExpect: 100-continue", "100-continue;a", "", "x", "200-ok", "100-continu", "100-continue,", "\"100-continue\""),
		family("Trailer", "POST / HTTP/1.1\r\nHost: a\r\nTrailer: $\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"+next, "X", "Content-Length", "content_length", "Transfer-Encoding", "Trailer", "X, Content-Length", "Host", "", ","),
	)
}

// doubles pairs the fields that frame or route with themselves and each other.
func doubles() (list []mutation) {
	fields := []string{"Content-Length: 5", "Content-Length: 6", "content-length: 5", "Content-Length: 0", "Transfer-Encoding: chunked", "transfer-encoding: identity", "Transfer-Encoding: gzip", "Host: b", "host: a", "Connection: close", "Connection: content-length", "Trailer: X", "TE: trailers", "X: y"}
	for _, a := range fields {
		for _, b := range fields {
			list = append(list, mutation{fmt.Sprintf("%s and %s", a, b), "POST / HTTP/1.1\r\nHost: a\r\n" + a + "\r\n" + b + "\r\n\r\n" + chunkedHello + next})
		}
	}
	return list
}

func TestMutationsAreDistinct(t *testing.T) {
	names, inputs := map[string]bool{}, map[string]string{}
	for _, m := range mutations() {
		if names[m.name] {
			t.Errorf("two mutations are called %s", m.name)
		}
		names[m.name], inputs[m.in] = true, m.name
	}
	if len(inputs) < 800 {
		t.Errorf("%d different inputs, want 800 at least", len(inputs))
	}
	t.Logf("%d mutations, %d different inputs", len(names), len(inputs))
}
