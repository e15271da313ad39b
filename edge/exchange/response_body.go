package exchange

import "github.com/evenkeel-lb/evenkeel/http1"

// ResponseBody re-frames a response body from the server's framing to the client's (length, chunked, close).
// It does no I/O: input is ForwardState.in; output is returned and valid until the next call. When it starts
// the head is in ForwardState.out.
type ResponseBody struct {
	Body     http1.Body
	Framing  http1.Framing // the client's framing; zero: as the server's
	HeadSent bool          // the head has been returned
}

// Start begins with the response whose head is in w.out.
func (p *ResponseBody) Start(w *ForwardState) {
	*p = ResponseBody{Body: w.Resp.Body(), Framing: w.Rewrite.Framing}
	w.R += w.RespHead
	w.inTrailers = false
}

// ResponseFraming returns the client's framing; zero: as the server's. A body that ends with its connection is
// chunked, so that the client sees where it ends and keeps its connection; HTTP/1.0 clients do not understand
// chunks.
func (w *ForwardState) ResponseFraming() http1.Framing {
	switch {
	case w.Kept && w.Resp.Framing == http1.ByChunks: // an answer is kept without framing
		return http1.ByClose
	case w.Kept:
		return 0
	case w.Resp.Framing == http1.ByClose && w.Req.Minor == 1:
		return http1.ByChunks
	case w.Resp.Framing == http1.ByChunks && w.Req.Minor == 0:
		return http1.ByClose
	}
	return 0
}

// IsDone reports whether the response is complete.
func (p *ResponseBody) IsDone() bool {
	return p.Body.Done() || p.Framing == http1.ByClose && p.Body.AtTrailers()
}

// WorthSplicing reports whether so much of the body is to come unchanged that the kernel should move it.
func (p *ResponseBody) WorthSplicing() bool { return p.Framing == 0 && p.Body.Run() >= SpliceMin }

// Step handles input and returns output, head included. Input that it leaves must be there again, with more
// behind it.
func (p *ResponseBody) Step(w *ForwardState) (out []byte, err error) {
	switch {
	case p.Framing == http1.ByChunks:
		return p.toChunks(w)
	case p.Framing == http1.ByClose:
		return p.fromChunks(w)
	case p.Body.AtTrailers():
		return p.relayTrailers(w)
	}
	n, err := p.Body.Pass(w.In[w.R:w.W])
	if err != nil {
		return nil, err
	}
	if n == 0 && p.HeadSent && p.Body.AtTrailers() { // the first byte behind the last chunk shows it
		return p.relayTrailers(w)
	}
	start, end := w.R, w.R+n
	w.R = end
	head := p.takeHead(w)
	switch {
	case len(head) == 0:
	case len(head) <= start: // right before the body, so that one write sends both
		start -= copy(w.In[start-len(head):], head)
	default:
		w.Out = append(head, w.In[start:end]...)
		return w.Out, nil
	}
	return w.In[start:end], nil
}

// takeHead returns the head if it has not been returned, else empty space.
func (p *ResponseBody) takeHead(w *ForwardState) []byte {
	if p.HeadSent {
		return w.Out[:0]
	}
	p.HeadSent = true
	return w.Out
}

func (p *ResponseBody) relayTrailers(w *ForwardState) ([]byte, error) {
	if !w.inTrailers {
		w.inTrailers = true
		w.trailers.Limits = ResponseLimits
	}
	n, err := p.Body.ReadTrailers(&w.trailers, w.In[w.R:w.W])
	if n == 0 || err != nil {
		return nil, err
	}
	w.takeTrailers(n)
	return w.Out, nil
}

// toChunks frames the input as a chunk.
func (p *ResponseBody) toChunks(w *ForwardState) ([]byte, error) {
	n, err := p.Body.Pass(w.In[w.R:w.W])
	if err != nil {
		return nil, err
	}
	w.Out = p.takeHead(w)
	if n > 0 {
		w.Out = http1.AppendChunkSize(w.Out, n)
		w.Out = append(append(w.Out, w.In[w.R:w.R+n]...), "\r\n"...)
		w.R += n
	}
	return w.Out, nil
}

// fromChunks removes chunk framing. The body ends with the connection.
func (p *ResponseBody) fromChunks(w *ForwardState) ([]byte, error) {
	w.Out = p.takeHead(w)
	for w.R < w.W && !p.IsDone() {
		data, n, err := p.Body.Decode(w.In[w.R:w.W])
		if err != nil {
			return nil, err
		}
		w.Out = append(w.Out, data.Of(w.In[w.R:w.W])...)
		w.R += n
	}
	return w.Out, nil
}

// ServerClosed handles the end of the server's connection. It returns output, or an error if the body was
// incomplete.
func (p *ResponseBody) ServerClosed(w *ForwardState) ([]byte, error) {
	if err := p.Body.Close(); err != nil {
		return nil, err
	}
	if p.Framing == http1.ByChunks {
		return append(w.Out[:0], http1.LastChunk...), nil
	}
	return nil, nil
}
