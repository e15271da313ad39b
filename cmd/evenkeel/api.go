package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// What the commands for operators have in common: they ask a master's HTTP API.

// api is a master's admin address.
type api struct{ base string }

func (a *api) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.base, "admin", "http://"+defaultMasterAdmin, "the master's admin address")
}

const (
	apiPatience = 10 * time.Second
	apiMost     = 64 << 20 // bytes of an answer: 10,000 servers explained are a few MB
)

// call asks the API, with body as JSON unless it is nil, and returns the JSON that it answers.
func (a *api) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	base := a.base
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	if u, err := url.Parse(base); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, usagef("such as --admin http://"+defaultMasterAdmin, "--admin %q: want a URL", a.base)
	}
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(base, "/")+path, sent)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return nil, hinted(fmt.Errorf("no master answers at %s: %w", base, err), "--admin names the admin address of a master, or of evenkeel run; its log tells it as admin")
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, apiMost))
	if err != nil {
		return nil, fmt.Errorf("the answer of %s broke off: %w", base, err)
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		return nil, refusedBy(base, res, answer)
	}
	return answer, nil
}

// refusedBy is the error for an answer that says no.
func refusedBy(base string, res *http.Response, answer []byte) error {
	var problem struct{ Title, Detail, Reason string }
	if json.Unmarshal(answer, &problem) != nil || problem.Reason == "" {
		return hinted(fmt.Errorf("what answers at %s is no master: %s", base, res.Status), "--admin names the admin address of a master, or of evenkeel run")
	}
	return hinted(errors.New(problem.Detail), map[string]string{
		"unknown-pool":   "GET " + base + "/v1/pools lists the pools",
		"unknown-server": "GET " + base + "/v1/pools/NAME lists its servers",
		"unknown-lease":  "decisions in the pool's part of the file says how many the master keeps",
		"no-such-path":   "the master there is older than this program",
	}[problem.Reason])
}
