package edge

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/kept"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// RespondAsync is how an edge keeps requests for which clients prefer a later answer, on the routes that allow it. Zero
// fields stand for defaults.
type RespondAsync struct {
	Requests  int               // kept at once; zero: 10,000
	PerClient int               // of these, of one client; zero: 100
	Memory    int64             // bytes of all bodies and answers in memory; zero: 64 MiB
	Body      int64             // bytes of one request's body; zero: 1 MiB
	Answer    int64             // bytes of one answer; zero: 1 MiB
	Keep      time.Duration     // how long an answer is kept; zero: 10 minutes
	Spool     string            // folder for what is longer than 64 KiB; empty: all is in memory
	SpoolSize int64             // bytes of all bodies and answers there; zero: 1 GiB
	URL       string            // scheme and authority under which clients reach this edge; empty: those by which they have come
	Edges     map[string]string // the same of other edges, by their ids
}

// KeptStore is the kept requests of edges that follow one another.
type KeptStore = kept.Store

// NewKeptStore returns an empty store.
func NewKeptStore() *KeptStore {
	var instance [8]byte
	_, _ = rand.Read(instance[:]) // it never fails
	return kept.NewStore(instance)
}

const (
	defaultKept      = 10_000
	defaultClient    = 100
	defaultKeptBytes = 64 << 20
	defaultKeptBody  = 1 << 20
	defaultKeep      = 10 * time.Minute
	defaultSpoolSize = 1 << 30
	leastKeptBytes   = 1 << 20

	// expireEvery is how often answers are looked for whose time is over.
	expireEvery = time.Second
)

// validate calls bad once for every field that cannot be worked with.
func (c *RespondAsync) validate(bad func(field, problem string)) {
	routing.NotNegative(bad, "requests", c.Requests)
	routing.NotNegative(bad, "per_client", c.PerClient)
	routing.NotNegative(bad, "body", c.Body)
	routing.NotNegative(bad, "answer", c.Answer)
	routing.NotNegative(bad, "keep", c.Keep)
	if c.Memory != 0 && c.Memory < leastKeptBytes {
		bad("memory", fmt.Sprintf("%d bytes, want at least 1 MiB: it is shared by all requests that are kept", c.Memory))
	}
	if c.SpoolSize != 0 && c.SpoolSize < leastKeptBytes {
		bad("spool_size", fmt.Sprintf("%d bytes, want at least 1 MiB: it is shared by all requests that are kept", c.SpoolSize))
	}
	if c.SpoolSize != 0 && c.Spool == "" {
		bad("spool_size", "of which folder? See spool")
	}
	if c.URL != "" {
		validateBase(c.URL, func(problem string) { bad("url", problem) })
	}
	for id, base := range c.Edges {
		if problem := balance.BadEdgeID(balance.EdgeID(id)); problem != "" {
			bad("edges", problem)
		}
		validateBase(base, func(problem string) { bad("edges."+id, problem) })
	}
}

// validateBase calls bad if base is not a scheme and an authority.
func validateBase(base string, bad func(problem string)) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil {
		bad(fmt.Sprintf("%q, want scheme and host, such as https://edge-1.example, without a path", base))
	}
}

func (c RespondAsync) withDefaults() RespondAsync {
	c.Requests, c.PerClient = cmp.Or(c.Requests, defaultKept), cmp.Or(c.PerClient, defaultClient)
	c.Memory, c.Body, c.Answer = cmp.Or(c.Memory, defaultKeptBytes), cmp.Or(c.Body, defaultKeptBody), cmp.Or(c.Answer, defaultKeptBody)
	c.Keep = cmp.Or(c.Keep, defaultKeep)
	if c.Spool != "" {
		c.SpoolSize = cmp.Or(c.SpoolSize, defaultSpoolSize)
	}
	return c
}

// bounds returns them as a store takes them.
func (c *RespondAsync) bounds() kept.Config {
	return kept.Config{Requests: c.Requests, PerClient: c.PerClient, Memory: c.Memory, Body: c.Body, Answer: c.Answer, Spool: c.SpoolSize, Keep: c.Keep}
}

// fileMaker returns what makes files of the spool; nil: there is none.
func (c *RespondAsync) fileMaker() func() (kept.File, error) {
	if c.Spool == "" {
		return nil
	}
	return c.newFile
}

// newFile makes a file of the spool, which has no name: it goes with the process.
func (c *RespondAsync) newFile() (kept.File, error) {
	f, err := os.CreateTemp(c.Spool, "evenkeel-kept-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close() // nothing is in it
		return nil, err
	}
	return f, nil
}

// checkSpool reports whether files can be made in the spool.
func (c *RespondAsync) checkSpool() error {
	if c.Spool == "" {
		return nil
	}
	f, err := c.newFile()
	if err != nil {
		return fmt.Errorf("edge: respond_async.spool: %w; it must be a folder in which this process may make files", err)
	}
	return f.Close()
}

// expireKept drops answers whose time is over, until ctx ends.
func (e *Edge) expireKept(ctx context.Context) {
	every := time.NewTicker(expireEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			e.cfg.Kept.Expire(clock.Now())
		case <-ctx.Done():
			return
		}
	}
}

// keptCollector shows the kept requests.
type keptCollector struct{ *kept.Store }

var (
	keptRequests = prometheus.NewDesc("evenkeel_edge_kept_requests", "Requests that are kept for later answers, by state: receiving, waiting, running, done, failed.", []string{"state"}, nil)
	keptBytes    = prometheus.NewDesc("evenkeel_edge_kept_bytes", "Bytes taken by bodies and answers that are kept, by place: memory, spool.", []string{"place"}, nil)
	keptEnded    = prometheus.NewDesc("evenkeel_edge_kept_ended_total",
		"Requests kept for later answers that have ended, by result: done, failed, canceled (by their clients), refused; and expired, which were done or failed before.", []string{"result"}, nil)
)

// Describe implements prometheus.Collector.
func (k keptCollector) Describe(out chan<- *prometheus.Desc) {
	out <- keptRequests
	out <- keptBytes
	out <- keptEnded
}

// Collect implements prometheus.Collector.
func (k keptCollector) Collect(out chan<- prometheus.Metric) {
	c := k.Counts()
	for state, n := range c.States {
		out <- prometheus.MustNewConstMetric(keptRequests, prometheus.GaugeValue, float64(n), kept.State(state).String())
	}
	out <- prometheus.MustNewConstMetric(keptBytes, prometheus.GaugeValue, float64(c.Memory), "memory")
	out <- prometheus.MustNewConstMetric(keptBytes, prometheus.GaugeValue, float64(c.Spool), "spool")
	for end, n := range c.Ended {
		out <- prometheus.MustNewConstMetric(keptEnded, prometheus.CounterValue, float64(n), kept.End(end).String())
	}
}
