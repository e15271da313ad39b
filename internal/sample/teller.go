package sample

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// teller tells the agent of the load, when it changes and again after a while, and of
// leases that are over.
type teller struct {
	base  string
	load  func() figures
	log   *slog.Logger
	http  *http.Client
	dirty chan struct{} // holds one when the load has changed
	ended chan ended
	ill   bool // the last call failed; owned by run
}

// ended is a lease that is over.
type ended struct {
	lease  string
	result balance.Result
	took   time.Duration
}

const (
	tellGap    = 25 * time.Millisecond  // between two words about the load
	tellAgain  = 250 * time.Millisecond // what decays must be told even if nothing happens
	agentLimit = 2 * time.Second        // for an answer
	mostEnded  = 4096
)

func newTeller(cfg Config, load func() figures) *teller {
	return &teller{
		base:  strings.TrimSuffix(cfg.Agent, "/"),
		load:  load,
		log:   cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)),
		http:  &http.Client{Transport: &http.Transport{}, Timeout: agentLimit},
		dirty: make(chan struct{}, 1),
		ended: make(chan ended, mostEnded),
	}
}

// wake says that the load has changed.
func (t *teller) wake() {
	select {
	case t.dirty <- struct{}{}:
	default:
	}
}

// done says that a lease is over. When too many wait to be told it is left to expire.
func (t *teller) done(lease string, result balance.Result, took time.Duration) {
	select {
	case t.ended <- ended{lease, result, took}:
	default:
		t.log.Warn("too many ended leases wait for the agent; one is left to expire", "lease", lease)
	}
}

func (t *teller) run(ctx context.Context) {
	defer t.http.CloseIdleConnections()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var told time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-t.ended:
			t.post(ctx, "/v1/leases/"+url.PathEscape(e.lease)+"/done", map[string]any{"result": e.result.String(), "duration_ms": float64(e.took.Microseconds()) / 1000})
		case <-t.dirty:
			timer.Reset(max(0, tellGap-time.Since(told)))
		case <-timer.C:
			told = time.Now()
			t.tellLoad(ctx)
			timer.Reset(tellAgain)
		}
	}
}

func (t *teller) tellLoad(ctx context.Context) {
	metrics := make(map[string]float64)
	for _, m := range t.load().metrics() {
		metrics[m.Name] = m.Value
	}
	t.post(ctx, "/v1/report", map[string]any{"metrics": metrics})
}

// post tells the agent something. That it does not listen is logged once.
func (t *teller) post(ctx context.Context, path string, body any) {
	err := t.try(ctx, path, body)
	if err != nil && !t.ill && ctx.Err() == nil {
		t.log.Warn("the agent does not listen; it will be told again", "err", err)
	}
	t.ill = err != nil
}

func (t *teller) try(ctx context.Context, path string, body any) error {
	message, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.base+path, bytes.NewReader(message))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := t.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("POST %s: %s: %s", path, res.Status, said)
	}
	return nil
}
