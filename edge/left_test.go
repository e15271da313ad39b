package edge

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// echoTrailers answers with the body and the trailer X-Own of each request. Of a request with X-Cut it sends so many bytes
// of the response and leaves.
func echoTrailers(conn *net.TCPConn, r *bufio.Reader) {
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Id: %s\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX-Sum: %s\r\n\r\n",
			req.Header.Get("X-Id"), len(body), body, req.Trailer.Get("X-Own"))
		cut, err := strconv.Atoi(req.Header.Get("X-Cut"))
		leaves := err == nil && cut < len(answer)
		if leaves {
			answer = answer[:cut]
		}
		if _, err := io.WriteString(conn, answer); err != nil || leaves {
			return
		}
	}
}

// uploadOf is a request with an id, fields behind it, and trailers.
func uploadOf(id int, fields string) string {
	return fmt.Sprintf("POST /%d HTTP/1.1\r\nHost: a\r\nX-Id: %d\r\n%sTrailer: X-Own\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\nX-Own: own-%d\r\n\r\n", id, id, fields, id)
}

// sendInPieces sends what comes behind a head byte by byte, so that the edge reads it in several pieces.
func sendInPieces(conn net.Conn, text string) {
	head := strings.Index(text, "\r\n\r\n") + 1 // zero: there is no more than a part of it
	if head == 0 {
		head = len(text)
	}
	_, _ = io.WriteString(conn, text[:head])
	for i := head; i < len(text); i++ {
		_, _ = io.WriteString(conn, text[i:i+1])
	}
}

// mustEcho sends a request over a connection of its own and holds the answer against it.
func mustEcho(t *testing.T, r *running, id int, after string) {
	t.Helper()
	client := r.dial()
	defer client.TCPConn.Close()
	sendInPieces(client.TCPConn, uploadOf(id, ""))
	res, body := client.response("POST")
	if res.StatusCode != 200 || res.Header.Get("X-Id") != strconv.Itoa(id) || body != "abcde" || res.Trailer.Get("X-Sum") != fmt.Sprint("own-", id) {
		t.Fatalf("after %s: got %d, id %q, body %q, trailers %v", after, res.StatusCode, res.Header.Get("X-Id"), body, res.Trailer)
	}
}

// Wherever in its request a client leaves, and however, nothing of it is left for the next client, whose request may be
// read with what was made for the first.
func TestClientsThatLeaveWithinARequestLeaveNothing(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T) {
		r := run(t, to(scripted(t, echoTrailers)), nil)
		whole := uploadOf(0, "")
		for cut := range len(whole) {
			for _, linger := range []int{-1, 0} {
				conn, err := net.Dial("tcp", r.address)
				if err != nil {
					t.Fatal(err)
				}
				sendInPieces(conn, whole[:cut])
				_ = conn.(*net.TCPConn).SetLinger(linger)
				_ = conn.Close()
			}
			mustEcho(t, r, cut+1, fmt.Sprintf("clients that left after %q", whole[:cut]))
		}
	})
}

// Likewise of servers within their responses.
func TestServersThatLeaveWithinAResponseLeaveNothing(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T) {
		r := run(t, to(scripted(t, echoTrailers)), nil)
		for cut := range 130 {
			client := r.dial()
			client.send("%s", uploadOf(0, fmt.Sprintf("X-Cut: %d\r\nConnection: close\r\n", cut)))
			_, _ = io.Copy(io.Discard, client.Reader) // a part of the response, or a problem
			client.TCPConn.Close()
			mustEcho(t, r, cut+1, fmt.Sprintf("a server that left after %d bytes", cut))
		}
	})
}

// A client that resets its connection is gone, though its server has not taken what was sent before.
func TestAResetEndsAnUploadThatTheServerDoesNotRead(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T) {
		p := to(scripted(t, func(_ *net.TCPConn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			<-t.Context().Done()
		}))
		r := run(t, p, nil)
		client := r.dial()
		client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
		for err := error(nil); err == nil; {
			_ = client.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)) // the server does not read, so all buffers are full then
			_, err = client.TCPConn.Write(make([]byte, 1<<20))
		}
		_ = client.SetLinger(0)
		_ = client.TCPConn.Close()
		eventually(t, "the request has ended", func() bool { return r.Open() == 0 })
		if got := p.results(t); len(got) != 1 || got[0] != balance.Canceled {
			t.Errorf("got %v, want canceled", got)
		}
	})
}
