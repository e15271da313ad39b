package http1_test

import (
	"fmt"

	"github.com/evenkeel-lb/evenkeel/http1"
)

// A request with a body goes from a client to a server; the one behind it stays in
// the buffer.
func Example() {
	buf := []byte("POST http://shop.example/buy HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive\r\n" +
		"Evenkeel-Lease: forged\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbook\r\n0\r\n\r\nGET /next")
	rewrite := http1.Rewrite{
		Drop: http1.NewNames("evenkeel-*"),
		Add:  []byte("Via: 1.1 evenkeel\r\n"),
	}

	var head http1.RequestHead
	n, err := head.Parse(buf)
	if err != nil || n == 0 {
		fmt.Println("refused, or incomplete:", err)
		return
	}
	body := head.Body()
	m, err := body.Pass(buf[n:])
	if err != nil {
		fmt.Println("refused:", err)
		return
	}
	out := head.Append(nil, buf, &rewrite)
	out = append(out, buf[n:n+m]...)
	fmt.Printf("%s for %s, keep alive: %v, whole: %v\n", head.Verb.Of(buf), head.Host.Of(buf), head.KeepAlive, body.Done())
	fmt.Printf("%q\n%q\n", out, buf[n+m:])
	// Output:
	// POST for shop.example, keep alive: true, whole: true
	// "POST /buy HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\nVia: 1.1 evenkeel\r\n\r\n4\r\nbook\r\n0\r\n\r\n"
	// "GET /next"
}

// The limits are set once, before the first head.
func ExampleRequestHead_Parse() {
	var head http1.RequestHead
	head.Limits = http1.Limits{Head: 1024, Fields: 50}
	n, err := head.Parse([]byte("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n"))
	fmt.Println(n, err.(http1.Error).Status())
	// Output: 0 400
}
