package agent

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/internal/problem"
	"github.com/evenkeel-lb/evenkeel/internal/redact"
)

// Ends tells the application of the end of each lease that it has accepted by a dispatch: by a POST, and on request. It
// is safe for concurrent use.
type Ends struct {
	url  string // where ends are posted; empty: nowhere
	http *http.Client
	wake chan struct{} // has room for one

	mu          sync.Mutex
	leases      map[balance.LeaseID]*leaseState
	order       []balance.LeaseID // in which they were accepted
	unposted    []leaseEnd
	byReason    map[string]uint64
	undelivered uint64
}

// leaseState is what is known of an accepted lease.
type leaseState struct {
	end  *leaseEnd     // nil: it is open
	over chan struct{} // closed at its end
}

// leaseEnd is the JSON document about the end of a lease.
type leaseEnd struct {
	Lease  string `json:"lease"`
	Pool   string `json:"pool,omitempty"`
	State  string `json:"state"`            // open or ended
	Reason string `json:"reason,omitempty"` // done, client-left, expired or master
	Result string `json:"result,omitempty"` // of done: as in the master's API
}

// Reasons why a lease is over.
const (
	endDone       = "done"        // the edge, or the application itself, says so
	endClientLeft = "client-left" //
	endExpired    = "expired"     // its time limit was over, or its edge was lost
	endByMaster   = "master"      // the master waits for it no longer, or does not know the lease
)

const (
	maxLeaseStates = 1 << 14 // that are kept, open or ended
	maxUnposted    = 1 << 14
	maxPosts       = 16 // at once
	postTimeout    = 5 * time.Second
	postAttempts   = 8
	firstPostRetry = 250 * time.Millisecond // doubled with each
	maxLeaseWait   = 5 * time.Minute
)

// NewEnds returns one that posts to url; empty: it posts nowhere.
func NewEnds(url string) (*Ends, error) {
	if problem := badURL(url); problem != "" {
		return nil, errors.New("end hook: " + problem)
	}
	return &Ends{url: url, http: newClient(), wake: make(chan struct{}, 1), leases: make(map[balance.LeaseID]*leaseState), byReason: make(map[string]uint64)}, nil
}

// Watch returns dispatch with the leases that it accepts remembered.
func (e *Ends) Watch(dispatch func(context.Context, client.Dispatch) error) func(context.Context, client.Dispatch) error {
	return func(ctx context.Context, d client.Dispatch) error {
		err := dispatch(ctx, d)
		if err == nil {
			e.open(d.Lease)
		}
		return err
	}
}

// open remembers a lease that the application has accepted. Of too many the oldest is forgotten.
func (e *Ends) open(l balance.LeaseID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.order) >= maxLeaseStates {
		delete(e.leases, e.order[0])
		e.order = e.order[1:]
	}
	e.leases[l] = &leaseState{over: make(chan struct{})}
	e.order = append(e.order, l)
}

// Ended takes the end of an accepted lease. It does not block.
func (e *Ends) Ended(end client.LeaseEnd) {
	told := newLeaseEnd(&end)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.byReason[told.Reason]++
	if s := e.leases[end.Dispatch.Lease]; s != nil && s.end == nil {
		s.end = &told
		close(s.over)
	}
	switch {
	case e.url == "":
		return
	case len(e.unposted) >= maxUnposted:
		e.undelivered++
		return
	}
	e.unposted = append(e.unposted, told)
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func newLeaseEnd(end *client.LeaseEnd) leaseEnd {
	told := leaseEnd{Lease: end.Dispatch.Told().String(), Pool: end.Dispatch.Pool, State: "ended", Reason: endDone, Result: end.Result.String()}
	switch {
	case end.Lost, end.Result == balance.Refused:
		told.Reason, told.Result = endByMaster, ""
	case end.Result == balance.Canceled:
		told.Reason, told.Result = endClientLeft, ""
	case end.Result == balance.Expired:
		told.Reason, told.Result = endExpired, ""
	}
	return told
}

// run posts ends until ctx ends.
func (e *Ends) run(ctx context.Context, log *slog.Logger) {
	defer e.http.CloseIdleConnections()
	var posts sync.WaitGroup
	defer posts.Wait()
	slots := make(chan struct{}, maxPosts)
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		}
		for _, end := range e.takeUnposted() {
			select {
			case <-ctx.Done():
				return
			case slots <- struct{}{}:
			}
			posts.Go(func() {
				defer func() { <-slots }()
				e.deliver(ctx, log, &end)
			})
		}
	}
}

func (e *Ends) takeUnposted() []leaseEnd {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.unposted
	e.unposted = nil
	return list
}

// deliver posts an end until the application takes it.
func (e *Ends) deliver(ctx context.Context, log *slog.Logger, end *leaseEnd) {
	wait := firstPostRetry
	for attempt := 1; ; attempt++ {
		err := e.post(ctx, end)
		if err == nil || ctx.Err() != nil {
			return
		}
		if attempt == postAttempts {
			log.Warn("the application was not told of a lease's end", "lease", end.Lease, "reason", end.Reason, "err", err)
			e.mu.Lock()
			e.undelivered++
			e.mu.Unlock()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
			wait *= 2
		}
	}
}

// post returns nil if the application has taken the end: any answer but 429 and 5xx, since a repetition would get the
// same.
func (e *Ends) post(ctx context.Context, end *leaseEnd) error {
	ctx, cancel := context.WithTimeoutCause(ctx, postTimeout, fmt.Errorf("the application did not answer within %v", postTimeout))
	defer cancel()
	message, err := json.Marshal(end)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(message))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(leaseHeader, end.Lease)
	res, err := e.http.Do(req)
	if err != nil {
		return redact.Error(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 4<<10))
	if res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500 {
		return fmt.Errorf("the application answered %s", res.Status)
	}
	return nil
}

// counts returns how many leases have ended for each reason, and how many ends the application did not take.
func (e *Ends) counts() (byReason map[string]uint64, undelivered uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	byReason = make(map[string]uint64)
	for _, reason := range []string{endDone, endClientLeft, endExpired, endByMaster} {
		byReason[reason] = e.byReason[reason]
	}
	return byReason, e.undelivered
}

// find returns what is known of a lease; nil: it was not accepted, or long ago.
func (e *Ends) find(l balance.LeaseID) *leaseState {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leases[l]
}

// state returns the document about a lease.
func (e *Ends) state(l balance.LeaseID, s *leaseState) leaseEnd {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.end != nil {
		return *s.end
	}
	return leaseEnd{Lease: l.String(), State: "open"}
}

// getLease answers whether a lease is open, after waiting for its end as long as the caller wants.
func (a *Agent) getLease(w http.ResponseWriter, r *http.Request) {
	text := r.PathValue("id")
	l, err := balance.ParseLeaseID(text[:min(len(text), 16)]) // a tag may stand behind it, which asking does not need
	if err != nil {
		(&problem.Document{Status: http.StatusBadRequest, Detail: err.Error()}).Write(w)
		return
	}
	wait, err := time.ParseDuration(cmp.Or(r.URL.Query().Get("wait"), "0s"))
	if err != nil || wait < 0 || wait > maxLeaseWait {
		(&problem.Document{Status: http.StatusBadRequest, Detail: fmt.Sprintf("wait: %q, want a time such as 30s, of at most %v", r.URL.Query().Get("wait"), maxLeaseWait)}).Write(w)
		return
	}
	var s *leaseState
	if a.cfg.Ends != nil {
		s = a.cfg.Ends.find(l)
	}
	if s == nil {
		(&problem.Document{Status: http.StatusNotFound, Detail: fmt.Sprintf("lease %s: none that this server has accepted, or it ended long ago", l)}).Write(w)
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-s.over:
	case <-timer.C:
	case <-r.Context().Done():
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(a.cfg.Ends.state(l, s)) // the caller may be gone
}
