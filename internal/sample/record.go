package sample

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/echo"
)

// event is one thing that happened to the server, as /record tells it.
type event struct {
	At      int64  `json:"at_ns"`        // nanoseconds since 1970
	Kind    string `json:"kind"`         // dispatch, request or done
	ID      string `json:"id,omitempty"` // the request's X-Request-Id
	Method  string `json:"method,omitempty"`
	Lease   string `json:"lease,omitempty"`
	Edge    string `json:"edge,omitempty"`
	Path    string `json:"path"` // without the query
	Fence   string `json:"fence,omitempty"`
	Refused bool   `json:"refused,omitempty"`
	Aborted bool   `json:"aborted,omitempty"` // the client went away before the answer
}

// visit is what the server knows of a request while it is there.
type visit struct {
	id     string
	lease  string // empty: none that we know of
	path   string
	direct bool // came without an edge
}

// record keeps the last events, and the dispatches for which no request has come yet.
type record struct {
	mu      sync.Mutex
	events  []event // a ring once it is full: next is the oldest
	next    int
	awaited []visit       // oldest first
	out     *json.Encoder // nil: none
}

const (
	mostEvents  = 10_000
	mostAwaited = 1000
)

func newRecord(out io.Writer) *record {
	r := &record{}
	if out != nil {
		r.out = json.NewEncoder(out)
	}
	return r
}

// add notes an event that happens now.
func (r *record) add(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.append(e)
}

func (r *record) append(e event) {
	e.At = time.Now().UnixNano()
	if r.out != nil {
		_ = r.out.Encode(e) // what cannot be written down is missing in the file
	}
	if len(r.events) < mostEvents {
		r.events = append(r.events, e)
		return
	}
	r.events[r.next] = e
	r.next = (r.next + 1) % mostEvents
}

// all returns the events, oldest first.
func (r *record) all() []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]event, 0, len(r.events))
	list = append(list, r.events[r.next:]...)
	return append(list, r.events[:r.next]...)
}

func (r *record) dispatched(e event) {
	e.Path, _, _ = strings.Cut(e.Path, "?")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.append(e)
	if e.Refused || e.Lease == "" {
		return
	}
	if len(r.awaited) == mostAwaited {
		r.awaited = append(r.awaited[:0], r.awaited[1:]...)
	}
	r.awaited = append(r.awaited, visit{lease: e.Lease, path: e.Path})
}

// arrived notes a request and finds its lease: in its header, in its query, or, if it
// comes without an edge, in the oldest dispatch for the same path.
func (r *record) arrived(req *http.Request) visit {
	v := visit{id: req.Header.Get(echo.HeaderID), lease: req.Header.Get("Evenkeel-Lease"), path: req.URL.Path, direct: req.Header.Get("Evenkeel-Edge") == ""}
	if v.lease == "" && v.direct {
		v.lease = req.URL.Query().Get("lease")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	v.lease = r.claim(v)
	r.append(event{Kind: "request", ID: v.id, Method: req.Method, Lease: v.lease, Edge: req.Header.Get("Evenkeel-Edge"), Path: v.path, Fence: req.Header.Get("Evenkeel-Fence")})
	return v
}

// claim takes the dispatch that announced a visit off those awaited, and returns the visit's lease.
func (r *record) claim(v visit) (lease string) {
	for i, a := range r.awaited {
		if a.lease == v.lease || v.lease == "" && v.direct && a.path == v.path {
			r.awaited = append(r.awaited[:i], r.awaited[i+1:]...)
			return a.lease
		}
	}
	return v.lease
}
