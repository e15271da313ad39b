package http1

import "testing"

const (
	smallRequest = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
	largeRequest = "GET /v1/items?id=42 HTTP/1.1\r\nHost: shop.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
		"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n" +
		"Referer: https://shop.example.com/list?page=3\r\nCookie: session=0123456789abcdef; theme=dark; lang=en\r\n" +
		"Connection: keep-alive\r\nCache-Control: no-cache\r\nSec-Fetch-Dest: document\r\n" +
		"X-Request-Id: 8c7d1b0e-6a0f-4d1c-9b5e-2f3a4b5c6d7e\r\nIf-None-Match: \"abc123\"\r\n\r\n"
	smallResponse = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\n" +
		"Content-Type: text/plain\r\nContent-Length: 13\r\nConnection: keep-alive\r\n\r\n"
)

var edgeNames = NewNames("evenkeel-*", "x-gateway-destination-endpoint*", "endpoint-load-metrics*", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host")

var edgeRewrite = Rewrite{Drop: edgeNames, Add: []byte("Via: 1.1 evenkeel\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n")}

func BenchmarkRequestHead(b *testing.B) {
	for name, in := range map[string]string{"small": smallRequest, "12 fields": largeRequest} {
		b.Run(name, func(b *testing.B) {
			var h RequestHead
			buf := []byte(in)
			b.ReportAllocs()
			for b.Loop() {
				if n, err := h.Parse(buf); n != len(buf) {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func BenchmarkRequestAppend(b *testing.B) {
	for name, in := range map[string]string{"small": smallRequest, "12 fields": largeRequest} {
		b.Run(name, func(b *testing.B) {
			var h RequestHead
			buf := []byte(in)
			_, _ = h.Parse(buf)
			dst := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				dst = h.Append(dst[:0], buf, &edgeRewrite)
			}
		})
	}
}

func BenchmarkResponseHead(b *testing.B) {
	var h ResponseHead
	buf := []byte(smallResponse)
	b.ReportAllocs()
	for b.Loop() {
		if n, err := h.Parse(buf, Asked{Method: MethodGet}); n != len(buf) {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkResponseAppend(b *testing.B) {
	var h ResponseHead
	buf := []byte(smallResponse)
	_, _ = h.Parse(buf, Asked{Method: MethodGet})
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		dst = h.Append(dst[:0], buf, &edgeRewrite)
	}
}

func BenchmarkChunkedPass(b *testing.B) {
	var in []byte
	for range 16 {
		in = AppendChunkSize(in, 1024)
		in = append(in, make([]byte, 1024)...)
		in = append(in, "\r\n"...)
	}
	in = append(in, LastChunk...)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		body := NewBody(ByChunks, -1)
		if n, err := body.Pass(in); n != len(in) {
			b.Fatal(n, err)
		}
	}
}

// The fast path promises no allocation a request.
func TestNoAllocations(t *testing.T) {
	var req RequestHead
	var resp ResponseHead
	var trailers Trailers
	dst := make([]byte, 0, 8192)
	large, small := []byte(largeRequest), []byte(smallResponse)
	chunks := []byte("5;a=b\r\nhello\r\n0\r\nGrpc-Status: 0\r\n\r\n")
	bad := []byte("GET / HTTP/1.1\r\nHost : a\r\n\r\n")
	all := func() {
		if n, _ := req.Parse(large); n == 0 {
			t.Fatal("request refused")
		}
		dst = req.Append(dst[:0], large, &edgeRewrite)
		if n, _ := resp.Parse(small, Asked{Method: MethodGet}); n == 0 {
			t.Fatal("response refused")
		}
		dst = resp.Append(dst[:0], small, &edgeRewrite)
		body := NewBody(ByChunks, -1)
		n, _ := body.Pass(chunks)
		if m, err := body.ReadTrailers(&trailers, chunks[n:]); m == 0 {
			t.Fatal("trailers refused:", err)
		}
		dst = trailers.Append(dst[:0], chunks[n:], edgeNames)
		if _, err := req.Parse(bad); err != ErrSpaceInName {
			t.Fatal(err)
		}
	}
	all() // the slices grow once
	if n := testing.AllocsPerRun(100, all); n != 0 {
		t.Errorf("%v allocations a run, want 0", n)
	}
}
