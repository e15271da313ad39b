package edge

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// recorder is a server that keeps the bytes of every request and answers each.
type recorder struct {
	net.Listener
	serving sync.WaitGroup

	mu       sync.Mutex
	requests []string
}

func record(t *testing.T) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{Listener: l}
	r.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.serving.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); r.serving.Wait() })
	return r
}

func (r *recorder) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	var all bytes.Buffer
	reader := bufio.NewReader(io.TeeReader(conn, &all))
	for at := 0; ; {
		req, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		end := all.Len() - reader.Buffered()
		r.mu.Lock()
		r.requests = append(r.requests, string(all.Bytes()[at:end]))
		r.mu.Unlock()
		at = end
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
}

// taken returns what has come since the last call.
func (r *recorder) taken() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.requests
	r.requests = nil
	return got
}

// added are the fields that the edge says itself, or drops.
var added = []string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "via", "x-request-id", "evenkeel-edge", "evenkeel-pool", "evenkeel-lease", "endpoint-load-metrics-format"}

// bare returns a request without them.
func bare(request string) string {
	head, body, _ := strings.Cut(request, "\r\n\r\n")
	lines := slices.DeleteFunc(strings.Split(head, "\r\n"), func(line string) bool {
		name, _, _ := strings.Cut(line, ":")
		return slices.Contains(added, strings.ToLower(name)) || name == "Upgrade" || line == "Connection: upgrade" // the parser's table forwards no upgrade
	})
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

// TestSmuggling sends every mutation that the parser is held to through a living edge:
// what the parser refuses is refused with its status and nothing of it reaches a
// server; what it takes arrives in its canonical form and in no other.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	eachPicker(t, testSmuggling)
}

func testSmuggling(t *testing.T) {
	text, err := os.ReadFile("../http1/testdata/smuggling.golden")
	if err != nil {
		t.Fatal(err)
	}
	p := newFakePicker()
	var at atomic.Pointer[recorder]
	p.pick = func(context.Context, *balance.Request) (balance.Grant, error) {
		return balance.Grant{Server: "s1", Address: at.Load().Addr().String()}, nil
	}
	r := run(t, p, nil)
	verdicts := make(map[string]int)
	for entry := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		lines := strings.Split(entry, "\n")
		in, err := strconv.Unquote(lines[1])
		if err != nil {
			t.Fatalf("%s: %v", lines[0], err)
		}
		word, rest, _ := strings.Cut(lines[2], " ")
		if word == "forward" {
			if rest, err = strconv.Unquote(rest); err != nil {
				t.Fatalf("%s: %v", lines[0], err)
			}
			switch { // what the parser takes and the edge does not serve
			case strings.HasPrefix(rest, "CONNECT "):
				word, rest = "refuse", "501"
			case strings.HasPrefix(rest, "OPTIONS * "): // the edge's own to answer
				word, rest = "refuse", "204"
			case strings.HasPrefix(strings.ToLower(in), "get https://"): // no TLS is spoken here
				word, rest = "refuse", "400"
			}
		}
		verdicts[word]++
		servers := record(t) // so that what is late of one request is not taken for the next
		at.Store(servers)
		if problem := verdict(r, servers, in, word, rest); problem != "" {
			t.Errorf("%s: %q: %s", lines[0], in, problem)
		}
	}
	if verdicts["refuse"] < 800 || verdicts["forward"] < 300 {
		t.Errorf("verdicts %v: too few to mean anything", verdicts)
	}
	t.Logf("verdicts: %v", verdicts)
}

func verdict(r *running, servers *recorder, in, word, rest string) string {
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(conn, in) // the edge may refuse before it has read all
	switch word {
	case "forward":
		reader := bufio.NewReader(conn)
		status, err := reader.ReadString('\n')
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, reader) // until the edge has dealt with all there was
		got := servers.taken()
		if len(got) == 0 || !strings.HasPrefix(status, "HTTP/1.1 200 ") {
			return fmt.Sprintf("got %q (%v), want it forwarded", status, err)
		}
		if bare(got[0]) != bare(rest) {
			return fmt.Sprintf("the server got %q, want %q", bare(got[0]), bare(rest))
		}
		return ""
	case "refuse":
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 "+rest[:3]+" ") || strings.Count(string(answer), "HTTP/1.1 ") != 1 {
			return fmt.Sprintf("got %q (%v), want %s and the end", answer, err, rest)
		}
	default:
		_ = conn.(*net.TCPConn).CloseWrite()
		if answer, err := io.ReadAll(conn); err != nil || strings.HasPrefix(string(answer), "HTTP/1.1 2") {
			return fmt.Sprintf("half a request got %q (%v)", answer, err)
		}
	}
	if got := servers.taken(); len(got) != 0 {
		return fmt.Sprintf("the server got %q, want nothing", got)
	}
	return ""
}
