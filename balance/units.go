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

// TaggedLease is a lease as those are told of it who may end it without being its edge: the
// server that a client was redirected to, and the client of the API that asked for it. The tag proves that
// they were told, for ids can be guessed.
type TaggedLease struct {
	ID  LeaseID
	Tag uint64 // zero: only its edge may end it
}

// String returns 32 hexadecimal digits: the id's 16, and those of the tag, if there is one.
func (l TaggedLease) String() string {
	if l.Tag == 0 {
		return l.ID.String()
	}
	return fmt.Sprintf("%016x%016x", uint64(l.ID), l.Tag)
}

// ParseTaggedLease reads what TaggedLease.String wrote.
func ParseTaggedLease(s string) (TaggedLease, error) {
	if len(s) == 16 {
		if id, err := ParseLeaseID(s); err == nil {
			return TaggedLease{}, fmt.Errorf("lease %s: the tag is missing, 16 more hexadecimal digits that a redirect, a dispatch or the API's answer has behind the id; a routed lease has none, and its edge ends it", id)
		}
	}
	if len(s) == 32 {
		id, bad := strconv.ParseUint(s[:16], 16, 64)
		tag, worse := strconv.ParseUint(s[16:], 16, 64)
		if bad == nil && worse == nil && id != 0 {
			return TaggedLease{LeaseID(id), tag}, nil
		}
	}
	return TaggedLease{}, fmt.Errorf("lease %q: want 32 hexadecimal digits, such as 0003f00000000017a1b2c3d4e5f60718", clip(s))
}

// Label is one key and value that a server carries and a request may ask for.
type Label struct{ Key, Value string }
