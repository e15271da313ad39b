package edge

import "github.com/evenkeel-lb/evenkeel/http1"

// responseBody is how a response's body goes on to the client, whose head is in work.out
// when it begins. It does no I/O: what has come lies in work.in, and what is to go is
// returned.
type responseBody struct {
	body     http1.Body
	framing  http1.Framing // zero: as it came
	headSent bool          // the head has gone
}

// start follows the response whose head work has just made.
func (p *responseBody) start(w *forwardState) {
	*p = responseBody{body: w.resp.Body(), framing: w.rewrite.Framing}
	w.r += w.respHead
	w.inTrailers = false
}

// responseFraming is how the body goes to the client, if not as it came: one that ends with its
// connection is put into chunks, so that the client sees where it ends and keeps its
// own; a client of HTTP/1.0 understands no chunks.
func (w *forwardState) responseFraming() http1.Framing {
	switch {
	case w.resp.Framing == http1.ByClose && w.req.Minor == 1:
		return http1.ByChunks
	case w.resp.Framing == http1.ByChunks && w.req.Minor == 0:
		return http1.ByClose
	}
	return 0
}

// isDone reports whether nothing of the response is still to come.
func (p *responseBody) isDone() bool {
	return p.body.Done() || p.framing == http1.ByClose && p.body.AtTrailers()
}

// worthSplicing reports whether so much of the body is still to come, as it is, that it pays to
// move it unseen.
func (p *responseBody) worthSplicing() bool { return p.framing == 0 && p.body.Run() >= spliceMin }

// step takes what has come, and returns what goes to the client, head included; what
// it leaves in work.in must be there again with more behind it. The bytes are good
// until the next step.
func (p *responseBody) step(w *forwardState) (out []byte, err error) {
	switch {
	case p.framing == http1.ByChunks:
		return p.toChunks(w)
	case p.framing == http1.ByClose:
		return p.fromChunks(w)
	case p.body.AtTrailers():
		return p.relayTrailers(w)
	}
	n, err := p.body.Pass(w.in[w.r:w.w])
	if err != nil {
		return nil, err
	}
	if n == 0 && p.headSent && p.body.AtTrailers() { // the first byte behind the last chunk shows it
		return p.relayTrailers(w)
	}
	start, end := w.r, w.r+n
	w.r = end
	head := p.takeHead(w)
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

// takeHead returns the head if it has not gone yet, and else room for something else.
func (p *responseBody) takeHead(w *forwardState) []byte {
	if p.headSent {
		return w.out[:0]
	}
	p.headSent = true
	return w.out
}

func (p *responseBody) relayTrailers(w *forwardState) ([]byte, error) {
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

// toChunks puts what has come into a chunk.
func (p *responseBody) toChunks(w *forwardState) ([]byte, error) {
	n, err := p.body.Pass(w.in[w.r:w.w])
	if err != nil {
		return nil, err
	}
	w.out = p.takeHead(w)
	if n > 0 {
		w.out = http1.AppendChunkSize(w.out, n)
		w.out = append(append(w.out, w.in[w.r:w.r+n]...), "\r\n"...)
		w.r += n
	}
	return w.out, nil
}

// fromChunks takes what has come out of its chunks. The body ends with the connection.
func (p *responseBody) fromChunks(w *forwardState) ([]byte, error) {
	w.out = p.takeHead(w)
	for w.r < w.w && !p.isDone() {
		data, n, err := p.body.Decode(w.in[w.r:w.w])
		if err != nil {
			return nil, err
		}
		w.out = append(w.out, data.Of(w.in[w.r:w.w])...)
		w.r += n
	}
	return w.out, nil
}

// serverClosed says that the server has closed its side; it returns what goes to the client, or
// an error if that was too soon.
func (p *responseBody) serverClosed(w *forwardState) ([]byte, error) {
	if err := p.body.Close(); err != nil {
		return nil, err
	}
	if p.framing == http1.ByChunks {
		return append(w.out[:0], http1.LastChunk...), nil
	}
	return nil, nil
}
