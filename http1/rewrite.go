package http1

// Rewrite tells how a head is forwarded. The zero value forwards it with what the
// RFCs ask of an intermediary and nothing else.
//
// Always dropped are the fields that are for one connection only: Connection and what
// it names, Keep-Alive, Proxy-*, TE, Upgrade, HTTP2-Settings and Transfer-Encoding.
// Fields that the next hop needs are written again.
type Rewrite struct {
	Drop      *Names  // more to drop; not Host and Content-Length, which stay what framing and routing took them for
	Add       []byte  // whole field lines to put at the end; after Drop, so a name may be in both. The caller must check values from outside with ValidValue
	Open      bool    // requests: leave the empty line to the caller, who has more field lines to append
	Upgrade   bool    // forward the upgrade that is asked for or agreed to
	Close     bool    // say that the connection will be closed
	KeepAlive bool    // say explicitly that the connection stays open, as HTTP/1.0 needs
	Target    []byte  // requests: in place of the client's; nil: the client's
	Host      []byte  // requests: in place of the client's, or for want of one; nil: the client's
	Framing   Framing // responses: how the body is sent, if not as it came: ByChunks for a body ByClose, ByClose for one ByChunks
}

// oneHop are the known fields that are never forwarded as they stand.
var oneHop = set(Connection, KeepAlive, ProxyConnection, ProxyAuthenticate, ProxyAuthorization,
	HTTP2Settings, TE, Upgrade, TransferEncoding)

// Append appends the head as it goes to the server, with the empty line unless it is left open. The target
// is in origin-form, whatever it was (authority-form of CONNECT excepted), the
// version HTTP/1.1, and Host there once. buf is what was parsed.
func (h *RequestHead) Append(dst, buf []byte, rw *Rewrite) []byte {
	dst = append(dst, h.Verb.Of(buf)...)
	dst = append(dst, ' ')
	if rw.Target != nil {
		dst = append(dst, rw.Target...)
	} else {
		dst = h.AppendTarget(dst, buf)
	}
	dst = append(dst, " HTTP/1.1\r\n"...)
	drop := oneHop
	if h.Minor == 0 || h.Continued {
		drop |= set(Expect)
	}
	if rw.Host != nil || h.Form == AbsoluteForm || h.Form == AuthorityForm || h.Host.Len() == 0 {
		drop |= set(Host)
		host := rw.Host
		if host == nil {
			host = h.Host.Of(buf)
		}
		dst = appendField(dst, []byte("Host"), host)
	}
	dst = h.appendFields(dst, buf, drop, rw.Drop)
	if h.Framing == ByChunks {
		dst = append(dst, chunkedLine...)
	}
	if h.Trailers {
		dst = append(dst, "TE: trailers\r\n"...)
	}
	dst = h.appendConnection(dst, buf, rw, h.Trailers)
	if rw.Open {
		return append(dst, rw.Add...)
	}
	return appendEnd(dst, rw.Add)
}

const chunkedLine = "Transfer-Encoding: chunked\r\n"

// AppendTarget appends the target as it goes to the server.
func (h *RequestHead) AppendTarget(dst, buf []byte) []byte {
	path := h.Path.Of(buf)
	switch {
	case h.Form == AuthorityForm:
		return append(dst, h.Target.Of(buf)...)
	case len(path) == 0 && h.Method == MethodOptions:
		// RFC 9112 3.2.4: "If a proxy receives an OPTIONS request with an
		// absolute-form of request-target in which the URI has an empty path and no
		// query component, then the last proxy … MUST send a request-target of "*"".
		return append(dst, '*')
	case len(path) == 0 || path[0] == '?':
		dst = append(dst, '/')
	}
	return append(dst, path...)
}

// Append appends the head as it goes to the client, with the empty line. buf is what
// was parsed.
func (h *ResponseHead) Append(dst, buf []byte, rw *Rewrite) []byte {
	s := h.Status
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, '0'+byte(s/100), '0'+byte(s/10%10), '0'+byte(s%10), ' ')
	dst = append(dst, h.Reason.Of(buf)...)
	dst = append(dst, "\r\n"...)
	framing := h.Framing
	if rw.Framing != 0 && h.Framing != NoBody {
		framing = rw.Framing
	}
	drop := oneHop
	if h.Length < 0 || framing != h.Framing {
		drop |= set(ContentLength)
	}
	dst = h.appendFields(dst, buf, drop, rw.Drop)
	if framing == ByChunks {
		dst = append(dst, chunkedLine...)
	}
	dst = h.appendConnection(dst, buf, rw, false)
	return appendEnd(dst, rw.Add)
}

// appendFields copies the fields that stay. Those that stand in the buffer as we
// would write them are copied together with their neighbours.
func (h *Head) appendFields(dst, buf []byte, drop names, more *Names) []byte {
	var run Span
	for i := range h.Fields {
		f := &h.Fields[i]
		stays := !drop.has(f.Known) && h.stays(buf, f, more)
		switch {
		case stays && f.plain && run.End == f.Name.Start && run.Start < run.End:
			run.End = f.Value.End + 2
		case stays && f.plain:
			dst = append(dst, run.Of(buf)...)
			run = Span{f.Name.Start, f.Value.End + 2}
		case stays:
			dst = append(dst, run.Of(buf)...)
			run = Span{}
			dst = appendField(dst, f.Name.Of(buf), f.Value.Of(buf))
		}
	}
	return append(dst, run.Of(buf)...)
}

func (h *Head) stays(buf []byte, f *Field, drop *Names) bool {
	return (drop == nil || f.Known == ContentLength || f.Known == Host || !drop.Has(f.Name.Of(buf))) &&
		(h.nOptions == 0 || !h.named(buf, f))
}

// Forwards reports whether Append would forward a field to the next hop, for callers that write the head in another way: what HTTP/2 has no
// other place for.
func (h *Head) Forwards(buf []byte, f *Field, drop *Names) bool {
	return !oneHop.has(f.Known) && f.Known != Host && h.stays(buf, f, drop)
}

// Forwards is Head.Forwards, but for an expectation that has been met.
func (h *RequestHead) Forwards(buf []byte, f *Field, drop *Names) bool {
	return !(h.Continued && f.Known == Expect) && h.Head.Forwards(buf, f, drop)
}

// appendConnection writes Connection and, if it goes on, Upgrade.
func (h *Head) appendConnection(dst, buf []byte, rw *Rewrite, te bool) []byte {
	upgrade := rw.Upgrade && h.Upgrade.Len() > 0
	if !upgrade && !te && !rw.Close && !rw.KeepAlive {
		return dst // as nearly always
	}
	if upgrade {
		dst = appendField(dst, []byte("Upgrade"), h.Upgrade.Of(buf))
	}
	start := len(dst)
	for _, o := range [...]struct {
		on   bool
		name string
	}{{upgrade, "upgrade"}, {te, "TE"}, {rw.Close, "close"}, {rw.KeepAlive && !rw.Close, "keep-alive"}} {
		if !o.on {
			continue
		}
		if len(dst) == start {
			dst = append(dst, "Connection: "...)
		} else {
			dst = append(dst, ", "...)
		}
		dst = append(dst, o.name...)
	}
	if len(dst) > start {
		dst = append(dst, "\r\n"...)
	}
	return dst
}

func appendEnd(dst, add []byte) []byte { return append(append(dst, add...), "\r\n"...) }

func appendField(dst, name, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}
