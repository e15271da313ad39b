package load

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/echo"
)

// Kind is how a request travels.
type Kind uint8

const (
	Kept      Kind = iota // HTTP/1.1, on a connection that is kept
	Fresh                 // HTTP/1.1, on a connection of its own
	HTTP2                 // HTTP/2: begun without TLS, or as TLS agrees
	WebSocket             // a stream of a few messages, each of which must come back
)

var kindNames = [...]string{"kept", "fresh", "http2", "websocket"}

func (k Kind) String() string { return kindNames[k] }

// Outcome is what a client knows of a request that is over.
type Outcome struct {
	ID     string // of the request
	Status int    // 0: no answer, or none that is its own
	Server string // the header Evenkeel-Server of the answer
	Of     string // whose answer it is by its receipt; empty: it has none
	Err    error  // why there is no whole answer, or an *echo.Mixed
}

// Mixed returns the proof that the answer is another request's; nil: it is not.
func (o *Outcome) Mixed() *echo.Mixed {
	var mixed *echo.Mixed
	errors.As(o.Err, &mixed)
	return mixed
}

// Sender sends requests that have ids of their own, and checks each answer. It is safe for
// concurrent use.
type Sender struct {
	prefix string // of ids
	sent   atomic.Uint64
	kept   *http.Client
	fresh  *http.Client
	http2  *http.Client
}

// Limits are what a Sender keeps to.
type Limits struct {
	Conns int           // to each address at a time, of the kinds Kept and HTTP2; zero: as many as it takes
	Time  time.Duration // for a request and its answer; zero: none
	TLS   *tls.Config   // for https; nil: the system's
}

// NewSender returns a sender.
func NewSender(limits Limits) *Sender {
	of := func(t *http.Transport) *http.Client {
		t.TLSClientConfig, t.DisableCompression, t.MaxConnsPerHost, t.MaxIdleConnsPerHost = limits.TLS.Clone(), true, limits.Conns, 4096
		return &http.Client{Transport: t, Timeout: limits.Time}
	}
	two := new(http.Protocols)
	two.SetHTTP2(true)
	two.SetUnencryptedHTTP2(true)
	return &Sender{
		prefix: strconv.FormatUint(rand.Uint64(), 36),
		kept:   of(&http.Transport{}),
		fresh:  of(&http.Transport{DisableKeepAlives: true}),
		http2:  of(&http.Transport{Protocols: two}),
	}
}

// Close gives up the connections that are idle.
func (s *Sender) Close() {
	for _, c := range []*http.Client{s.kept, s.fresh, s.http2} {
		c.CloseIdleConnections()
	}
}

// Do sends one request, whose At does not count, to its URL, and reads the answer.
func (s *Sender) Do(ctx context.Context, a Arrival) Outcome {
	o := Outcome{ID: fmt.Sprintf("%s-%d", s.prefix, s.sent.Add(1))}
	if a.Kind == WebSocket {
		s.stream(ctx, a, &o)
	} else {
		s.request(ctx, a, &o)
	}
	mixed := o.Mixed() != nil
	if mixed || o.Err != nil && o.Status == http.StatusOK {
		o.Status = 0
	}
	if mixed && o.Of == o.ID {
		o.Of = "another, in part"
	}
	return o
}

func (s *Sender) request(ctx context.Context, a Arrival, o *Outcome) {
	q := echo.Question{ID: o.ID, Body: a.Body, Fill: a.Fill}
	req, err := http.NewRequestWithContext(ctx, cmp.Or(a.Method, http.MethodGet), a.URL, nil)
	if err != nil {
		o.Err = err
		return
	}
	if a.Body > 0 {
		req.ContentLength = a.Body
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(q.Content()), nil }
		req.Body, _ = req.GetBody() // it has no error
	}
	q.Put(req.Header)
	req.Header.Set("Sample-Work", strconv.FormatFloat(a.Work, 'g', 6, 64))
	resp, err := s.client(a.Kind).Do(req)
	if err != nil {
		o.Err = err
		return
	}
	defer resp.Body.Close()
	o.Server = resp.Header.Get("Evenkeel-Server")
	o.Of, _, _ = strings.Cut(resp.Header.Get(echo.HeaderReceipt), " ")
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // what has come of it
		o.Status, o.Err = resp.StatusCode, cmp.Or(q.CheckHead(resp.Header), fmt.Errorf("%s %s", resp.Status, said))
		return
	}
	o.Status, o.Err = resp.StatusCode, q.Check(resp)
}

func (s *Sender) client(k Kind) *http.Client {
	switch k {
	case Fresh:
		return s.fresh
	case HTTP2:
		return s.http2
	}
	return s.kept
}

const (
	messages    = 4
	streamLimit = time.Minute // if the sender has no other
)

// stream opens a WebSocket, says a few messages in the time of the work, and closes it.
func (s *Sender) stream(ctx context.Context, a Arrival, o *Outcome) {
	at, err := url.Parse(a.URL)
	if err != nil {
		o.Err = err
		return
	}
	ws, err := echo.Dial(at.Host, at.RequestURI(), o.ID, time.Now().Add(cmp.Or(s.kept.Timeout, streamLimit)))
	if refused := new(echo.Refused); errors.As(err, &refused) {
		o.Status, _ = strconv.Atoi(refused.Status[:min(3, len(refused.Status))])
	}
	if mixed := new(echo.Mixed); errors.As(err, &mixed) {
		o.Of = "another"
	}
	if o.Err = err; err != nil {
		return
	}
	o.Of = o.ID
	defer ws.Close()
	defer context.AfterFunc(ctx, func() { _ = ws.SetDeadline(time.Unix(1, 0)) })() // it may have ended
	o.Server = ws.Server
	for n := range messages {
		if n > 0 && a.Work > 0 {
			time.Sleep(time.Duration(a.Work / (messages - 1) * 1e9))
		}
		if o.Err = ws.Say(int(a.Body) / messages); o.Err != nil {
			return
		}
	}
	o.Status = http.StatusOK
}
