package wire

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// softSnapshot is the size above which a Snapshot continues in another frame: answers to asks can come in between, and the reader's buffer
// need not be larger than for them.
const softSnapshot = 32 << 10

// Append writes the frame behind dst.
func (m *Watch) Append(dst []byte) []byte {
	start := len(dst)
	return end(putText(begin(dst, TWatch), 1, m.Pool, MaxName), start)
}

// Decode reads a payload.
func (m *Watch) Decode(payload []byte) error {
	*m = Watch{}
	f := fields{what: TWatch, in: payload}
	for f.next() {
		if f.no == 1 {
			m.Pool = f.text(MaxName)
		}
	}
	return f.err
}

// Append writes the frame behind dst; more than one if the servers are many. All but
// the last say More.
func (m *Snapshot) Append(dst []byte) []byte {
	for rest := m.Snapshot.Servers; ; {
		start, n := len(dst), 0
		dst = begin(dst, TSnapshot)
		dst = putText(dst, 1, m.Snapshot.Pool, MaxName)
		dst = putUint(dst, 2, m.Snapshot.Version)
		dst = putBool(dst, 3, m.Snapshot.Dispatch)
		for n < len(rest) && n < MaxServers && len(dst)-start < softSnapshot {
			dst = putServer(dst, 4, &Placed{Server: rest[n]})
			n++
		}
		rest = rest[n:]
		dst = putBool(dst, 5, m.More || len(rest) > 0)
		dst = putUint(dst, 6, m.Seq)
		dst = putUint(dst, 7, uint64(m.Snapshot.Edges))
		dst = putDuration(dst, 8, m.Snapshot.LocalFrom)
		dst = putFloat(dst, 10, m.Snapshot.Canary)
		dst = end(putSharers(dst, 9, m.Snapshot.Sharers), start)
		if len(rest) == 0 {
			return dst
		}
	}
}

// Decode reads a payload.
func (m *Snapshot) Decode(payload []byte) error {
	*m = Snapshot{Snapshot: balance.Snapshot{Servers: m.Snapshot.Servers[:0]}}
	s, f := &m.Snapshot, fields{what: TSnapshot, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			s.Pool = f.text(MaxName)
		case 2:
			s.Version = f.uint()
		case 3:
			s.Dispatch = f.bool()
		case 4:
			if f.room(len(s.Servers), MaxServers) {
				s.Servers = append(s.Servers, f.server().Server)
			}
		case 5:
			m.More = f.bool()
		case 6:
			m.Seq = f.uint()
		case 7:
			s.Edges = int(f.upTo(math.MaxInt32))
		case 8:
			s.LocalFrom = f.duration()
		case 9:
			s.Sharers = f.sharer(s.Sharers)
		case 10:
			s.Canary = f.part()
		}
	}
	return f.err
}

func putServer(dst []byte, no int, p *Placed) []byte {
	s := &p.Server
	dst, mark := nest(dst, no)
	dst = putText(dst, 1, string(s.ID), MaxName)
	dst = putText(dst, 2, s.Address, MaxText)
	dst = putText(dst, 3, s.Public, MaxText)
	dst = putUint(dst, 4, uint64(s.State))
	dst = putFloat(dst, 5, s.Slots)
	dst = putFloat(dst, 6, s.Service)
	dst = putFloat(dst, 7, s.Load)
	dst = putUint(dst, 8, uint64(p.At))
	dst = putText(dst, 9, s.At, MaxText)
	dst = putUint(dst, 10, uint64(s.Cap))
	dst = putUint(dst, 11, uint64(s.Kind))
	dst = putUint(dst, 12, uint64(s.Basis))
	dst = putLabels(dst, 13, s.Labels)
	return unnest(dst, mark)
}

func (f *fields) server() (p Placed) {
	s, in := &p.Server, f.within()
	for in.next() {
		switch in.no {
		case 1:
			s.ID = balance.ServerID(in.text(MaxName))
		case 2:
			s.Address = in.text(MaxText)
		case 3:
			s.Public = in.text(MaxText)
		case 4:
			s.State = balance.State(in.upTo(uint64(balance.Gone)))
		case 5:
			s.Slots = in.float()
		case 6:
			s.Service = in.float()
		case 7:
			s.Load = in.float()
		case 8:
			p.At = int(in.upTo(MaxPlaces - 1))
		case 9:
			s.At = in.text(MaxText)
		case 10:
			s.Cap = int(in.upTo(balance.MostInFlight))
		case 11:
			s.Kind = balance.Kind(in.upTo(uint64(balance.IsBackup)))
		case 12:
			s.Basis = balance.Basis(in.upTo(uint64(balance.BasisFirm)))
		case 13:
			s.Labels = in.label(s.Labels)
		}
	}
	f.took(&in)
	return p
}

// putSharers writes a list of edges.
func putSharers(dst []byte, no int, ids []balance.EdgeID) []byte {
	for _, id := range ids[:min(len(ids), MaxSharers)] {
		dst = putText(dst, no, string(id), MaxName)
	}
	return dst
}

// sharer reads one edge into such a list.
func (f *fields) sharer(to []balance.EdgeID) []balance.EdgeID {
	if !f.room(len(to), MaxSharers) {
		return to
	}
	return append(to, balance.EdgeID(f.text(MaxName)))
}

// Append writes the frame behind dst.
func (m *Change) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, TChange)
	dst = putText(dst, 1, m.Pool, MaxName)
	dst = putUint(dst, 2, m.Version)
	dst = putBool(dst, 3, m.Dispatch)
	for i := range m.Servers[:min(len(m.Servers), MaxServers)] {
		dst = putServer(dst, 4, &m.Servers[i])
	}
	dst = putUint(dst, 5, uint64(m.Count))
	dst = putUint(dst, 6, m.Seq)
	dst = putUint(dst, 7, uint64(m.Edges))
	if loads := m.Loads[:min(len(m.Loads), MaxMoved)]; len(loads) > 0 {
		var mark int
		dst, mark = nest(dst, 8)
		for i, next := 0, 0; i < len(loads); i++ {
			dst, next = putGap(dst, next, loads[i].At)
			dst = putSingle(dst, loads[i].Load)
		}
		dst = unnest(dst, mark)
	}
	if capacities := m.Capacities[:min(len(m.Capacities), MaxMoved)]; len(capacities) > 0 {
		var mark int
		dst, mark = nest(dst, 9)
		for i, next := 0, 0; i < len(capacities); i++ {
			dst, next = putGap(dst, next, capacities[i].At)
			dst = putSingle(putSingle(dst, capacities[i].Slots), capacities[i].Service)
		}
		dst = unnest(dst, mark)
	}
	dst = putDuration(dst, 10, m.LocalFrom)
	dst = putFloat(dst, 12, m.Canary)
	return end(putSharers(dst, 11, m.Sharers), start)
}

// putGap writes a place as its gap: the number of places skipped since next, the first place that may follow.
func putGap(dst []byte, next, at int) ([]byte, int) {
	return binary.AppendUvarint(dst, uint64(at-next)), at + 1
}

func putSingle(dst []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
}

// Decode reads a payload.
func (m *Change) Decode(payload []byte) error {
	*m = Change{Servers: m.Servers[:0], Loads: m.Loads[:0], Capacities: m.Capacities[:0]}
	f := fields{what: TChange, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Pool = f.text(MaxName)
		case 2:
			m.Version = f.uint()
		case 3:
			m.Dispatch = f.bool()
		case 4:
			if f.room(len(m.Servers), MaxServers) {
				m.Servers = append(m.Servers, f.server())
			}
		case 5:
			m.Count = int(f.upTo(MaxPlaces))
		case 6:
			m.Seq = f.uint()
		case 7:
			m.Edges = int(f.upTo(math.MaxInt32))
		case 8:
			m.Loads = m.Loads[:0]
			f.packed(4, func(at int, b []byte) { m.Loads = append(m.Loads, Load{at, single(b)}) })
		case 9:
			m.Capacities = m.Capacities[:0]
			f.packed(8, func(at int, b []byte) { m.Capacities = append(m.Capacities, Capacity{at, single(b), single(b[4:])}) })
		case 10:
			m.LocalFrom = f.duration()
		case 11:
			m.Sharers = f.sharer(m.Sharers)
		case 12:
			m.Canary = f.part()
		}
	}
	return f.err
}

func single(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }

// packed reads a list of places, in ascending order, with size bytes each.
func (f *fields) packed(size int, each func(at int, b []byte)) {
	if !f.is(kindBytes) {
		return
	}
	in, next := f.bytes, uint64(0)
	for n := 0; len(in) > 0; n++ {
		gap, used := binary.Uvarint(in)
		switch {
		case used <= 0 || len(in)-used < size:
			f.fail("a list is cut off within an entry")
			return
		case gap >= MaxPlaces || next+gap >= MaxPlaces:
			f.fail(fmt.Sprintf("a place beyond %d", MaxPlaces-1))
			return
		case n == MaxMoved:
			f.fail(fmt.Sprintf("more than %d of them", MaxMoved))
			return
		}
		each(int(next+gap), in[used:used+size])
		next, in = next+gap+1, in[used+size:]
	}
}
