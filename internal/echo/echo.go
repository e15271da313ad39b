// Package echo lets a sender check that a response belongs to its request. Every request has its own id, and a body that is computed from
// the id. A server answers with the id, and with the length and the digest of the body that it has received, both in the head and in the
// first line of its answer's body; the rest of that body is computed from the id too. So a head, a body, or a part of one from another
// request is always detected.
//
//	question ──▶ request: X-Request-Id, Sample-Fill, a body ──▶ Receive
//	Check    ◀── response: X-Request-Id, Sample-Echo, a body ◀── Receipt
package echo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Headers of requests and responses.
const (
	HeaderID      = "X-Request-Id" // the request's id; edges keep it, log it, and put it into the response
	HeaderFill    = "Sample-Fill"  // how many bytes the response's body is to have behind its first line
	HeaderReceipt = "Sample-Echo"  // in responses: the Receipt
)

// MostFill bounds HeaderFill.
const MostFill = 16 << 20

// Receipt is what a server has received of a request.
type Receipt struct {
	ID     string // empty: the request had none
	Length int64  // of the body, in bytes
	Digest string // of the body, in hexadecimal
	Fill   int    // bytes to be sent behind the first line
}

// Receive reads a request's body to its end.
func Receive(r *http.Request) (Receipt, error) {
	got := Receipt{ID: r.Header.Get(HeaderID)}
	if text := r.Header.Get(HeaderFill); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > MostFill {
			return got, &BadFill{text}
		}
		got.Fill = n
	}
	hash := sha256.New()
	n, err := io.Copy(hash, r.Body)
	if err != nil {
		return got, err
	}
	got.Length, got.Digest = n, digest(hash.Sum(nil))
	return got, nil
}

// BadFill is the error for a HeaderFill that is no number, or too large a one.
type BadFill struct{ Text string }

func (e *BadFill) Error() string {
	return fmt.Sprintf("%s %q: want a number of bytes, at most %d", HeaderFill, e.Text, MostFill)
}

func digest(sum []byte) string { return hex.EncodeToString(sum[:8]) }

// String returns the receipt as the response's head and the body's first line have it.
func (r Receipt) String() string { return fmt.Sprintf("%s %d %s", r.ID, r.Length, r.Digest) }

// Line is what a response's first line must have, as JSON; a server may add to it.
type Line struct {
	Server  string `json:"server,omitempty"`
	Receipt string `json:"echo,omitempty"`
}

// Handler is a server that does nothing but answer.
func Handler(id string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := Receive(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Evenkeel-Server", id)
		w.Header().Set(HeaderReceipt, got.String())
		_ = json.NewEncoder(w).Encode(Line{id, got.String()}) // a client that has left reads nothing
		_, _ = got.WriteFill(w)
	})
}

// WriteFill writes what comes behind the first line.
func (r Receipt) WriteFill(w io.Writer) (int64, error) {
	return io.Copy(w, io.LimitReader(&content{id: r.ID}, int64(r.Fill)))
}

// Question is a request whose answer can be told from any other.
type Question struct {
	ID   string
	Body int64 // bytes that go with it
	Fill int   // bytes that are asked for
}

// Content returns the request's body.
func (q Question) Content() io.Reader { return io.LimitReader(&content{id: q.ID}, q.Body) }

// Put adds what makes a request this question.
func (q Question) Put(h http.Header) {
	h.Set(HeaderID, q.ID)
	if q.Fill > 0 {
		h.Set(HeaderFill, strconv.Itoa(q.Fill))
	}
}

// Mixed is the error for an answer that is not, or not wholly, that of its request.
type Mixed struct {
	ID      string // the request's
	Problem string
}

func (m *Mixed) Error() string { return "the answer to " + m.ID + " is not its own: " + m.Problem }

// CheckHead reports, by a *Mixed, whether the head of a response of any status is another
// request's. Those that have no id are not.
func (q Question) CheckHead(h http.Header) error {
	if id := h.Get(HeaderID); id != "" && id != q.ID {
		return q.mixed("%s is %q", HeaderID, id)
	}
	if got := h.Get(HeaderReceipt); got != "" && got != q.receipt() {
		return q.mixed("%s is %q, want %q", HeaderReceipt, got, q.receipt())
	}
	return nil
}

// Check reads a good response to its end. Its error is a *Mixed, or, if the response ends
// too early, that of the body.
func (q Question) Check(resp *http.Response) error {
	if err := q.CheckHead(resp.Header); err != nil {
		return err
	}
	if resp.Header.Get(HeaderReceipt) == "" {
		return q.mixed("its head has no %s", HeaderReceipt)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return errors.Join(q.checkPart(body), err)
	}
	return q.checkBody(resp.Header.Get("Evenkeel-Server"), body)
}

func (q Question) checkBody(server string, body []byte) error {
	first, rest, _ := bytes.Cut(body, []byte("\n"))
	var line Line
	if err := json.Unmarshal(first, &line); err != nil {
		return q.mixed("its body begins with %q", clip(first))
	}
	switch {
	case line.Receipt != q.receipt():
		return q.mixed("its body is %q's, want %q's", line.Receipt, q.receipt())
	case server != "" && line.Server != server:
		return q.mixed("its head is of server %q, its body of %q", server, line.Server)
	case len(rest) != q.Fill:
		return q.mixed("%d bytes follow the first line, want %d", len(rest), q.Fill)
	}
	return q.checkFill(rest)
}

// checkPart looks at a body that broke off.
func (q Question) checkPart(body []byte) error {
	first, rest, whole := bytes.Cut(body, []byte("\n"))
	var line Line
	if !whole || json.Unmarshal(first, &line) != nil {
		return nil
	}
	if line.Receipt != q.receipt() {
		return q.mixed("the part of a body that came is %q's", line.Receipt)
	}
	return q.checkFill(rest)
}

func (q Question) checkFill(rest []byte) error {
	want, err := io.ReadAll(io.LimitReader(&content{id: q.ID}, int64(len(rest))))
	if err != nil || !bytes.Equal(rest, want) {
		at := 0
		for at < len(want) && rest[at] == want[at] {
			at++
		}
		return q.mixed("byte %d behind its first line begins %q, want %q", at, clip(rest[at:]), clip(want[at:]))
	}
	return nil
}

func (q Question) mixed(format string, args ...any) error {
	return &Mixed{q.ID, fmt.Sprintf(format, args...)}
}

// receipt returns what the server must have received.
func (q Question) receipt() string {
	hash := sha256.New()
	_, _ = io.Copy(hash, q.Content())
	return Receipt{ID: q.ID, Length: q.Body, Digest: digest(hash.Sum(nil))}.String()
}

func clip(b []byte) string { return string(b[:min(len(b), 60)]) }

// content reads without end what follows from an id: numbered lines, so that a part that
// is missing, repeated or another's shows.
type content struct {
	id   string
	n    int
	left []byte // of the line that is being read
}

func (c *content) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(c.left) == 0 {
			c.left = fmt.Appendf(c.left[:0:0], "%s %d %s\n", c.id, c.n, strings.Repeat("~", 40))
			c.n++
		}
		copied := copy(p[n:], c.left)
		c.left = c.left[copied:]
		n += copied
	}
	return n, nil
}
