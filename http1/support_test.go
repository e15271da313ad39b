package http1

import (
	"fmt"
	"strings"
)

// errMore is what the tests call a message that is not complete.
var errMore = fmt.Errorf("more is needed")

// headFacts writes down all that a head says, for comparison.
func headFacts(h *Head, buf []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "minor=%d framing=%d length=%d keep=%v upgrade=%q", h.Minor, h.Framing, h.Length, h.KeepAlive, h.Upgrade.Of(buf))
	for _, f := range h.Fields {
		fmt.Fprintf(&b, " [%s: %q %d]", f.Name.Of(buf), f.Value.Of(buf), f.Known)
	}
	return b.String()
}

func requestFacts(h *RequestHead, buf []byte) string {
	return fmt.Sprintf("%d %s %d %s path=%q host=%q expect=%v %s", h.Method, h.Verb.Of(buf), h.Form, h.Target.Of(buf),
		h.Path.Of(buf), h.Host.Of(buf), h.Expect, headFacts(&h.Head, buf))
}

func responseFacts(h *ResponseHead, buf []byte) string {
	return fmt.Sprintf("%d %q tunnel=%v %s", h.Status, h.Reason.Of(buf), h.Tunnel, headFacts(&h.Head, buf))
}

// passed forwards a body as it came, trailers included, and returns what the whole
// of it takes of in.
func passed(dst []byte, b Body, in []byte, drop *Names) (out []byte, n int, err error) {
	n, err = b.Pass(in)
	if err != nil {
		return dst, n, err
	}
	dst = append(dst, in[:n]...)
	if b.AtTrailers() {
		var t Trailers
		m, err := b.ReadTrailers(&t, in[n:])
		if err != nil {
			return dst, n, err
		}
		if m > 0 {
			dst = t.Append(dst, in[n:], drop)
		}
		n += m
	}
	if !b.Done() {
		return dst, n, errMore
	}
	return dst, n, nil
}

// decoded returns a body's data and what the whole of it takes of in, shown to it in
// pieces of at most step bytes.
func decoded(b Body, in []byte, step int) (data []byte, n int, err error) {
	for n < len(in) && !b.Done() && !b.AtTrailers() {
		piece := in[n:min(len(in), n+step)]
		for len(piece) > 0 && !b.Done() && !b.AtTrailers() {
			s, m, err := b.Decode(piece)
			if err != nil {
				return data, n, err
			}
			data = append(data, s.Of(piece)...)
			piece, n = piece[m:], n+m
		}
	}
	if b.AtTrailers() {
		var t Trailers
		m, err := b.ReadTrailers(&t, in[n:])
		if err != nil {
			return data, n, err
		}
		n += m
	}
	if !b.Done() {
		return data, n, errMore
	}
	return data, n, nil
}

// forwarded forwards the first request of in as it would go to a server and returns
// how much of in it was.
func forwarded(in []byte) (out []byte, n int, err error) {
	var h RequestHead
	n, err = h.Parse(in)
	if err != nil {
		return nil, 0, err
	}
	if n == 0 {
		return nil, 0, errMore
	}
	out = h.Append(nil, in, &Rewrite{})
	out, m, err := passed(out, h.Body(), in[n:], nil)
	return out, n + m, err
}
