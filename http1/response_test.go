package http1

import (
	"errors"
	"strings"
	"testing"
)

func TestResponseHead(t *testing.T) {
	get := Asked{Method: MethodGet}
	for _, row := range []struct {
		rfc, in string
		to      Asked
		err     error
	}{
		{"9112 4", "HTTP/1.1 200 OK\r\n\r\n", get, nil},
		{"9112 4 no reason", "HTTP/1.1 200 \r\n\r\n", get, nil},
		{"9112 4 no space either", "HTTP/1.1 200\r\n\r\n", get, nil},
		{"9112 4 reason beyond ASCII", "HTTP/1.1 200 \xfcber\r\n\r\n", get, nil},
		{"9112 4 control in the reason", "HTTP/1.1 200 O\x00K\r\n\r\n", get, ErrFieldValue},
		{"9112 4 two spaces", "HTTP/1.1  200 OK\r\n\r\n", get, ErrStatusLine},
		{"9112 4 four digits", "HTTP/1.1 2000 OK\r\n\r\n", get, ErrStatusLine},
		{"9112 4 two digits", "HTTP/1.1 20 OK\r\n\r\n", get, ErrStatusLine},
		{"9110 15 below 100", "HTTP/1.1 099 OK\r\n\r\n", get, ErrStatusLine},
		{"9110 15 above 599", "HTTP/1.1 999 No\r\n\r\n", get, nil},
		{"9112 2.3 version 2", "HTTP/2.0 200 OK\r\n\r\n", get, ErrStatusLine},
		{"9112 2.3 another protocol", "ICY 200 OK\r\n\r\n", get, ErrStatusLine},
		{"9112 2.2 bare LF", "HTTP/1.1 200 OK\nA: b\r\n\r\n", get, ErrBareLF},
		{"9112 2.2 bare CR", "HTTP/1.1 200 OK\rA: b\r\n\r\n", get, ErrBareCR},
		{"9112 2.2 empty line before", "\r\nHTTP/1.1 200 OK\r\n\r\n", get, ErrStatusLine},
		{"9112 5.1 space before colon", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", get, ErrSpaceInName},
		{"9112 5.2 obs-fold", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", get, ErrFold},
		{"9112 6.1 in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", get, ErrTransferCoding},
		{"9112 6.1 gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", get, ErrUnknownCoding},
		{"9112 6.3 both", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", get, ErrTwoLengths},
		{"9112 6.3 both, to HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", Asked{Method: MethodHead}, ErrTwoLengths},
		{"9112 6.3 twice", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", get, ErrContentLength},
		{"9110 15.2.2 unasked", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", get, ErrUpgrade},
		{"9110 15.2.2 without Upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n", Asked{Method: MethodGet, Upgrade: true}, ErrUpgrade},
		{"9110 15.2.2", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", Asked{Method: MethodGet, Upgrade: true}, nil},
		{"9112 5 too much", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 33<<10), get, ErrLongHead},
		{"9112 5 too many", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 101) + "\r\n", get, ErrManyFields},
	} {
		var h ResponseHead
		n, err := h.Parse([]byte(row.in), row.to)
		if err != row.err || (n == len(row.in)) != (err == nil) || err != nil && n != 0 {
			t.Errorf("RFC %s: %.80q\n got %d, %v\nwant %d, %v", row.rfc, row.in, n, err, len(row.in), row.err)
		}
	}
}

// RFC 9112 6.3 and 9.3: where the body ends, and whether the connection lives on.
func TestResponseFraming(t *testing.T) {
	get, head, connect := Asked{Method: MethodGet}, Asked{Method: MethodHead}, Asked{Method: MethodConnect}
	for _, row := range []struct {
		in      string
		to      Asked
		framing Framing
		length  int64
		keep    bool
		tunnel  bool
	}{
		{"HTTP/1.1 200 OK\r\n\r\n", get, ByClose, -1, false, false},
		{"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", get, ByClose, -1, false, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", get, ByLength, 5, true, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", get, NoBody, 0, true, false},
		{"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", get, ByLength, 5, false, false},
		{"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", get, ByLength, 5, true, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", get, ByLength, 5, false, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", get, ByChunks, -1, true, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", head, NoBody, 5, true, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", head, NoBody, -1, true, false},
		{"HTTP/1.1 200 OK\r\n\r\n", head, NoBody, -1, true, false},
		{"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", get, NoBody, 5, true, false},
		{"HTTP/1.1 204 No Content\r\n\r\n", get, NoBody, -1, true, false},
		{"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", get, NoBody, -1, true, false},
		{"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", get, NoBody, -1, false, false},
		{"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", get, NoBody, -1, false, false},
		{"HTTP/1.1 100 Continue\r\n\r\n", get, NoBody, -1, true, false},
		{"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", get, NoBody, -1, true, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", connect, NoBody, -1, false, true},
		{"HTTP/1.1 200 OK\r\n\r\n", connect, NoBody, -1, true, true},
		{"HTTP/1.1 407 No\r\nContent-Length: 5\r\n\r\n", connect, ByLength, 5, true, false},
		{"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", Asked{Method: MethodGet, Upgrade: true}, NoBody, -1, true, true},
	} {
		var h ResponseHead
		n, err := h.Parse([]byte(row.in), row.to)
		if n != len(row.in) || err != nil {
			t.Errorf("%q: %d, %v", row.in, n, err)
			continue
		}
		if h.Framing != row.framing || h.Length != row.length || h.KeepAlive != row.keep || h.Tunnel != row.tunnel {
			t.Errorf("%q to %v\n got framing %d length %d keep %v tunnel %v\nwant %+v", row.in, row.to, h.Framing, h.Length, h.KeepAlive, h.Tunnel, row)
		}
		if h.Interim() != (h.Status < 200 && h.Status != 101) {
			t.Errorf("%q: interim %v", row.in, h.Interim())
		}
	}
}

func responseSeeds() []string {
	return []string{
		smallResponse,
		"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\nContent-Length:1\r\n\r\n.",
		"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nKeep-Alive: x\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\nA: b\r\n\r\n", "ICY 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
	}
}

func fedResponse(in []byte, to Asked, cuts ...int) (string, error) {
	h := ResponseHead{Head: Head{lines: lines{Limits: Limits{Head: 300, Fields: 10}}}}
	for _, cut := range append(cuts, len(in)) {
		n, err := h.Parse(in[:cut], to)
		if err != nil {
			return "", err
		}
		if n > 0 {
			return responseFacts(&h, in), nil
		}
	}
	return "", errMore
}

func TestResponseSplitAnywhere(t *testing.T) {
	for _, seed := range responseSeeds() {
		in := []byte(seed)
		to := Asked{Method: MethodGet, Upgrade: true}
		want, wantErr := fedResponse(in, to)
		for i := range in {
			for j := i; j < len(in); j++ {
				if got, err := fedResponse(in, to, i, j); got != want || !errors.Is(err, wantErr) {
					t.Fatalf("%q cut at %d and %d\n got %s, %v\nwant %s, %v", in, i, j, got, err, want, wantErr)
				}
			}
		}
	}
}
