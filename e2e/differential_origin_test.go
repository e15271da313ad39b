package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// seen is a request as an origin has read it.
type seen struct {
	number, id           string // X-Case and X-Request-Id
	method, target, host string
	body                 uint64 // its hash
	status               int    // of the answer
}

// recorder is a server that reads requests by rules of its own, as strictly as it can, keeps what it
// has seen, and tells each client what that was.
type recorder struct {
	net.Listener
	mu       sync.Mutex
	requests []seen
	faults   []string // what should not have come
}

// startRecorder runs one that speaks TLS as cfg says; nil: plainly.
func startRecorder(t *testing.T, cfg *tls.Config) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if cfg != nil {
		l = tls.NewListener(l, cfg)
	}
	o := &recorder{Listener: l}
	var open sync.WaitGroup
	var mu sync.Mutex
	conns := make(map[net.Conn]struct{})
	open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[conn] = struct{}{}
			mu.Unlock()
			open.Go(func() { o.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		open.Wait()
	})
	return o
}

func (o *recorder) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	for in := bufio.NewReader(conn); ; {
		r, err := readRequest(conn, in)
		o.mu.Lock()
		if err == nil {
			o.requests = append(o.requests, r.seen)
		} else if err != io.EOF {
			o.faults = append(o.faults, fmt.Sprintf("%v in %+v", err, r.seen))
		}
		o.mu.Unlock()
		if err != nil || o.answer(conn, &r) != nil || r.closing {
			return
		}
	}
}

// read is a request, and what its answer depends on.
type read struct {
	seen
	closing bool
}

// readRequest reads one. Its error is io.EOF where none begins, or where the client leaves within its body.
func readRequest(conn net.Conn, in *bufio.Reader) (r read, err error) {
	line, err := readLine(in)
	if err != nil {
		return r, io.EOF
	}
	words := strings.Split(line, " ")
	if len(words) != 3 || words[2] != "HTTP/1.1" || !strings.HasPrefix(words[1], "/") {
		return r, fmt.Errorf("request line %q", line)
	}
	r.method, r.target = words[0], words[1]
	fields := make(map[string][]string)
	for {
		if line, err = readLine(in); err != nil {
			return r, err
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ": ")
		if !ok || name == "" || strings.ContainsAny(name, " \t\r\n:") || strings.ContainsAny(value, "\r\x00") {
			return r, fmt.Errorf("line %q", line)
		}
		name = strings.ToLower(name)
		fields[name] = append(fields[name], value)
	}
	r.number, r.id = strings.Join(fields["x-case"], "|"), strings.Join(fields["x-request-id"], "|")
	if len(fields["host"]) > 1 || len(fields["content-length"])+len(fields["transfer-encoding"]) > 1 {
		return r, fmt.Errorf("fields %q", fields)
	}
	r.host = strings.Join(fields["host"], "")
	r.closing = strings.EqualFold(strings.Join(fields["connection"], ""), "close")
	if fields["expect"] != nil {
		_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
	}
	hash := fnv.New64a()
	if err = readBody(in, fields, hash); err != nil {
		return r, err
	}
	r.body = hash.Sum64()
	return r, nil
}

func readBody(in *bufio.Reader, fields map[string][]string, to io.Writer) error {
	switch {
	case fields["content-length"] != nil:
		n, err := strconv.ParseUint(fields["content-length"][0], 10, 63)
		if err != nil {
			return err
		}
		return cut(io.CopyN(to, in, int64(n)))
	case fields["transfer-encoding"] == nil:
		return nil
	case fields["transfer-encoding"][0] != "chunked":
		return fmt.Errorf("transfer coding %q", fields["transfer-encoding"])
	}
	for {
		line, err := readLine(in)
		if err != nil {
			return cut(0, err)
		}
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseUint(size, 16, 63)
		if err != nil {
			return err
		}
		if n > 0 {
			if err := cut(io.CopyN(to, in, int64(n))); err != nil {
				return err
			}
			if line, err = readLine(in); line != "" || err != nil {
				return cut(0, err)
			}
			continue
		}
		for line != "" { // trailers
			if line, err = readLine(in); err != nil {
				return cut(0, err)
			}
		}
		return nil
	}
}

// cut takes the end of a connection within a message for its end: the client has left.
func cut(_ int64, err error) error {
	if err != nil {
		return io.EOF
	}
	return nil
}

// readLine reads a line that ends in CRLF.
func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	if !strings.HasSuffix(line, "\r\n") {
		return "", fmt.Errorf("line %q without CR", line)
	}
	return line[:len(line)-2], nil
}

// echoOf is what the body of an answer begins with.
func (s *seen) echoOf() string {
	return fmt.Sprintf("<%s %s %s %s %s %x>", s.number, s.id, s.method, s.target, s.host, s.body)
}

// answer answers in one of several ways, which follows from the request's number.
func (o *recorder) answer(conn net.Conn, r *read) error {
	seed := fnv.New64a()
	_, _ = io.WriteString(seed, r.number)
	random := rand.New(rand.NewPCG(seed.Sum64(), 1))
	status := []int{200, 200, 200, 201, 404, 500, 204}[random.IntN(7)]
	body := r.echoOf() + strings.Repeat("x", random.IntN(3)*random.IntN(3000))
	out := fmt.Sprintf("HTTP/1.1 %d Said\r\nX-Case: %s\r\n", status, r.number)
	how := random.IntN(4)
	switch {
	case status == 204:
		body, out = "", out+"\r\n"
	case how == 0:
		cut := random.IntN(len(body)) + 1
		out += "Transfer-Encoding: chunked\r\n\r\n"
		out += fmt.Sprintf("%x\r\n%s\r\n", cut, body[:cut])
		if cut < len(body) {
			out += fmt.Sprintf("%x;a=b\r\n%s\r\n", len(body)-cut, body[cut:])
		}
		body = "0\r\nX-Trailer: t\r\n\r\n"
	case how == 1 && random.IntN(4) == 0:
		r.closing = true
		out += "Connection: close\r\n\r\n"
	default:
		out += fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body))
	}
	if r.method == "HEAD" {
		out, body = out[:strings.Index(out, "\r\n\r\n")+4], ""
	}
	o.mu.Lock()
	for i := len(o.requests) - 1; i >= 0; i-- {
		if o.requests[i].number == r.number && o.requests[i].id == r.id {
			o.requests[i].status = status
			break
		}
	}
	o.mu.Unlock()
	_, err := io.WriteString(conn, out+body)
	return err
}
