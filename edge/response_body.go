package edge

import "github.com/evenkeel-lb/evenkeel/http1"

// responseBody re-frames a response body from the server's framing to the client's (length, chunked, close).
// It does no I/O: input is forwardState.in; output is returned and valid until the next call. When it starts
// the head is in forwardState.out.
type responseBody struct {
	body     http1.Body
	framing  http1.Framing // the client's framing; zero: as the server's
	headSent bool          // the head has been returned
}

// start begins with the response whose head is in w.out.
func (p *responseBody) start(w *forwardState) {
	*p = responseBody{body: w.resp.Body(), framing: w.rewrite.Framing}
	w.r += w.respHead
	w.inTrailers = false
}

// responseFraming returns the client's framing; zero: as the server's. A body that ends with its connection is
// chunked, so that the client sees where it ends and keeps its connection; HTTP/1.0 clients do not understand
// chunks.
func (w *forwardState) responseFraming() http1.Framing {
	switch {
	case w.resp.Framing == http1.ByClose && w.req.Minor == 1:
		return http1.ByChunks
	case w.resp.Framing == http1.ByChunks && w.req.Minor == 0:
		return http1.ByClose
	}
	return 0
}

// isDone reports whether the response is complete.
func (p *responseBody) isDone() bool {
	return p.body.Done() || p.framing == http1.ByClose && p.body.AtTrailers()
}

// worthSplicing reports whether so much of the body is to come unchanged that the kernel should move it.
func (p *responseBody) worthSplicing() bool { return p.framing == 0 && p.body.Run() >= spliceMin }

// step handles input and returns output, head included. Input that it leaves must be there again, with more
// behind it.
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
	case len(head) <= start: // right before the body, so that one write sends both
		start -= copy(w.in[start-len(head):], head)
	default:
		w.out = append(head, w.in[start:end]...)
		return w.out, nil
	}
	return w.in[start:end], nil
}

// takeHead returns the head if it has not been returned, else empty space.
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
		w.trailers.Limits = responseLimits
	}
	n, err := p.body.ReadTrailers(&w.trailers, w.in[w.r:w.w])
	if n == 0 || err != nil {
		return nil, err
	}
	w.takeTrailers(n)
	return w.out, nil
}

// toChunks frames the input as a chunk.
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

// fromChunks removes chunk framing. The body ends with the connection.
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

// serverClosed handles the end of the server's connection. It returns output, or an error if the body was
// incomplete.
func (p *responseBody) serverClosed(w *forwardState) ([]byte, error) {
	if err := p.body.Close(); err != nil {
		return nil, err
	}
	if p.framing == http1.ByChunks {
		return append(w.out[:0], http1.LastChunk...), nil
	}
	return nil, nil
}
