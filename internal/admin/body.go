package admin

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/problem"
)

const (
	maxGathered = 1 << 20  // bytes of a body that are read before its handler is called
	smallBody   = 4 << 10  // bytes of a body that anyone may send, and that count for nothing
	mostBodies  = 16 << 20 // bytes of all bodies that have more
)

// bodies are the bytes of requests' bodies that a Surface holds.
type bodies struct{ held atomic.Int64 }

// take takes n bytes; false: they are not to be had. What was taken must be given back.
func (b *bodies) take(n int64) bool {
	if b.held.Add(n) > mostBodies {
		b.held.Add(-n)
		return false
	}
	return true
}

// gather reads the body of a request, for which there is a time limit, and then lifts that limit: a
// handler may take as long as it likes, and notices a client that leaves. A method that takes none has
// no body, and who has not proved anything sends a small one. What was held must be given back; problem
// is why the request is refused.
func (s *Surface) gather(w http.ResponseWriter, r *http.Request, role Role) (held int64, refusal *problem.Document) {
	defer func() {
		if refusal != nil {
			w.Header().Set("Connection", "close") // what is left of the body is not waited for
		}
	}()
	if r.Body != nil && r.ContentLength != 0 {
		if isSafe(r.Method) {
			return 0, &problem.Document{Status: http.StatusRequestEntityTooLarge, Reason: TooLarge, Detail: r.Method + " takes no body here"}
		}
		text, err := io.ReadAll(io.LimitReader(r.Body, smallBody+1))
		if err == nil && len(text) > smallBody {
			if role == Anyone {
				return 0, &problem.Document{Status: http.StatusRequestEntityTooLarge, Reason: TooLarge, Detail: fmt.Sprintf("the body has more than %d bytes", smallBody)}
			}
			if !s.bodies.take(maxGathered) {
				return 0, &problem.Document{Status: http.StatusServiceUnavailable, Reason: Busy, RetryAfter: time.Second,
					Detail: fmt.Sprintf("the bodies of other requests take %d MiB already: try again", mostBodies>>20)}
			}
			held = maxGathered
			var more []byte
			more, err = io.ReadAll(io.LimitReader(r.Body, int64(maxGathered+1-len(text))))
			text = append(text, more...)
		}
		if err != nil || len(text) > maxGathered {
			r.Body = &body{io.MultiReader(bytes.NewReader(text), r.Body), r.Body}
			return held, nil // the limit stays
		}
		r.Body = io.NopCloser(bytes.NewReader(text))
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // a recorder of a test has none
	return held, nil
}

// body is a body of which something has been read.
type body struct {
	io.Reader
	io.Closer
}
