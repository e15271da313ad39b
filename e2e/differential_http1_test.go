package e2e

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"
)

// wanted is a request that a client sends, and what should become of it.
type wanted struct{ seen }

// dialogue is what one client does on one connection.
type dialogue struct {
	*rand.Rand
	name     string
	requests []wanted
	loose    bool   // it says what may make no sense
	out      []byte // all that is said, by HTTP/1.1
	answers  []heardAnswer
	problem  string
}

// heardAnswer is an answer as a client has read it.
type heardAnswer struct {
	status     int
	number, id string
	body       []byte
}

func newDialogue(seed, n uint64) *dialogue {
	return &dialogue{Rand: rand.New(rand.NewPCG(seed, n)), name: fmt.Sprintf("%d-%d", seed, n)}
}

func one[T any](d *dialogue, of ...T) T { return of[d.IntN(len(of))] }

// describe makes a request, but for its body.
func (d *dialogue) describe() *wanted {
	number := fmt.Sprintf("%s-%d", d.name, len(d.requests))
	number = fmt.Sprintf("%s.%08x", number, uint32(hashed([]byte(number)))) // no mutation makes it another's
	d.requests = append(d.requests, wanted{seen: seen{number: number}})
	w := &d.requests[len(d.requests)-1]
	w.method = one(d, "GET", "GET", "GET", "POST", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "PURGE", "get", "M-SEARCH")
	w.target = "/" + number + one(d, "", "", "/a/b", "/%61%2Fb", "//d", "/../e", "/..;/f", "/caf%C3%A9", `/\g`, "/~h'(i)", "?", "?j=k&l=%", "/m?//n?o", "/"+strings.Repeat("p", d.IntN(600)))
	w.host = one(d, "h.example", "H.Example", "h.example:8080", "127.0.0.1", "[::1]:80", "xn--9ca.example")
	switch d.IntN(5) {
	case 0: // the edge makes one
	case 1:
		w.id = "no id <" + number + ">" // and here
	default:
		w.id = "id-" + number
	}
	return w
}

// isInside ends the number of a request that is a part of a body.
const isInside = ".inside"

// payload makes a body. Often there are requests in it, which no reader may treat as such.
func (d *dialogue) payload(number string) []byte {
	inside := fmt.Sprintf("GET /inside HTTP/1.1\r\nHost: evil.example\r\nX-Case: %s%s\r\nX-Request-Id: %s%s\r\n\r\n", number, isInside, number, isInside)
	switch d.IntN(12) {
	case 0:
		return nil
	case 1, 2, 3, 4:
		return []byte(strings.Repeat("\r\n", d.IntN(3)) + inside + inside)
	case 5, 6:
		return bytes.Repeat([]byte(inside), d.IntN(300))
	case 7:
		if d.IntN(12) == 0 {
			return bytes.Repeat([]byte(inside), 12_000) // more than is kept of any body
		}
	}
	body := make([]byte, d.IntN(3000))
	for i := range body {
		body[i] = byte(d.Uint32())
	}
	return body
}

func hashed(body []byte) uint64 {
	hash := fnv.New64a()
	_, _ = hash.Write(body)
	return hash.Sum64()
}

// extra are fields that mean nothing to anybody, or only to the next hop.
func (d *dialogue) extra() (lines string) {
	for range d.IntN(4) {
		lines += one(d, "X-A: 1\r\n", "x-b:2\r\n", "X-C: \t spaced \t\r\n", "Cookie: a=b\r\n", "X-Empty:\r\n", "Accept: */*\r\n", "Connection: X-Hop\r\nX-Hop: 1\r\n", "X-Forwarded-For: 1.2.3.4\r\n", "Evenkeel-Lease: 1\r\n",
			"Via: 1.0 a, 1.1 b\r\n", "X-Long: "+strings.Repeat("y", d.IntN(2000))+"\r\n", "TE: trailers\r\n")
	}
	return lines
}

// say adds a request as HTTP/1.1 has it.
func (d *dialogue) say(last bool) {
	w := d.describe()
	target, version := w.target, "HTTP/1.1"
	if d.IntN(10) == 0 {
		target = one(d, "http://", "HTTP://") + w.host + target
	}
	head := fmt.Sprintf("%s %s %s\r\n", w.method, target, version)
	lines := []string{"Host: " + w.host + "\r\n", "X-Case: " + w.number + "\r\n", d.extra()}
	if w.id != "" {
		lines = append(lines, "X-Request-Id: "+w.id+"\r\n")
	}
	if last {
		lines = append(lines, "Connection: close\r\n")
	}
	var body []byte
	if d.IntN(3) == 0 || w.method == "POST" {
		body = d.payload(w.number)
		w.body = hashed(body)
		if d.IntN(8) == 0 && len(body) > 0 {
			lines = append(lines, "Expect: 100-continue\r\n")
		}
		if d.IntN(2) == 0 {
			lines, body = append(lines, "Transfer-Encoding: chunked\r\n"), d.chunked(body)
		} else {
			lines = append(lines, fmt.Sprintf("Content-Length: %d\r\n", len(body)))
		}
	} else {
		w.body = hashed(nil)
	}
	d.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	text := append([]byte(head+strings.Join(lines, "")+"\r\n"), body...)
	if d.loose && d.IntN(2) == 0 {
		text = d.mutate(text)
	}
	d.out = append(d.out, text...)
}

// chunked puts a body into chunks.
func (d *dialogue) chunked(body []byte) (out []byte) {
	for len(body) > 0 {
		n := min(len(body), 1+d.IntN(1+len(body)))
		out = fmt.Appendf(out, one(d, "%x", "%X", "0%x")+one(d, "", "", ";e", `;e="f;g"`)+"\r\n", n)
		out = append(append(out, body[:n]...), "\r\n"...)
		body = body[n:]
	}
	return append(out, one(d, "0\r\n\r\n", "0\r\nX-Trailer: t\r\n\r\n", "000;e\r\n\r\n")...)
}

// mutate makes of a request what may be none any more, or several.
func (d *dialogue) mutate(text []byte) []byte {
	for range 1 + d.IntN(3) {
		if len(text) == 0 {
			break
		}
		at := d.IntN(min(len(text), 400))
		end := min(len(text), at+1+d.IntN(8))
		part := bytes.Clone(text[at:end])
		switch d.IntN(7) {
		case 0:
			text = append(text[:at], text[end:]...)
		case 1:
			text = insert(text, at, part)
		case 2:
			text = insert(text, at, []byte(one(d, "\r\n", "\n", "\r", " ", "\t", ":", "\x00", "\r\n\r\n", "0\r\n\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "\r\n ", "X-Request-Id: twice\r\n", "%2f..", "é")))
		case 3:
			text[at] = byte(d.Uint32())
		case 4: // a digit of a length, perhaps
			for i := at; i < end; i++ {
				if '0' <= text[i] && text[i] <= '9' {
					text[i] = byte('0' + d.IntN(10))
				}
			}
		case 5: // a line twice
			if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
				text = insert(text, at+i+1, bytes.Clone(text[at:at+i+1]))
			}
		case 6:
			text = text[:at]
		}
	}
	return text
}

func insert(text []byte, at int, what []byte) []byte {
	return append(text[:at:at], append(what, text[at:]...)...)
}

// talk1 says all of it by HTTP/1.1, in pieces, and hears the answers.
func (d *dialogue) talk1(address string) {
	n := 1 + d.IntN(6)
	for i := range n {
		d.say(!d.loose && i == n-1)
	}
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		d.problem = err.Error()
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	heard := make(chan []byte, 1)
	go func() {
		in, _ := io.ReadAll(conn) // a reset after the answers is as good as an end
		heard <- in
	}()
	d.inPieces(conn, d.out)
	if d.loose {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	d.read1(<-heard)
}

const patience = 2 * time.Minute

// inPieces writes text in some pieces. Others have their turn between them, so that they often come alone.
func (d *dialogue) inPieces(conn net.Conn, text []byte) {
	for left := d.IntN(7); len(text) > 0; left-- {
		n := len(text)
		if left > 0 {
			n = 1 + d.IntN(n)
			if d.IntN(2) == 0 {
				n = min(n, 1+d.IntN(400))
			}
		}
		if _, err := conn.Write(text[:n]); err != nil {
			return // the edge has refused what came before
		}
		if text = text[n:]; d.IntN(2) == 0 {
			time.Sleep(time.Duration(d.IntN(1500)) * time.Microsecond)
		}
	}
}

// read1 reads the answers. Which of them are to HEAD is told by X-Case, or by there being no body.
func (d *dialogue) read1(in []byte) {
	for len(in) > 0 {
		head, rest, whole := bytes.Cut(in, []byte("\r\n\r\n"))
		lines := strings.Split(string(head), "\r\n")
		words := strings.SplitN(lines[0], " ", 3)
		if !whole || len(words) < 3 || words[0] != "HTTP/1.1" {
			d.wrong("an answer begins with %.60q", in)
			return
		}
		a, length, chunked := heardAnswer{}, -1, false
		a.status, _ = strconv.Atoi(words[1])
		for _, line := range lines[1:] {
			name, value, _ := strings.Cut(line, ": ")
			switch strings.ToLower(name) {
			case "x-case":
				a.number = value
			case "x-request-id":
				a.id = value
			case "content-length":
				length, _ = strconv.Atoi(value)
			case "transfer-encoding":
				chunked = true
			}
		}
		in = rest
		if a.status < 200 {
			continue
		}
		ok := true
		switch {
		case a.status == 204, bytes.HasPrefix(in, []byte("HTTP/1.1 ")), len(in) == 0: // what we are told begins with neither
		case chunked:
			a.body, in, ok = unchunk(in)
		case length > len(in):
			ok = false
		case length >= 0:
			a.body, in = in[:length], in[length:]
		default: // to HTTP/1.0: it ends with the connection
			a.body, in = in, nil
		}
		if !ok {
			d.wrong("the answer to %s is cut off", a.number)
			return
		}
		d.answers = append(d.answers, a)
	}
}

func (d *dialogue) wrong(format string, args ...any) {
	if d.problem == "" {
		d.problem = fmt.Sprintf(format, args...)
	}
}

func unchunk(in []byte) (body, rest []byte, ok bool) {
	for {
		line, after, whole := bytes.Cut(in, []byte("\r\n"))
		size, _, _ := strings.Cut(string(line), ";")
		n, err := strconv.ParseUint(size, 16, 31)
		if !whole || err != nil || uint64(len(after)) < n+2 {
			return body, in, false
		}
		if n == 0 {
			break
		}
		body, in = append(body, after[:n]...), after[n+2:]
	}
	_, in, _ = bytes.Cut(in, []byte("\r\n")) // the last chunk
	for {
		line, after, whole := bytes.Cut(in, []byte("\r\n"))
		if !whole {
			return body, in, false
		}
		if in = after; len(line) == 0 {
			return body, in, true
		}
	}
}
