package edge

import (
	"syscall"

	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// branch is one stream of a trunk. To the rest of the loop it is a client's connection of
// HTTP/1.1 with one request: what has come on the stream it reads as HTTP/1.1 has it, and
// what it writes as HTTP/1.1 goes out as frames. Nobody is kept waiting by a full window
// but whoever writes, as by a full socket.
type branch struct {
	inbound
	trunk  *trunk
	over   bool // the client expects nothing more of the stream, or has been told that nothing comes
	headed bool // the head of the response has gone
	inlet       // the request
	outlet      // the response
}

// branchOff makes a branch of a request whose head is there.
func (l *loop) branchOff(k *trunk, id uint32, ended bool, t *task, size int) {
	var b *branch
	if n := len(l.branches); n > 0 {
		b, l.branches = l.branches[n-1], l.branches[:n-1]
	} else {
		b = new(branch)
	}
	queued := b.queued
	*b = branch{trunk: k, inlet: inlet{come: b.come[:0], tail: b.tail[:0], ended: ended, chunked: k.head.Chunked, left: max(0, k.head.Length), window: streamWindow},
		outlet: outlet{id: id, room: k.first}}
	b.loop, b.stream, b.queued, b.branch, b.writable = l, true, queued, b, true
	b.end.owner, b.timer.owner = &b.inbound, &b.inbound
	b.service, b.peer, b.task = k.service, k.peer, t
	t.gr, t.gw, t.two = 0, size, true
	k.branches = append(k.branches, b)
	b.parseHead()
}

// gain takes a piece of the body.
func (b *branch) gain(f *h2.Frame) {
	k, n := b.trunk, int64(len(f.Payload))
	if b.window -= int64(f.Size); b.window < 0 {
		k.strike(b, h2.FlowControlError)
		return
	}
	b.repay(int64(f.Size) - n) // of padding
	switch last := f.Has(h2.EndStream); {
	case !b.put(f.Payload, last):
		k.repay(n)
		k.strike(b, h2.ProtocolError)
	case last:
		b.complete(nil)
	case n > 0:
		b.stir()
	}
}

// complete ends the request. last is what stands behind a body in chunks, if not only
// the last of them.
func (b *branch) complete(last []byte) {
	if !b.inlet.close(last) {
		b.trunk.strike(b, h2.ProtocolError)
		return
	}
	b.stir()
}

// stir lets the request go on with what has come.
func (b *branch) stir() {
	b.readable = true
	b.inbound.ready()
}

// read reads what has come, as HTTP/1.1 has it. The end of the request is not that of
// what the rest of the loop takes for a connection.
func (b *branch) read(p []byte) (int, error) {
	n, taken := b.inlet.read(p)
	if taken > 0 {
		b.trunk.repay(int64(taken))
		b.repay(int64(taken))
	}
	if b.readable = b.more(); n == 0 {
		return 0, syscall.EAGAIN
	}
	return n, nil
}

// repay lets the client send as many bytes again on the stream.
func (b *branch) repay(n int64) {
	if !b.over {
		b.inlet.repay(&b.trunk.tongue, b.id, n, streamWindow/2)
	}
}

// write says what HTTP/1.1 would, and returns how much of it goes now. A head is there
// to its end, and so are trailers.
func (b *branch) write(p []byte) (n int) {
	for n < len(p) && !b.told && !b.over {
		if !b.headed {
			n += b.writeHead(p[n:])
			continue
		}
		shut := b.body.Run() > 0
		m, err := b.outlet.write(&b.trunk.tongue, p[n:])
		switch {
		case err != nil:
			b.fail()
		case m == 0 && shut:
			return n
		}
		n += m
	}
	return len(p) // behind the end there is nothing that anybody wants
}

// writeHead says a response's head, of which only what is for connections of HTTP/1 is left out.
func (b *branch) writeHead(p []byte) int {
	k, l := b.trunk, b.loop
	head := &l.answer
	head.Limits = http1.Limits{Head: 2 * responseHeadMost, Line: responseHeadMost, Fields: 2 * responseFields} // the server's have been held to theirs
	n, err := head.Parse(p, http1.Asked{Method: b.task.req.Method, Ended: b.task.headAlone || b.task.begun && b.task.resp.Framing == http1.NoBody})
	if err != nil || n == 0 {
		head.Reset()
		b.fail()
		return len(p)
	}
	start := k.beginBlock()
	k.out = h2.AppendStatus(k.out, head.Status)
	for i := range head.Fields {
		switch f := &head.Fields[i]; f.Known {
		case http1.Connection, http1.TransferEncoding, http1.KeepAlive, http1.ProxyConnection, http1.Upgrade:
		default:
			k.out = h2.AppendField(k.out, f.Name.Of(p), f.Value.Of(p))
		}
	}
	flags := h2.Flags(0)
	if !head.Interim() {
		b.headed, b.body = true, head.Body()
		if b.told = b.body.Done(); b.told {
			flags = h2.EndStream
		}
	}
	k.out = h2.FinishBlock(k.out, start, flags, b.id, k.most)
	return n
}

// fail ends a stream whose response makes no sense.
func (b *branch) fail() {
	b.over = true
	b.trunk.refuse(b.id, h2.InternalError, b.window)
}

// wake lets the response go on, if it may.
func (b *branch) wake() {
	if !b.writable && b.isOpen() && b.mayWrite(&b.trunk.tongue) > 0 {
		b.writable = true
		b.loop.soon(&b.end)
	}
}

// readMost is how much is read of a server at once for the end: what a client's windows
// do not let through would only be kept.
func (e *end) readMost(room int) int {
	if e.branch == nil {
		return room
	}
	return int(min(int64(room), max(4<<10, e.branch.mayWrite(&e.branch.trunk.tongue))))
}

// shut ends the stream.
func (b *branch) shut() {
	k := b.trunk
	if b.stream = false; k.stage <= aging && !b.over {
		switch {
		case !b.told:
			k.refuse(b.id, h2.InternalError, b.window)
		case !b.ended:
			k.discard(b.id, b.window)
		}
	}
	b.over = true
	k.repay(b.unread())
}

// free ends the branch, whose request is over.
func (b *branch) free() {
	b.trunk.left(b)
	if len(b.loop.branches) < mostBranches {
		if cap(b.come) > frameRoom {
			b.come = nil
		}
		b.framed, b.trunk, b.task = nil, nil, nil
		b.loop.branches = append(b.loop.branches, b)
	}
}
