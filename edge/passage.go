package edge

import "github.com/evenkeel-lb/evenkeel/http1"

// passage is how a response's body goes on to the client, whose head is in work.out
// when it begins. It does no I/O: what has come lies in work.in, and what is to go is
// returned.
type passage struct {
	body   http1.Body
	how    http1.Framing // zero: as it came
	headed bool          // the head has gone
}

// begin follows the response whose head work has just made.
func (p *passage) begin(w *work) {
	*p = passage{body: w.resp.Body(), how: w.rewrite.Framing}
	w.r += w.respHead
	w.inTrailers = false
}

// framing is how the body goes to the client, if not as it came: one that ends with its
// connection is put into chunks, so that the client sees where it ends and keeps its
// own; a client of HTTP/1.0 understands no chunks.
func (w *work) framing() http1.Framing {
	switch {
	case w.resp.Framing == http1.ByClose && w.req.Minor == 1:
		return http1.ByChunks
	case w.resp.Framing == http1.ByChunks && w.req.Minor == 0:
		return http1.ByClose
	}
	return 0
}

// done reports whether nothing of the response is still to come.
func (p *passage) done() bool { return p.body.Done() || p.how == http1.ByClose && p.body.AtTrailers() }

// long reports whether so much of the body is still to come, as it is, that it pays to
// move it unseen.
func (p *passage) long() bool { return p.how == 0 && p.body.Run() >= spliceMin }

// step takes what has come, and returns what goes to the client, head included; what
// it leaves in work.in must be there again with more behind it. The bytes are good
// until the next step.
func (p *passage) step(w *work) (out []byte, err error) {
	switch {
	case p.how == http1.ByChunks:
		return p.wrap(w)
	case p.how == http1.ByClose:
		return p.unwrap(w)
	case p.body.AtTrailers():
		return p.trailers(w)
	}
	n, err := p.body.Pass(w.in[w.r:w.w])
	if err != nil {
		return nil, err
	}
	if n == 0 && p.headed && p.body.AtTrailers() { // the first byte behind the last chunk shows it
		return p.trailers(w)
	}
	start, end := w.r, w.r+n
	w.r = end
	head := p.head(w)
	switch {
	case len(head) == 0:
	case len(head) <= start: // right before the body, so that both leave at once
		start -= copy(w.in[start-len(head):], head)
	default:
		w.out = append(head, w.in[start:end]...)
		return w.out, nil
	}
	return w.in[start:end], nil
}

// head returns the head if it has not gone yet, and else room for something else.
func (p *passage) head(w *work) []byte {
	if p.headed {
		return w.out[:0]
	}
	p.headed = true
	return w.out
}

func (p *passage) trailers(w *work) ([]byte, error) {
	if !w.inTrailers {
		w.inTrailers = true
		w.trailers.Reset()
		w.trailers.Limits = http1.Limits{Head: responseHeadMost, Fields: responseFields}
	}
	n, err := p.body.ReadTrailers(&w.trailers, w.in[w.r:w.w])
	if n == 0 || err != nil {
		return nil, err
	}
	w.takeTrailers(n)
	return w.out, nil
}

// wrap puts what has come into a chunk.
func (p *passage) wrap(w *work) ([]byte, error) {
	n, err := p.body.Pass(w.in[w.r:w.w])
	if err != nil {
		return nil, err
	}
	w.out = p.head(w)
	if n > 0 {
		w.out = http1.AppendChunkSize(w.out, n)
		w.out = append(append(w.out, w.in[w.r:w.r+n]...), "\r\n"...)
		w.r += n
	}
	return w.out, nil
}

// unwrap takes what has come out of its chunks. The body ends with the connection.
func (p *passage) unwrap(w *work) ([]byte, error) {
	w.out = p.head(w)
	for w.r < w.w && !p.done() {
		data, n, err := p.body.Decode(w.in[w.r:w.w])
		if err != nil {
			return nil, err
		}
		w.out = append(w.out, data.Of(w.in[w.r:w.w])...)
		w.r += n
	}
	return w.out, nil
}

// end says that the server has closed its side; it returns what goes to the client, or
// an error if that was too soon.
func (p *passage) end(w *work) ([]byte, error) {
	if err := p.body.Close(); err != nil {
		return nil, err
	}
	if p.how == http1.ByChunks {
		return append(w.out[:0], http1.LastChunk...), nil
	}
	return nil, nil
}
