package exchange

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"

	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
)

const headerRequestID = "X-Request-Id"

// HeaderLines are fields to add to a message, in HTTP/1.1 format.
type HeaderLines struct{ Text []byte }

func (a *HeaderLines) reset() {
	if a.Text == nil {
		a.Text = make([]byte, 0, additionsUsual)
	}
	a.Text = a.Text[:0]
}

// additionsUsual fits most of them.
const additionsUsual = 512

func (a *HeaderLines) add(name, value string) {
	a.startLine(name)
	a.Text = append(a.Text, value...)
	a.endLine()
}

// startLine begins a line whose value is appended to text; endLine ends it.
func (a *HeaderLines) startLine(name string) { a.Text = append(append(a.Text, name...), ": "...) }

func (a *HeaderLines) endLine() { a.Text = append(a.Text, "\r\n"...) }

// appendList appends a field's earlier values, to which another one is appended.
func appendList(dst []byte, before []string) []byte {
	for _, v := range before {
		dst = append(append(dst, v...), ", "...)
	}
	return dst
}

// finalAnswer is the edge's answer to a probe. It does not echo the request (RFC 9110, 9.3.8).
func finalAnswer(method string) flight.Answer {
	if method == http.MethodTrace {
		return flight.Answer{Status: http.StatusMethodNotAllowed, Reason: reasonTrace}
	}
	return flight.Answer{Status: http.StatusNoContent}
}

// RequestDrops returns the client's fields that are not sent to servers.
func (x *Exchange) RequestDrops() *http1.Names {
	return x.Route.RequestDrops(x.Head.Method, x.listener.Trusts(x.Head.Peer), x.traceDrops())
}

// AppendRequestHeaders adds the edge's fields to a request.
func (x *Exchange) AppendRequestHeaders(a *HeaderLines) {
	h, trusted := &x.Head, x.listener.Trusts(x.Head.Peer)
	scheme := "http"
	if h.Secure {
		scheme = "https"
	}
	var chain, elements []string
	proto, host := scheme, h.Host
	if trusted {
		chain, elements = h.All("x-forwarded-for"), h.All("forwarded")
		proto, host = cmp.Or(h.First("x-forwarded-proto"), proto), cmp.Or(h.First("x-forwarded-host"), host)
		if len(chain) == 0 && len(elements) > 0 {
			chain, proto, host = fromForwarded(elements, proto, host)
		}
	}
	// In few pieces: formatting these lines is a good part of a request's cost.
	t := append(a.Text, "X-Forwarded-For: "...)
	t = appendList(t, chain)
	start := len(t)
	t = routing.AppendNode(t, h.Peer)
	node := t[start:]
	t = append(t, "\r\nForwarded: "...)
	t = appendList(t, elements)
	t = appendForwarded(t, node, h.Host, scheme)
	t = append(t, "\r\nX-Forwarded-Proto: "...)
	t = append(t, proto...)
	t = append(t, "\r\nX-Forwarded-Host: "...)
	t = append(t, host...)
	t = append(t, "\r\nVia: "...)
	t = appendList(t, x.via)
	t = append(append(t, h.Proto...), ' ')
	t = append(t, x.deps.Via...)
	t = append(t, "\r\n"+headerRequestID+": "...)
	t = append(t, x.ID...)
	t = append(t, "\r\n"...)
	if a.Text = t; x.overflow.pool == "" {
		a.Text = append(t, x.Pool.fixedHeaders...)
	} else {
		a.addFixed(x.deps.ID, x.overflow.pool)
	}
	if h.ClientTLS != nil && h.ClientTLS.Subject != "" {
		a.add(routing.HeaderSubject, h.ClientTLS.Subject)
	}
	if routing.IsProbe(h.Method) {
		a.decrementForwards(h.First("max-forwards"))
	}
	if x.Grant.Lease != 0 {
		a.startLine(routing.HeaderLease)
		a.Text = appendHex(a.Text, uint64(x.Grant.Lease))
		a.endLine()
	}
	if x.Grant.Fence != 0 {
		a.startLine(routing.HeaderFence)
		a.Text = strconv.AppendUint(a.Text, x.Grant.Fence, 10)
		a.endLine()
	}
	if x.traced {
		a.Text = x.appendTraceParent(a.Text)
	}
}

// decrementForwards decrements Max-Forwards. What is not a number is dropped.
func (a *HeaderLines) decrementForwards(maxForwards string) {
	if n, err := strconv.ParseUint(maxForwards, 10, 31); err == nil && n > 0 {
		a.add("Max-Forwards", strconv.FormatUint(n-1, 10))
	}
}

// fromForwarded returns values for X-Forwarded-* from a trusted proxy that sends Forwarded only.
func fromForwarded(elements []string, proto, host string) (chain []string, _, _ string) {
	hops := routing.ForwardedChain(nil, elements)
	for _, hop := range hops {
		chain = append(chain, routing.Node(hop.For))
	}
	if n := len(hops); n > 0 {
		proto, host = cmp.Or(hops[n-1].Proto, proto), cmp.Or(hops[n-1].Host, host)
	}
	return chain, proto, host
}

// appendResponseHeaders drops fields of a server's response, and adds the edge's.
func (x *Exchange) appendResponseHeaders(a *HeaderLines, resp routing.Headers) (drop *http1.Names) {
	t := append(a.Text, "Via: "...)
	t = appendList(t, resp.All("via"))
	t = append(t, cmp.Or(x.ServerProto, "1.1")...)
	a.Text = append(append(append(t, ' '), x.deps.Via...), "\r\n"...)
	if resp.First("x-request-id") == "" {
		a.add(headerRequestID, x.ID)
	}
	if x.listener.ServerTiming {
		a.startLine("Server-Timing")
		a.Text = x.appendTiming(a.Text)
		a.endLine()
	}
	if resp.First("trailer") != "" {
		a.announceTrailers(resp.All("trailer"))
	}
	return routing.FromServers
}

// appendTiming appends the edge's part of Server-Timing: how long the asks took, without and within the queue, and where the
// request stood there at first.
func (x *Exchange) appendTiming(dst []byte) []byte {
	first, _ := x.stood()
	return appendStanding(x.appendTimes(dst), first)
}

func (x *Exchange) appendTimes(dst []byte) []byte {
	dst = strconv.AppendFloat(append(dst, "pick;dur="...), milliseconds(max(0, x.pickTime-x.waiting)), 'f', -1, 64)
	return strconv.AppendFloat(append(dst, ", queue;dur="...), milliseconds(x.waiting), 'f', -1, 64)
}

// announceTrailers announces the trailers that the client will get.
func (a *HeaderLines) announceTrailers(announced []string) {
	before := len(a.Text)
	a.startLine("Trailer")
	start := len(a.Text)
	for _, list := range announced {
		for name := range strings.SplitSeq(list, ",") {
			name = strings.TrimSpace(name)
			if name == "" || routing.NoTrailers.Has([]byte(name)) {
				continue
			}
			if len(a.Text) > start {
				a.Text = append(a.Text, ", "...)
			}
			a.Text = append(a.Text, name...)
		}
	}
	if len(a.Text) == start {
		a.Text = a.Text[:before]
		return
	}
	a.endLine()
}

// appendForwarded appends one element of Forwarded (RFC 7239, 4): an IPv6 address in brackets and quotes, and
// anything else that is not a token in quotes.
func appendForwarded(dst, node []byte, host, scheme string) []byte {
	dst = append(dst, "for="...)
	if bytes.IndexByte(node, ':') >= 0 {
		dst = append(append(append(dst, `"[`...), node...), `]"`...)
	} else {
		dst = append(dst, node...)
	}
	dst = append(dst, ";host="...)
	if routing.IsToken(host) {
		dst = append(dst, host...)
	} else {
		dst = append(dst, '"')
		for i := range len(host) {
			if host[i] == '"' || host[i] == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, host[i])
		}
		dst = append(dst, '"')
	}
	return append(append(dst, ";proto="...), scheme...)
}

// requestID keeps the client's id for the request if it is fit to stand in logs, and
// makes one otherwise, in x. It is no secret.
func (x *Exchange) requestID(told string) string {
	if routing.IsRequestID(told) {
		return x.text.Clone(told)
	}
	x.madeID = true
	return routing.UnsafeString(appendHex(appendHex(x.idBuf[:0], rand.Uint64()), rand.Uint64()))
}

// appendHex appends the 16 hexadecimal digits of v.
func appendHex(dst []byte, v uint64) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, hex(uint32(v>>32)))
	return binary.LittleEndian.AppendUint64(dst, hex(uint32(v)))
}

// hex returns the eight digits of v, the first in the lowest byte. All are made at once:
// what is v's fourth, eighth and sixteenth bit on moves apart, and what is more than nine
// becomes a letter.
func hex(v uint32) uint64 {
	const ones = 0x0101010101010101
	x := uint64(v>>16) | uint64(v&0xffff)<<32
	x = x>>8&0x000000ff000000ff | x&0x000000ff000000ff<<16
	x = x>>4&0x000f000f000f000f | x&0x000f000f000f000f<<8
	letters := (x + 6*ones) >> 4 & ones
	return x + '0'*ones + letters*('a'-'0'-10)
}
