package sample

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

// event is one thing that happened to the server, as /record tells it.
type event struct {
	At      int64  `json:"at_ns"` // nanoseconds since 1970
	Kind    string `json:"kind"`  // dispatch, request or done
	Lease   string `json:"lease,omitempty"`
	Edge    string `json:"edge,omitempty"`
	Path    string `json:"path"` // without the query
	Fence   string `json:"fence,omitempty"`
	Refused bool   `json:"refused,omitempty"`
	Aborted bool   `json:"aborted,omitempty"` // the client went away before the answer
}

// visit is what the server knows of a request while it is there.
type visit struct {
	lease  string // empty: none that we know of
	path   string
	direct bool // came without an edge
}

// record keeps the last events, and the dispatches for which no request has come yet.
type record struct {
	mu      sync.Mutex
	events  []event // a ring once it is full: next is the oldest
	next    int
	awaited []visit // oldest first
}

const (
	mostEvents  = 10_000
	mostAwaited = 1000
)

func newRecord() *record { return &record{} }

// add notes an event that happens now.
func (r *record) add(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.append(e)
}

func (r *record) append(e event) {
	e.At = time.Now().UnixNano()
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

func (r *record) dispatched(lease, path string, refused bool) {
	path, _, _ = strings.Cut(path, "?")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.append(event{Kind: "dispatch", Lease: lease, Path: path, Refused: refused})
	if refused || lease == "" {
		return
	}
	if len(r.awaited) == mostAwaited {
		r.awaited = append(r.awaited[:0], r.awaited[1:]...)
	}
	r.awaited = append(r.awaited, visit{lease: lease, path: path})
}

// arrived notes a request and finds its lease: in its header, in its query, or, if it
// comes without an edge, in the oldest dispatch for the same path.
func (r *record) arrived(req *http.Request) visit {
	v := visit{lease: req.Header.Get("Evenkeel-Lease"), path: req.URL.Path, direct: req.Header.Get("Evenkeel-Edge") == ""}
	if v.lease == "" && v.direct {
		v.lease = req.URL.Query().Get("lease")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	v.lease = r.claim(v)
	r.append(event{Kind: "request", Lease: v.lease, Edge: req.Header.Get("Evenkeel-Edge"), Path: v.path, Fence: req.Header.Get("Evenkeel-Fence")})
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
