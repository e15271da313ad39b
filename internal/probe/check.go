// Package probe checks from outside whether a server works. The master checks the servers of its pools with
// it, and an agent its own server.
package probe

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"
)

// Check is how a server is checked. The zero value checks nothing.
type Check struct {
	HTTP     string        // the path of a GET; empty: none
	Status   int           // that it has to answer; zero: any from 200 to 399
	GRPC     bool          // whether the server's grpc.health.v1.Health says SERVING
	Service  string        // that it is asked about; empty: the server as a whole
	TCP      bool          // whether a connection can be made; with HTTP or GRPC that is part of it
	HTTP2    bool          // the GET goes by HTTP/2, as gRPC does anyway
	TLS      *tls.Config   // by which the server is spoken to, whatever its address begins with; nil: as the address says, and its certificate is not verified
	Interval time.Duration // between two checks of a server; zero: 1 s
	Timeout  time.Duration // for one; zero: 1 s
	Rise     int           // passed checks in a row until an unhealthy server is healthy; zero: 2
	Fall     int           // failed ones until a server is unhealthy; zero: 2
}

const (
	DefaultInterval = time.Second
	DefaultTimeout  = time.Second
	DefaultRise     = 2
	DefaultFall     = 2

	// Shortest and Longest bound Check.Interval and Check.Timeout.
	Shortest = 100 * time.Millisecond
	Longest  = time.Hour

	maxInRow = 100
)

// Enabled reports whether the check checks anything.
func (c *Check) Enabled() bool { return c.HTTP != "" || c.GRPC || c.TCP }

// Answers reports whether a good check is an answer of the application, and not of its system only.
func (c *Check) Answers() bool { return c.HTTP != "" || c.GRPC }

// WithDefaults returns the check with its zero times and counts replaced.
func (c Check) WithDefaults() Check {
	c.Interval, c.Timeout = cmp.Or(c.Interval, DefaultInterval), cmp.Or(c.Timeout, DefaultTimeout)
	c.Rise, c.Fall = cmp.Or(c.Rise, DefaultRise), cmp.Or(c.Fall, DefaultFall)
	return c
}

// Validate calls bad once for every field that cannot be served. Fields are named as in a
// file, such as health.http.
func (c *Check) Validate(bad func(field, problem string)) {
	if c.HTTP != "" && !isPath(c.HTTP) {
		bad("health.http", fmt.Sprintf("%q, want a path, such as /healthz", clip(c.HTTP)))
	}
	if c.Status != 0 && (c.Status < 100 || c.Status > 599) {
		bad("health.status", fmt.Sprintf("%d, want 100 to 599, or 0 for any from 200 to 399", c.Status))
	}
	switch {
	case c.GRPC && c.HTTP != "":
		bad("health.grpc", "beside http, want one of them: a server is checked in one way")
	case c.GRPC && c.Status != 0:
		bad("health.status", "is for http; grpc wants the status SERVING")
	case !c.GRPC && c.Service != "":
		bad("health.service", "without grpc, want grpc: true")
	}
	duration := func(field string, d time.Duration) {
		if d != 0 && (d < Shortest || d > Longest) {
			bad(field, fmt.Sprintf("%v, want %v to %v", d, Shortest, Longest))
		}
	}
	duration("health.interval", c.Interval)
	duration("health.timeout", c.Timeout)
	count := func(field string, n int) {
		if n < 0 || n > maxInRow {
			bad(field, fmt.Sprintf("%d, want 1 to %d", n, maxInRow))
		}
	}
	count("health.rise", c.Rise)
	count("health.fall", c.Fall)
	if !c.Enabled() && *c != (Check{}) {
		bad("health", "says how, but not what to check: want http: /PATH, grpc: true, or tcp: true")
	}
}

func isPath(s string) bool {
	if s[0] != '/' {
		return false
	}
	_, err := http.NewRequest(http.MethodGet, "http://server"+s, nil)
	return err == nil
}

// clip shortens what is quoted in an error.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

// Verdict is what the checks of one server add up to. The zero value is healthy.
type Verdict struct {
	row       int // passed checks in a row, or failed ones if negative
	unhealthy bool
}

// Healthy reports whether the server is healthy.
func (v *Verdict) Healthy() bool { return !v.unhealthy }

// Add takes the result of one check, and returns whether the server is now healthy where it
// was not, or the other way round. Of c it reads Rise and Fall.
func (v *Verdict) Add(passed bool, c *Check) (changed bool) {
	if passed {
		v.row = max(v.row, 0) + 1
	} else {
		v.row = min(v.row, 0) - 1
	}
	switch {
	case !v.unhealthy && v.row <= -c.Fall, v.unhealthy && v.row >= c.Rise:
		v.unhealthy = !v.unhealthy
		return true
	}
	return false
}
