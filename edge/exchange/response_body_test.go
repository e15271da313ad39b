package exchange

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/http1"
)

// reframe passes a response through a ResponseBody as a connection does, in reads of the given sizes, the last of
// which repeats, and returns what the client is sent. The server closes its connection behind the response. minor
// is that of the client's request.
func reframe(minor uint8, response string, sizes []int) (sent []byte, err error) {
	w := &ForwardState{In: make([]byte, HeadSpace+len(response)+1), R: HeadSpace, W: HeadSpace}
	w.Req.Minor, w.Req.Method = minor, http1.MethodGet
	w.AwaitResponse()
	var body ResponseBody
	for started, done := false, false; ; {
		if !started {
			n, err := w.Resp.Parse(w.In[w.R:w.W], http1.Asked{Method: http1.MethodGet})
			if err != nil {
				return nil, err
			}
			if started = n > 0; started {
				w.RespHead = n
				w.Rewrite = http1.Rewrite{Framing: w.ResponseFraming()}
				w.Out = w.Resp.Append(nil, w.In[w.R:w.W], &w.Rewrite)
				body.Start(w)
			}
		}
		for started && !done {
			before, headed := w.R, body.HeadSent
			if headed {
				w.Out = nil
			}
			out, err := body.Step(w)
			if err != nil {
				return sent, err
			}
			sent = append(sent, out...)
			done = body.IsDone()
			if w.R == w.W || w.R == before && len(out) == 0 {
				break
			}
		}
		if done {
			return sent, nil
		}
		if len(response) == 0 {
			w.Out = nil
			rest, err := body.ServerClosed(w)
			return append(sent, rest...), err
		}
		n := min(sizes[0], len(response))
		if len(sizes) > 1 {
			sizes = sizes[1:]
		}
		w.W += copy(w.In[w.W:], response[:n])
		response = response[n:]
	}
}

// framed returns a response with a body in a server's framing.
func framed(f http1.Framing, body string, chunk int, trailers string) string {
	switch f {
	case http1.ByLength:
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	case http1.ByClose:
		return "HTTP/1.1 200 OK\r\n\r\n" + body
	}
	text := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for len(body) > 0 {
		n := min(chunk, len(body))
		text += fmt.Sprintf("%x;ext=1\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return text + "0\r\n" + trailers + "\r\n"
}

// However a body comes, the client gets it whole, in a framing that it understands and that shows its end.
func TestResponseBodyIsReframed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.StringMatching(`[a-z\r\n0]{0,200}`).Draw(t, "body")
		by := rapid.SampledFrom([]http1.Framing{http1.ByLength, http1.ByChunks, http1.ByClose}).Draw(t, "framing")
		minor := uint8(rapid.IntRange(0, 1).Draw(t, "minor"))
		sizes := rapid.SliceOfN(rapid.IntRange(1, 60), 1, 20).Draw(t, "sizes")
		trailers := ""
		if rapid.Bool().Draw(t, "trailers") {
			trailers = "X-Sum: 1\r\nX-Forwarded-For: 6.6.6.6\r\n"
		}
		sent, err := reframe(minor, framed(by, body, rapid.IntRange(1, 50).Draw(t, "chunk"), trailers), sizes)
		if err != nil {
			t.Fatalf("sent %q: %v", sent, err)
		}
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(sent)), nil)
		if err != nil {
			t.Fatalf("sent %q: %v", sent, err)
		}
		got, err := io.ReadAll(res.Body)
		if err != nil || string(got) != body {
			t.Fatalf("sent %q: body %q, %v; want %q", sent, got, err, body)
		}
		chunked := len(res.TransferEncoding) > 0
		if minor == 0 && chunked {
			t.Fatalf("sent %q: HTTP/1.0 knows no chunks", sent)
		}
		if minor == 1 && !chunked && res.ContentLength < 0 {
			t.Fatalf("sent %q: the body ends with the connection only", sent)
		}
		if wants := minor == 1 && by == http1.ByChunks && trailers != ""; (res.Trailer.Get("X-Sum") == "1") != wants || res.Trailer.Get("X-Forwarded-For") != "" {
			t.Fatalf("sent %q: trailers %v", sent, res.Trailer)
		}
	})
}

// A body that its server breaks off does not look complete to the client.
func TestResponseBodyBrokenOff(t *testing.T) {
	for _, by := range []http1.Framing{http1.ByLength, http1.ByChunks} {
		whole := framed(by, "some body", 4, "")
		for n := strings.Index(whole, "\r\n\r\n") + 4; n < len(whole); n++ {
			for minor := range uint8(2) {
				sent, err := reframe(minor, whole[:n], []int{n})
				if err == nil {
					t.Errorf("%q, HTTP/1.%d: sent %q as if it were complete", whole[:n], minor, sent)
				}
				if minor == 1 && by == http1.ByChunks && bytes.HasSuffix(sent, []byte(http1.LastChunk)) {
					t.Errorf("%q: sent the last chunk: %q", whole[:n], sent)
				}
			}
		}
	}
}

func TestResponseBodyThatIsNotFramedWell(t *testing.T) {
	for _, bad := range []string{"x\r\n", "3\r\nabcd\r\n", "-1\r\n", "0\r\nbad trailer\r\n\r\n"} {
		for minor := range uint8(2) {
			var of http1.Error
			if sent, err := reframe(minor, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+bad, []int{7}); !errors.As(err, &of) && minor == 1 {
				t.Errorf("%q: sent %q, %v; want an error of http1", bad, sent, err)
			}
		}
	}
}

// What the kernel is to move is a long part of a body that goes on as it is.
func TestWorthSplicing(t *testing.T) {
	for _, c := range []struct {
		framing http1.Framing
		length  int64
		want    bool
	}{{0, SpliceMin, true}, {0, SpliceMin - 1, false}, {http1.ByChunks, SpliceMin, false}} {
		p := ResponseBody{Body: http1.NewBody(http1.ByLength, c.length), Framing: c.framing}
		if got := p.WorthSplicing(); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}
