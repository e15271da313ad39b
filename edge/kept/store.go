package kept

import (
	"container/list"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
)

// Config bounds what is kept. No field is zero but Spool.
type Config struct {
	Requests  int           // kept at once
	PerClient int           // of these, of one client
	Memory    int64         // bytes of all bodies and answers in memory
	Body      int64         // bytes of one request's body
	Answer    int64         // bytes of one answer
	Spool     int64         // bytes of all bodies and answers in files; zero: there are none
	Keep      time.Duration // how long an answer is kept
}

// Token names a request. It is a secret: 128 bits of a cryptographic source.
type Token [16]byte

// Refusal is why a request is not kept.
type Refusal uint8

const (
	NotRefused Refusal = iota
	Full               // as many are kept as may be
	ClientFull         // the same, of this client
)

// End is how a kept request went, for the metric.
type End uint8

const (
	EndDone End = iota
	EndFailed
	EndCanceled
	EndExpired
	EndRefused
	ends
)

var endNames = [ends]string{"done", "failed", "canceled", "expired", "refused"}

func (e End) String() string { return endNames[e] }

// Store is the kept requests of an edge, and of the edges that follow it in the same process. It is safe for concurrent use.
type Store struct {
	Instance [8]byte // of the process; it does not change

	mu       sync.Mutex
	cfg      Config
	newFile  func() (File, error) // nil: there are no files
	requests map[Token]*Request
	clients  map[balance.ClientPrefix]int // requests of each
	over     list.List                    // of *Request that are over, the oldest first
	memory   limits.Budget
	spool    limits.Budget
	ended    [ends]uint64
}

// NewStore returns an empty store. instance is random, and tells this process from others.
func NewStore(instance [8]byte) *Store {
	return &Store{Instance: instance, requests: make(map[Token]*Request), clients: make(map[balance.ClientPrefix]int)}
}

// Configure sets the bounds, for what comes from now on. newFile makes a file of the spool; nil: there are none.
func (s *Store) Configure(c Config, newFile func() (File, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg, s.newFile = c, newFile
	s.memory.Limit, s.spool.Limit = c.Memory, c.Spool
}

// Open begins to keep a request, whose body is to come.
func (s *Store) Open(now balance.Instant, t Token, client balance.ClientPrefix) (*Request, Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked(now)
	switch {
	case len(s.requests) >= s.cfg.Requests:
		s.ended[EndRefused]++
		return nil, Full
	case s.clients[client] >= s.cfg.PerClient:
		s.ended[EndRefused]++
		return nil, ClientFull
	}
	r := &Request{Token: t, store: s, client: client, keep: s.cfg.Keep, openedAt: now}
	r.Body, r.Answer = blob{request: r, limit: s.cfg.Body}, blob{request: r, limit: s.cfg.Answer}
	s.requests[t] = r
	s.clients[client]++
	return r, NotRefused
}

// Status returns what may be told of a request. It returns false if there is none of that token.
func (s *Store) Status(now balance.Instant, t Token) (Status, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked(now)
	r := s.requests[t]
	if r == nil {
		return Status{}, false
	}
	return r.statusLocked(now), true
}

// Read returns a reader of a request's answer; nil: the request is not done. The caller closes it.
func (s *Store) Read(now balance.Instant, t Token) *Reader {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked(now)
	r := s.requests[t]
	if r == nil || r.state != Done {
		return nil
	}
	r.readers++
	return &Reader{request: r}
}

// Cancel ends a request, and drops its answer if it is done. It returns false if there is none of that token.
func (s *Store) Cancel(now balance.Instant, t Token) bool {
	s.mu.Lock()
	s.expireLocked(now)
	r := s.requests[t]
	if r == nil {
		s.mu.Unlock()
		return false
	}
	cancel := r.cancel
	if !r.state.Over() {
		s.ended[EndCanceled]++
	}
	s.removeLocked(r)
	s.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	return true
}

// Expire drops what has been kept for its time.
func (s *Store) Expire(now balance.Instant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked(now)
}

func (s *Store) expireLocked(now balance.Instant) {
	for first := s.over.Front(); first != nil; first = s.over.Front() {
		r := first.Value.(*Request)
		if now < r.endedAt.Add(r.keep) {
			return
		}
		s.ended[EndExpired]++
		s.removeLocked(r)
	}
}

// removeLocked takes a request out. Its bytes are freed as soon as its loop has left it, and its answer's readers have.
func (s *Store) removeLocked(r *Request) {
	if s.requests[r.Token] != r {
		return
	}
	delete(s.requests, r.Token)
	if s.clients[r.client]--; s.clients[r.client] == 0 {
		delete(s.clients, r.client)
	}
	if r.gone = true; r.inOver != nil {
		s.over.Remove(r.inOver)
	}
	r.freeLocked()
}

// Counts are those of a store, for the metrics.
type Counts struct {
	States        [states]int
	Memory, Spool int64 // bytes
	Ended         [ends]uint64
}

// Counts returns them.
func (s *Store) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := Counts{Memory: s.memory.Used(), Spool: s.spool.Used(), Ended: s.ended}
	for _, r := range s.requests {
		c.States[r.state]++
	}
	return c
}
