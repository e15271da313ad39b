package wire

import (
	"math"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Append writes the frame behind dst.
func (m *Done) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, TDone)
	dst = putText(dst, 1, m.Pool, MaxName)
	dst = putFixed(dst, 2, uint64(m.Lease))
	dst = putUint(dst, 3, uint64(m.Outcome.Result))
	dst = putDuration(dst, 4, m.Outcome.Duration)
	if m.Outcome.Result != balance.OK { // most are
		dst = putDuration(dst, 5, m.Outcome.RetryAfter)
		dst = putUint(dst, 6, uint64(m.Outcome.Status))
		dst = putUint(dst, 7, uint64(m.Outcome.GRPC))
		dst = putText(dst, 8, m.Outcome.Error, MaxText)
	}
	dst = putFixed(dst, 9, m.Tag)
	dst = putDuration(dst, 10, m.Outcome.FirstByte)
	dst = putUint(dst, 11, uint64(max(0, m.Outcome.Bytes)))
	dst = putFloat(dst, 12, m.Outcome.Size)
	return end(dst, start)
}

// Decode reads a payload.
func (m *Done) Decode(payload []byte) error {
	*m = Done{}
	f := fields{what: TDone, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Pool = f.text(MaxName)
		case 2:
			m.Lease = balance.LeaseID(f.fixed())
		case 3:
			m.Outcome.Result = balance.Result(f.upTo(uint64(balance.Results - 1)))
		case 4:
			m.Outcome.Duration = f.duration()
		case 5:
			m.Outcome.RetryAfter = f.duration()
		case 6:
			m.Outcome.Status = int(f.upTo(balance.MaxStatus))
		case 7:
			m.Outcome.GRPC = int(f.upTo(balance.MaxStatus))
		case 8:
			m.Outcome.Error = f.plain(MaxText)
		case 9:
			m.Tag = f.fixed()
		case 10:
			m.Outcome.FirstByte = f.duration()
		case 11:
			m.Outcome.Bytes = int64(f.upTo(math.MaxInt64))
		case 12:
			m.Outcome.Size = f.size()
		}
	}
	return f.err
}

// Append writes the frame behind dst. Request.Edge does not travel: the connection tells it.
func (m *Chosen) Append(dst []byte) []byte {
	return AppendChosen(dst, m.Pool, m.Lease, m.Server, &m.Request)
}

// AppendChosen writes a Chosen behind dst that need not be put together before.
func AppendChosen(dst []byte, pool string, id balance.LeaseID, server balance.ServerID, r *balance.Request) []byte {
	start := len(dst)
	dst = begin(dst, TChosen)
	dst = putText(dst, 1, pool, MaxName)
	dst = putFixed(dst, 2, uint64(id))
	dst = putText(dst, 3, string(server), MaxName)
	dst = putText(dst, 4, r.Key, MaxText)
	dst = putAddr(dst, 5, r.Client)
	dst = putInt(dst, 6, int64(r.Priority))
	dst = putText(dst, 7, r.Tenant, MaxName)
	dst = putUint(dst, 8, uint64(r.Belief))
	dst = putFixed(dst, 9, r.ID)
	dst = putFloat(dst, 10, r.Size)
	dst = putText(dst, 11, r.Class, MaxName)
	return end(dst, start)
}

// Decode reads a payload. Request.Edge stays empty.
func (m *Chosen) Decode(payload []byte) error {
	*m = Chosen{}
	r, f := &m.Request, fields{what: TChosen, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Pool = f.text(MaxName)
		case 2:
			m.Lease = balance.LeaseID(f.fixed())
		case 3:
			m.Server = balance.ServerID(f.text(MaxName))
		case 4:
			r.Key = f.text(MaxText)
		case 5:
			r.Client = f.addr()
		case 6:
			r.Priority = f.int()
		case 7:
			r.Tenant = f.text(MaxName)
		case 8:
			r.Belief = balance.Belief(f.upTo(uint64(balance.Disbelieved)))
		case 9:
			r.ID = f.fixed()
		case 10:
			r.Size = f.size()
		case 11:
			r.Class = f.text(MaxName)
		}
	}
	return f.err
}

// Append writes the frame behind dst.
func (m *Hold) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, THold)
	dst = putText(dst, 1, m.Pool, MaxName)
	dst = putFixed(dst, 2, uint64(m.Lease))
	dst = putText(dst, 3, string(m.Server), MaxName)
	dst = putDuration(dst, 4, m.Age)
	dst = putDuration(dst, 5, m.Left)
	dst = putFixed(dst, 6, m.Tag)
	dst = putBool(dst, 7, m.Idle)
	dst = putFloat(dst, 8, m.Size)
	dst = putText(dst, 9, m.Class, MaxName)
	return end(dst, start)
}

// Decode reads a payload.
func (m *Hold) Decode(payload []byte) error {
	*m = Hold{}
	f := fields{what: THold, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Pool = f.text(MaxName)
		case 2:
			m.Lease = balance.LeaseID(f.fixed())
		case 3:
			m.Server = balance.ServerID(f.text(MaxName))
		case 4:
			m.Age = f.duration()
		case 5:
			m.Left = f.duration()
		case 6:
			m.Tag = f.fixed()
		case 7:
			m.Idle = f.bool()
		case 8:
			m.Size = f.size()
		case 9:
			m.Class = f.text(MaxName)
		}
	}
	return f.err
}

// Append writes the frame behind dst.
func (m *Dispatch) Append(dst []byte) []byte {
	start, r := len(dst), &m.Request
	dst = begin(dst, TDispatch)
	dst = putFixed(dst, 1, uint64(m.Lease))
	dst = putText(dst, 2, m.Pool, MaxName)
	dst = putText(dst, 3, string(m.Edge), MaxName)
	dst = putText(dst, 4, r.Key, MaxText)
	dst = putAddr(dst, 5, r.Client)
	dst = putText(dst, 6, r.Method, MaxName)
	dst = putText(dst, 7, r.Host, MaxText)
	dst = putText(dst, 8, r.Path, MaxText)
	dst = putText(dst, 9, r.Tenant, MaxName)
	dst = putInt(dst, 10, int64(r.Priority))
	dst = putDuration(dst, 11, m.Limit)
	dst = putUint(dst, 12, m.Fence)
	dst = putFixed(dst, 13, m.Tag)
	dst = putFloat(dst, 14, r.Size)
	dst = putText(dst, 15, r.Class, MaxName)
	return end(dst, start)
}

// Decode reads a payload.
func (m *Dispatch) Decode(payload []byte) error {
	*m = Dispatch{}
	r, f := &m.Request, fields{what: TDispatch, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Lease = balance.LeaseID(f.fixed())
		case 2:
			m.Pool = f.text(MaxName)
		case 3:
			m.Edge = balance.EdgeID(f.text(MaxName))
		case 4:
			r.Key = f.text(MaxText)
		case 5:
			r.Client = f.addr()
		case 6:
			r.Method = f.text(MaxName)
		case 7:
			r.Host = f.text(MaxText)
		case 8:
			r.Path = f.text(MaxText)
		case 9:
			r.Tenant = f.text(MaxName)
		case 10:
			r.Priority = f.int()
		case 11:
			m.Limit = f.duration()
		case 12:
			m.Fence = f.uint()
		case 13:
			m.Tag = f.fixed()
		case 14:
			r.Size = f.size()
		case 15:
			r.Class = f.text(MaxName)
		}
	}
	return f.err
}

// Append writes the frame behind dst.
func (m *Verdict) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, TVerdict)
	dst = putFixed(dst, 1, uint64(m.Lease))
	dst = putBool(dst, 2, m.Accepted)
	dst = putText(dst, 3, m.Detail, MaxText)
	return end(dst, start)
}

// Decode reads a payload.
func (m *Verdict) Decode(payload []byte) error {
	*m = Verdict{}
	f := fields{what: TVerdict, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Lease = balance.LeaseID(f.fixed())
		case 2:
			m.Accepted = f.bool()
		case 3:
			m.Detail = f.plain(MaxText)
		}
	}
	return f.err
}
