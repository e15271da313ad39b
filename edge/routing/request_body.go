package routing

import (
	"io"

	"github.com/evenkeel-lb/evenkeel/http1"
)

// RequestBody is the part of a request's body that is read before a server is asked for. It shares the memory of
// the buffers that the body was read into, and is valid until the first link begins. The zero value is an empty
// body.
type RequestBody struct {
	First    []byte        // what came with the head
	Rest     [][]byte      // what came behind it
	Framing  http1.Framing // of First and Rest together
	Complete bool          // nothing of the body is still to come
}

// single returns the body's data if they lie in one piece; false: they do not.
func (b *RequestBody) single() ([]byte, bool) {
	switch {
	case b.Framing == http1.ByChunks:
		return nil, false
	case len(b.Rest) == 0:
		return b.First, true
	case len(b.Rest) == 1 && len(b.First) == 0:
		return b.Rest[0], true
	}
	return nil, false
}

// bodyReader reads the data of a body, without chunk sizes. It ends with io.EOF where the body, or what is there
// of it, ends.
type bodyReader struct {
	body   *RequestBody
	chunks http1.Body // of a chunked body
	next   int        // of the pieces: 0 is First
	data   []byte     // decoded, not read yet
	piece  []byte     // not decoded yet
}

func newBodyReader(b *RequestBody) *bodyReader {
	return &bodyReader{body: b, chunks: http1.NewBody(b.Framing, 0), piece: b.First}
}

// Read implements io.Reader.
func (r *bodyReader) Read(p []byte) (int, error) {
	for len(r.data) == 0 {
		if err := r.decode(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	return n, nil
}

// decode finds the next data.
func (r *bodyReader) decode() error {
	if len(r.piece) == 0 {
		if r.next == len(r.body.Rest) {
			return io.EOF
		}
		r.piece = r.body.Rest[r.next]
		r.next++
		return nil
	}
	if r.body.Framing != http1.ByChunks {
		r.data, r.piece = r.piece, nil
		return nil
	}
	span, n, err := r.chunks.Decode(r.piece)
	if err != nil || n == 0 { // behind the last chunk come trailers
		return io.EOF
	}
	r.data, r.piece = span.Of(r.piece), r.piece[n:]
	return nil
}
