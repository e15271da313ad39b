package agent

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/orca"
	"github.com/evenkeel-lb/evenkeel/internal/redact"
)

// source is an endpoint of the application that is polled.
type source struct {
	name     string
	interval time.Duration
	read     func(context.Context) ([]balance.Metric, error)
}

func (a *Agent) sources() (list []source) {
	if p := a.cfg.Prometheus; p.URL != "" {
		list = append(list, source{"prometheus", p.Interval, a.scrape})
	}
	if o := a.cfg.ORCA; o.URL != "" {
		list = append(list, source{"orca", o.Interval, a.askORCA})
	}
	return list
}

// mostPatience is the timeout of one request; the next request waits for it too.
const mostPatience = 5 * time.Second

func (a *Agent) poll(ctx context.Context, s source) {
	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, mostPatience)
		asked := clock.Now() // a value is as old as the question at most
		metrics, err := s.read(limited)
		cancel()
		if ctx.Err() != nil {
			return
		}
		a.found(s.name, asked, metrics, err)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (a *Agent) scrape(ctx context.Context) ([]balance.Metric, error) {
	header := http.Header{"Accept": {"text/plain;version=0.0.4"}}
	var metrics []balance.Metric
	err := a.get(ctx, a.cfg.Prometheus.URL, header, func(res *http.Response) (err error) {
		metrics, err = readSeries(io.LimitReader(res.Body, mostExposition), a.cfg.Prometheus.Metrics)
		return err
	})
	return metrics, err
}

func (a *Agent) askORCA(ctx context.Context) ([]balance.Metric, error) {
	header := http.Header{http.CanonicalHeaderKey(orca.HeaderFormat): {"TEXT"}}
	var metrics []balance.Metric
	err := a.get(ctx, a.cfg.ORCA.URL, header, func(res *http.Response) (err error) {
		metrics, err = orca.Parse(res.Header.Values)
		if len(metrics) == 0 && err == nil {
			err = fmt.Errorf("answer without a header %s", orca.Header)
		}
		return err
	})
	return metrics, err
}

// get reads one answer of status 200 and lets the connection be used again.
func (a *Agent) get(ctx context.Context, url string, header http.Header, read func(*http.Response) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header = header
	res, err := a.http.Do(req)
	if err != nil {
		return redact.Error(err)
	}
	defer res.Body.Close()
	defer io.CopyN(io.Discard, res.Body, 64<<10)
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: status %s, want 200", redact.URL(url), res.Status)
	}
	if err := read(res); err != nil {
		return fmt.Errorf("GET %s: %w", redact.URL(url), err)
	}
	return nil
}
