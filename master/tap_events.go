package master

import (
	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// This file makes the events of GET /v1/tap.

// tapBody is an event.
type tapBody struct {
	Now      int64        `json:"now"`              // Unix milliseconds
	Matched  int          `json:"matched"`          // requests that the filter has let through since the last event
	OneIn    int          `json:"one_in"`           // of how many leases one was kept; of several pools, the most
	Unled    []unledBody  `json:"not_led,omitzero"` // pools that this master does not lead, in the first event and when they change
	Requests []tappedBody `json:"requests"`
}

// unledBody is a pool of which this master sees nothing.
type unledBody struct {
	Pool   string `json:"pool"`
	Leader string `json:"leader,omitempty"` // address; empty: unknown
}

// tappedBody is a decision, an outcome or a refusal.
type tappedBody struct {
	Kind   string `json:"kind"` // decision, outcome, refusal
	At     int64  `json:"at"`   // Unix milliseconds
	Pool   string `json:"pool"`
	Lease  string `json:"lease,omitempty"`
	Server string `json:"server,omitempty"`
	Edge   string `json:"edge,omitempty"`
	Class  string `json:"class,omitempty"`
	*decisionFacts
	*outcomeFacts
	*refusalFacts
}

// decisionFacts are what is told of a decision besides; GET /v1/leases/{lease} tells the rest.
type decisionFacts struct {
	Servers int      `json:"server_count"`
	Note    string   `json:"note,omitempty"`
	Score   *float64 `json:"score"`
	Second  string   `json:"second,omitempty"` // the best of those that lost
	Behind  *float64 `json:"second_score,omitempty"`
}

// outcomeFacts are what is told of an outcome besides.
type outcomeFacts struct {
	Result      string  `json:"result"`
	TookMS      float64 `json:"took_ms"`
	FirstByteMS float64 `json:"first_byte_ms,omitempty"`
	Status      int     `json:"status,omitempty"`
	GRPC        int     `json:"grpc_status,omitempty"`
	Bytes       int64   `json:"bytes,omitempty"`
	Error       string  `json:"error,omitempty"`
}

// refusalFacts are what is told of a refusal besides.
type refusalFacts struct {
	Reason   string  `json:"reason"`
	Detail   string  `json:"detail,omitempty"`
	WaitedMS float64 `json:"waited_ms"`
}

func newTapBody(now balance.Instant) *tapBody {
	return &tapBody{Now: clock.Time(now).UnixMilli(), OneIn: 1, Requests: []tappedBody{}}
}

func (p *pool) newTappedBody(one *balance.Tapped) tappedBody {
	b := tappedBody{At: clock.Time(one.At).UnixMilli(), Pool: p.name, Server: string(one.Server), Edge: string(one.Edge), Class: one.Class}
	if one.Lease != 0 {
		b.Lease = one.Lease.String()
	}
	switch o := &one.Outcome; one.Kind {
	case balance.TapDecision:
		b.Kind, b.decisionFacts = "decision", &decisionFacts{Servers: one.Decision.Servers, Note: one.Decision.Note}
		for i := range one.Decision.Candidates {
			if c := &one.Decision.Candidates[i]; c.Server == one.Server {
				b.Score = finite(c.Score)
			} else if b.Second == "" {
				b.Second, b.Behind = string(c.Server), finite(c.Score)
			}
		}
	case balance.TapOutcome:
		b.Kind, b.outcomeFacts = "outcome", &outcomeFacts{Result: o.Result.String(), TookMS: toMS(one.Took), FirstByteMS: toMS(o.FirstByte), Status: o.Status, GRPC: o.GRPC, Bytes: o.Bytes, Error: o.Error}
	case balance.TapRefusal:
		b.Kind, b.refusalFacts = "refusal", &refusalFacts{Reason: one.Refusal.Reason.String(), Detail: one.Refusal.Detail, WaitedMS: toMS(one.Took)}
	}
	return b
}
