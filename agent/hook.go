package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/internal/problem"
	"github.com/evenkeel-lb/evenkeel/internal/redact"
)

// Hook asks the application whether it accepts a dispatch. It is safe for concurrent use.
type Hook struct {
	url               string
	http              *http.Client
	accepted, refused atomic.Uint64
}

// NewHook returns a hook that posts to url. With an empty url it accepts everything.
func NewHook(url string) (*Hook, error) {
	if problem := badURL(url); problem != "" {
		return nil, errors.New("dispatch hook: " + problem)
	}
	return &Hook{url: url, http: newClient()}, nil
}

// Close closes idle connections.
func (h *Hook) Close() { h.http.CloseIdleConnections() }

// body is the JSON document that is posted to the application.
type body struct {
	Lease    string `json:"lease"`
	Pool     string `json:"pool"`
	Edge     string `json:"edge,omitempty"`
	Key      string `json:"key,omitempty"`
	Client   string `json:"client,omitempty"` // address, without a port
	Method   string `json:"method,omitempty"`
	Host     string `json:"host,omitempty"`
	Path     string `json:"path,omitempty"`
	Tenant   string `json:"tenant,omitempty"`
	Priority int    `json:"priority,omitempty"`

	Size  float64 `json:"size,omitempty"`  // how much work it is, in the pool's unit
	Class string  `json:"class,omitempty"` // requests of one class take about as long for their size

	Fence      uint64 `json:"fence,omitempty"`
	DeadlineMS int64  `json:"deadline_ms"` // milliseconds from now until the answer is due
}

func bodyOf(d client.Dispatch) body {
	b := body{Lease: d.Told().String(), Pool: d.Pool, Edge: string(d.Edge), Key: d.Request.Key, Method: d.Request.Method, Host: d.Request.Host,
		Path: d.Request.Path, Tenant: d.Request.Tenant, Priority: d.Request.Priority, Size: d.Request.Size, Class: d.Request.Class, DeadlineMS: d.Limit.Milliseconds(), Fence: d.Fence}
	if d.Request.Client.IsValid() {
		b.Client = d.Request.Client.String()
	}
	return b
}

// Dispatch posts to the application and returns nil if it answers 2xx within the limit.
// Any other answer, or none, is a refusal; the error says which.
func (h *Hook) Dispatch(ctx context.Context, d client.Dispatch) error {
	err := h.ask(ctx, d)
	if err != nil {
		h.refused.Add(1)
		return fmt.Errorf("dispatch of lease %s: %w", d.Lease, err)
	}
	h.accepted.Add(1)
	return nil
}

const defaultLimit = time.Second

func (h *Hook) ask(ctx context.Context, d client.Dispatch) error {
	if h.url == "" {
		return nil
	}
	if d.Limit <= 0 {
		d.Limit = defaultLimit
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.Limit, fmt.Errorf("the application did not answer within %v", d.Limit))
	defer cancel()
	message, err := json.Marshal(bodyOf(d))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(message))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(leaseHeader, d.Told().String())
	res, err := h.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return redact.Error(err) // masters are told of it
	}
	defer res.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if res.StatusCode/100 != 2 {
		return refusal(res, said)
	}
	return nil
}

// leaseHeader carries the lease in every request to the application.
const leaseHeader = "Evenkeel-Lease"

func refusal(res *http.Response, said []byte) error {
	line, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
	var p problem.Document
	if json.Unmarshal(said, &p) == nil && p.Detail != "" {
		line = p.Detail
	}
	if len(line) > 200 {
		line = line[:200] + "…"
	}
	if line != "" {
		line = ": " + line
	}
	return fmt.Errorf("the application answered %s%s", res.Status, line)
}
