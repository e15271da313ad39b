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
	trunk *trunk
	id    uint32
	over  bool // the client expects nothing more of the stream, or has been told that nothing comes

	// The request.
	come    []byte // of its body, and is still to be read, from at on
	at      int
	framed  []byte // of that, ready to be read
	tail    []byte // what is to be read behind it
	chunked bool
	ended   bool  // it has come to its end
	left    int64 // octets that are still to come, if it was said how many
	window  int64 // octets that may come
	credit  int64 // octets that may come again, and the client has not been told of

	// The response.
	room   int64 // octets of its body that the client takes yet
	headed bool
	told   bool // it has gone to its end
	body   http1.Body
}

// nowhere stands for the descriptor of an end that has none.
const nowhere = 1 << 30

// branchOff makes a branch of a request whose head is there.
func (l *loop) branchOff(k *trunk, id uint32, ended bool, t *task, size int) {
	var b *branch
	if n := len(l.branches); n > 0 {
		b, l.branches = l.branches[n-1], l.branches[:n-1]
	} else {
		b = new(branch)
	}
	queued := b.queued
	*b = branch{trunk: k, id: id, come: b.come[:0], tail: b.tail[:0], ended: ended, chunked: k.head.Chunked, left: max(0, k.head.Length), window: streamWindow, room: k.first}
	b.loop, b.fd, b.queued, b.branch, b.writable = l, nowhere, queued, b, true
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
		k.repay(n)
		k.strike(b, h2.FlowControlError)
		return
	}
	b.repay(int64(f.Size) - n) // of padding
	if !b.chunked {
		if b.left -= n; b.left < 0 || f.Has(h2.EndStream) && b.left > 0 {
			k.repay(n)
			k.strike(b, h2.ProtocolError)
			return
		}
	}
	if b.at == len(b.come) || cap(b.come)-len(b.come) < len(f.Payload) {
		b.come, b.at = b.come[:copy(b.come, b.come[b.at:])], 0
	}
	b.come = append(b.come, f.Payload...)
	if f.Has(h2.EndStream) {
		b.complete(nil)
	} else if n > 0 {
		b.stir()
	}
}

// complete ends the request. last is what stands behind a body in chunks, if not only
// the last of them.
func (b *branch) complete(last []byte) {
	if !b.chunked && b.left > 0 {
		b.trunk.strike(b, h2.ProtocolError)
		return
	}
	b.ended = true
	switch {
	case !b.chunked:
		b.tail = b.tail[:0]
	case last == nil:
		b.tail = append(b.tail[:0], http1.LastChunk...)
	default:
		b.tail = last
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
func (b *branch) read(p []byte) (n int, err error) {
	if len(b.framed) == 0 && b.at < len(b.come) && b.chunked && len(p) < chunkRoom {
		b.framed = b.frame(make([]byte, 0, 2*chunkRoom))
	}
	switch {
	case len(b.framed) > 0:
		n = copy(p, b.framed)
		b.framed = b.framed[n:]
	case b.at < len(b.come) && b.chunked:
		n = len(b.frame(p[:0]))
	case b.at < len(b.come):
		n = copy(p, b.come[b.at:])
		b.passed(n)
	case len(b.tail) > 0 && b.ended:
		n = copy(p, b.tail)
		b.tail = b.tail[:copy(b.tail, b.tail[n:])]
	default:
		b.readable = false
		return 0, syscall.EAGAIN
	}
	b.readable = len(b.framed) > 0 || b.at < len(b.come) || b.ended && len(b.tail) > 0
	return n, nil
}

// chunkRoom is what a chunk needs, and a few octets in it.
const chunkRoom = 32

// frame appends a chunk, as large as there is room for.
func (b *branch) frame(dst []byte) []byte {
	n := min(len(b.come)-b.at, cap(dst)-len(dst)-chunkRoom/2)
	dst = http1.AppendChunkSize(dst, n)
	dst = append(append(dst, b.come[b.at:b.at+n]...), "\r\n"...)
	b.passed(n)
	return dst
}

// passed gives the client credit for what has been read.
func (b *branch) passed(n int) {
	b.at += n
	b.trunk.repay(int64(n))
	b.repay(int64(n))
}

// repay lets the client send as many octets again on the stream.
func (b *branch) repay(n int64) {
	if b.credit += n; b.credit >= streamWindow/2 && !b.ended && !b.over {
		k := b.trunk
		k.speak()
		k.out = h2.AppendWindowUpdate(k.out, b.id, uint32(b.credit))
		b.window += b.credit
		b.credit = 0
	}
}

// write says what HTTP/1.1 would, and returns how much of it goes now. A head is there
// to its end, and so are trailers.
func (b *branch) write(p []byte) (n int) {
	for n < len(p) && !b.told && !b.over {
		switch m := 0; {
		case !b.headed:
			n += b.writeHead(p[n:])
		case b.body.AtTrailers():
			n += b.writeTrailers(p[n:])
		case b.body.Run() > 0:
			if m = b.writeData(p[n:]); m == 0 {
				return n
			}
			n += m
		default:
			n += b.writeBetween(p[n:])
		}
	}
	return len(p) // behind the end there is nothing that anybody wants
}

// writeHead says a response's head, of which only what is for connections of HTTP/1 is left out.
func (b *branch) writeHead(p []byte) int {
	k, l := b.trunk, b.loop
	head := &l.answer
	n, err := head.Parse(p, http1.Asked{Method: b.task.req.Method})
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

// beginBlock begins a block of fields.
func (k *trunk) beginBlock() (start int) {
	k.speak()
	start = len(k.out)
	k.out = h2.BeginBlock(k.out)
	if k.unpack {
		k.unpack = false
		k.out = append(k.out, h2.EmptyTable)
	}
	return start
}

// fail ends a stream whose response makes no sense.
func (b *branch) fail() {
	b.over = true
	b.trunk.refuse(b.id, h2.InternalError)
}

// writeTrailers says them, and so the end.
func (b *branch) writeTrailers(p []byte) int {
	k, trailers := b.trunk, &b.loop.trailers
	n, err := b.body.ReadTrailers(trailers, p)
	if err != nil || n == 0 {
		trailers.Reset()
		b.fail()
		return len(p)
	}
	if len(trailers.Fields) == 0 {
		b.writeEnd()
		return n
	}
	start := k.beginBlock()
	for i := range trailers.Fields {
		f := &trailers.Fields[i]
		k.out = h2.AppendField(k.out, f.Name.Of(p), f.Value.Of(p))
	}
	k.out = h2.FinishBlock(k.out, start, h2.EndStream, b.id, k.most)
	b.told = true
	return n
}

// writeEnd says that the response has gone, of which that was not known before.
func (b *branch) writeEnd() {
	k := b.trunk
	k.speak()
	k.out = h2.AppendFrame(k.out, 0, h2.Data, h2.EndStream, b.id)
	b.told = true
}

// writeData says as much of the body as the windows let through; zero: none.
func (b *branch) writeData(p []byte) int {
	k := b.trunk
	n := min(int64(len(p)), b.body.Run(), int64(k.most), b.mayWrite())
	if n <= 0 {
		return 0
	}
	b.body.Skip(n)
	b.room -= n
	k.room -= n
	flags := h2.Flags(0)
	if b.told = b.body.Done(); b.told {
		flags = h2.EndStream
	}
	k.speak()
	k.out = append(h2.AppendFrame(k.out, int(n), h2.Data, flags, b.id), p[:n]...)
	return int(n)
}

// mayWrite is how many octets of a body may go.
func (b *branch) mayWrite() int64 {
	return min(b.room, b.trunk.room, int64(mostBehind-b.trunk.behind()))
}

// writeBetween deals with an octet of what stands between chunks.
func (b *branch) writeBetween(p []byte) int {
	_, n, err := b.body.Decode(p[:1])
	switch {
	case err != nil:
		b.fail()
	case b.body.Done():
		b.writeEnd()
	}
	return n
}

// wake lets the response go on, if it may.
func (b *branch) wake() {
	if !b.writable && b.fd >= 0 && b.mayWrite() > 0 {
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
	return int(min(int64(room), max(4<<10, e.branch.mayWrite())))
}

// shut ends the stream.
func (b *branch) shut() {
	k := b.trunk
	if b.fd = -1; k.stage <= aging && !b.over {
		switch {
		case !b.told:
			k.refuse(b.id, h2.InternalError)
		case !b.ended:
			k.refuse(b.id, h2.NoError) // RFC 9113, 8.1: nobody wants the rest of the request
		}
	}
	b.over = true
	k.repay(int64(len(b.come) - b.at))
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
