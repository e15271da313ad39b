package balance

import (
	"fmt"
	"strconv"
	"time"
)

// Instant is a point on its owner's monotonic clock, in nanoseconds. Only
// differences mean anything; zero stands for "never" wherever a doc comment says so.
type Instant int64

// Add returns t moved by d.
func (t Instant) Add(d time.Duration) Instant { return t + Instant(d) }

// Sub returns the time from u to t.
func (t Instant) Sub(u Instant) time.Duration { return time.Duration(t - u) }

// seconds is d.Seconds without its two divisions, which show where every pick counts.
func seconds(d time.Duration) float64 { return float64(d) * 1e-9 }

// ServerID names a server within its pool.
type ServerID string

// EdgeID names an edge to its master.
type EdgeID string

// LeaseID names one lease. The upper 16 bits differ from one life of a pool to the
// next, so a lease of a former master is never taken for one of this. Zero is no lease.
type LeaseID uint64

// String returns the 16 hexadecimal digits by which a lease goes through headers, JSON and logs.
func (id LeaseID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// ParseLeaseID reads what LeaseID.String wrote.
func ParseLeaseID(s string) (LeaseID, error) {
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) != 16 || n == 0 {
		return 0, fmt.Errorf("lease %q: want 16 hexadecimal digits, such as 0003f00000000017", s)
	}
	return LeaseID(n), nil
}

// Label is one key and value that a server carries and a request may ask for.
type Label struct{ Key, Value string }
