package wire

import (
	"math"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Append writes the frame behind dst. Request.Edge does not travel: the connection tells it.
func (m *Ask) Append(dst []byte, now balance.Instant) []byte {
	return AppendAsk(dst, now, m.Seq, m.Pool, &m.Request, m.Reports)
}

// AppendAsk writes an Ask behind dst that need not be put together before: a request is
// large to copy. now matters only if the request has a deadline.
func AppendAsk(dst []byte, now balance.Instant, seq uint64, pool string, r *balance.Request, reports []PoolReport) []byte {
	start := len(dst)
	dst = begin(dst, TAsk)
	dst = putUint(dst, 1, seq)
	dst = putText(dst, 2, pool, MaxName)
	dst = putText(dst, 3, r.Key, MaxText)
	dst = putAddr(dst, 4, r.Client)
	dst = putInt(dst, 5, int64(r.Priority))
	dst = putText(dst, 6, r.Tenant, MaxName)
	dst = putInstant(dst, 7, now, r.Deadline)
	dst = putUint(dst, 8, uint64(r.Link))
	for _, id := range r.Exclude[:min(len(r.Exclude), MaxExclude)] {
		dst = putItem(dst, 9, string(id), MaxName)
	}
	dst = putLabels(dst, 10, r.Labels)
	dst = putText(dst, 11, r.Location, MaxName)
	dst = putText(dst, 12, r.Method, MaxName)
	dst = putText(dst, 13, r.Host, MaxText)
	dst = putText(dst, 14, r.Path, MaxText)
	dst = putDuration(dst, 15, r.Hold)
	for i := range reports[:min(len(reports), MaxAskReports)] {
		dst = putReport(dst, 16, &reports[i])
	}
	dst = putFixed(dst, 17, r.ID)
	dst = putUint(dst, 18, uint64(r.Belief))
	dst = putBool(dst, 19, r.MayOverflow)
	dst = putFloat(dst, 20, r.Size)
	dst = putText(dst, 21, r.Class, MaxName)
	dst = putBool(dst, 22, r.Follow)
	return end(dst, start)
}

// Decode reads a payload that came in at now. Request.Edge stays empty.
func (m *Ask) Decode(payload []byte, now balance.Instant) error {
	exclude, labels, reports := m.Request.Exclude[:0], m.Request.Labels[:0], m.Reports[:0]
	*m = Ask{Reports: reports, Request: balance.Request{Exclude: exclude, Labels: labels}}
	f := fields{what: TAsk, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Seq = f.uint()
		case 2:
			m.Pool = f.text(MaxName)
		case 16:
			m.Reports = f.report(m.Reports, MaxAskReports)
		default:
			m.fact(&f, now)
		}
	}
	return f.err
}

// fact takes one field of the request.
func (m *Ask) fact(f *fields, now balance.Instant) {
	r := &m.Request
	switch f.no {
	case 3:
		r.Key = f.text(MaxText)
	case 4:
		r.Client = f.addr()
	case 5:
		r.Priority = f.int()
	case 6:
		r.Tenant = f.text(MaxName)
	case 7:
		r.Deadline = f.instant(now)
	case 8:
		r.Link = balance.Link(f.upTo(uint64(balance.LinkRedirect)))
	case 9:
		if f.room(len(r.Exclude), MaxExclude) {
			r.Exclude = append(r.Exclude, balance.ServerID(f.text(MaxName)))
		}
	case 10:
		r.Labels = f.label(r.Labels)
	case 11:
		r.Location = f.text(MaxName)
	case 12:
		r.Method = f.text(MaxName)
	case 13:
		r.Host = f.text(MaxText)
	case 14:
		r.Path = f.text(MaxText)
	case 15:
		r.Hold = f.duration()
	case 17:
		r.ID = f.fixed()
	case 18:
		r.Belief = balance.Belief(f.upTo(uint64(balance.Disbelieved)))
	case 19:
		r.MayOverflow = f.bool()
	case 20:
		r.Size = f.size()
	case 21:
		r.Class = f.text(MaxName)
	case 22:
		r.Follow = f.bool()
	}
}

// Append writes the frame behind dst.
func (m *Granted) Append(dst []byte, now balance.Instant) []byte {
	start := len(dst)
	dst = begin(dst, TGranted)
	dst = putUint(dst, 1, m.Seq)
	dst = putFixed(dst, 2, uint64(m.Grant.Lease))
	dst = putText(dst, 3, string(m.Grant.Server), MaxName)
	dst = putText(dst, 4, m.Grant.Address, MaxText)
	dst = putText(dst, 5, m.Grant.Public, MaxText)
	dst = putInstant(dst, 6, now, m.Grant.Expires)
	dst = putDuration(dst, 7, m.Queue)
	dst = putUint(dst, 8, uint64(m.Number))
	dst = putUint(dst, 9, m.Grant.Fence)
	dst = putFixed(dst, 10, m.Grant.Tag)
	dst = putText(dst, 11, m.Grant.At, MaxText)
	return end(dst, start)
}

// Decode reads a payload that came in at now.
func (m *Granted) Decode(payload []byte, now balance.Instant) error {
	*m = Granted{}
	f := fields{what: TGranted, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Seq = f.uint()
		case 2:
			m.Grant.Lease = balance.LeaseID(f.fixed())
		case 3:
			m.Grant.Server = balance.ServerID(f.text(MaxName))
		case 4:
			m.Grant.Address = f.text(MaxText)
		case 5:
			m.Grant.Public = f.text(MaxText)
		case 6:
			m.Grant.Expires = f.instant(now)
		case 7:
			m.Queue = f.duration()
		case 8:
			m.Number = uint32(f.upTo(MaxNumber))
		case 9:
			m.Grant.Fence = f.uint()
		case 10:
			m.Grant.Tag = f.fixed()
		case 11:
			m.Grant.At = f.text(MaxText)
		}
	}
	return f.err
}

// Append writes the frame behind dst.
func (m *Queued) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, TQueued)
	dst = putUint(dst, 1, m.Seq)
	dst = putUint(dst, 2, uint64(m.Position))
	dst = putDuration(dst, 3, m.Wait)
	return end(dst, start)
}

// Decode reads a payload.
func (m *Queued) Decode(payload []byte) error {
	*m = Queued{}
	f := fields{what: TQueued, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Seq = f.uint()
		case 2:
			m.Position = uint32(f.upTo(math.MaxUint32))
		case 3:
			m.Wait = f.duration()
		}
	}
	return f.err
}

// Append writes the frame behind dst.
func (m *Refused) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, TRefused)
	dst = putUint(dst, 1, m.Seq)
	dst = putUint(dst, 2, uint64(m.Refusal.Reason))
	dst = putDuration(dst, 3, m.Refusal.RetryAfter)
	dst = putText(dst, 4, m.Refusal.Detail, MaxText)
	dst = putText(dst, 5, m.Refusal.Leader, MaxText)
	dst = putText(dst, 6, m.Refusal.LeaderID, MaxName)
	dst = putDuration(dst, 7, m.Refusal.Needs)
	dst = putText(dst, 8, m.Refusal.Pool, MaxName)
	return end(dst, start)
}

// Decode reads a payload.
func (m *Refused) Decode(payload []byte) error {
	*m = Refused{}
	f := fields{what: TRefused, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Seq = f.uint()
		case 2:
			m.Refusal.Reason = balance.Reason(f.upTo(math.MaxUint8))
		case 3:
			m.Refusal.RetryAfter = f.duration()
		case 4:
			m.Refusal.Detail = f.plain(MaxText)
		case 5:
			m.Refusal.Leader = f.plain(MaxText)
		case 6:
			m.Refusal.LeaderID = f.plain(MaxName)
		case 7:
			m.Refusal.Needs = f.duration()
		case 8:
			m.Refusal.Pool = f.plain(MaxName)
		}
	}
	return f.err
}
