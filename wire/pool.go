package wire

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// softFrame is the size beyond which Reports go on in another frame.
const softFrame = MaxFrame / 4

// Append writes the frame behind dst; more than one if the reports are many.
func (m *Reports) Append(dst []byte) []byte {
	for rest := m.Reports; ; {
		start, n := len(dst), 0
		dst = begin(dst, TReports)
		for n < len(rest) && n < MaxReports && len(dst)-start < softFrame {
			dst = putReport(dst, 1, &rest[n])
			n++
		}
		dst, rest = end(dst, start), rest[n:]
		if len(rest) == 0 {
			return dst
		}
	}
}

// Decode reads a payload.
func (m *Reports) Decode(payload []byte) error {
	m.Reports = m.Reports[:0]
	f := fields{what: TReports, in: payload}
	for f.next() {
		if f.no == 1 {
			m.Reports = f.report(m.Reports, MaxReports)
		}
	}
	return f.err
}

func putReport(dst []byte, no int, r *PoolReport) []byte {
	dst, mark := nest(dst, no)
	dst = putText(dst, 1, r.Pool, MaxName)
	dst = putText(dst, 2, string(r.Report.Server), MaxName)
	dst = putDuration(dst, 3, r.Report.Age)
	metrics := r.Report.Metrics
	for i := range metrics[:min(len(metrics), MaxMetrics)] {
		var inner int
		dst, inner = nest(dst, 4)
		dst = putText(dst, 1, metrics[i].Name, MaxName)
		dst = putFloat(dst, 2, metrics[i].Value)
		dst = unnest(dst, inner)
	}
	return unnest(dst, mark)
}

// report reads one report into a list.
func (f *fields) report(to []PoolReport, most int) []PoolReport {
	if !f.room(len(to), most) {
		return to
	}
	to = longer(to)
	r := &to[len(to)-1]
	*r = PoolReport{Report: balance.Report{Metrics: r.Report.Metrics[:0]}}
	in := f.within()
	for in.next() {
		switch in.no {
		case 1:
			r.Pool = in.text(MaxName)
		case 2:
			r.Report.Server = balance.ServerID(in.text(MaxName))
		case 3:
			r.Report.Age = in.duration()
		case 4:
			r.Report.Metrics = in.metric(r.Report.Metrics)
		}
	}
	f.took(&in)
	return to
}

// plainMetric reads a metric that is written as putReport writes most: the name, of less
// than 128 bytes, then the value. A report is little else, so it is worth a way of its own.
func (f *fields) plainMetric() (m balance.Metric, ok bool) {
	b := f.bytes
	if f.kind != kindBytes || len(b) < 2 || b[0] != 1<<3|kindBytes || b[1] >= 0x80 {
		return m, false
	}
	value := 2 + int(b[1])
	if len(b) != value+9 || b[value] != 2<<3|kindFixed {
		return m, false
	}
	m.Name = unsafe.String(unsafe.SliceData(b[2:]), value-2)
	m.Value = math.Float64frombits(binary.LittleEndian.Uint64(b[value+1:]))
	return m, true
}

func (f *fields) metric(to []balance.Metric) []balance.Metric {
	if !f.room(len(to), MaxMetrics) {
		return to
	}
	if m, ok := f.plainMetric(); ok {
		return append(to, m)
	}
	var m balance.Metric
	in := f.within()
	for in.next() {
		switch in.no {
		case 1:
			m.Name = in.text(MaxName)
		case 2:
			m.Value = in.float()
		}
	}
	f.took(&in)
	return append(to, m)
}

// Append writes the frame behind dst.
func (m *Register) Append(dst []byte) []byte {
	start, s := len(dst), &m.Server
	dst = begin(dst, TRegister)
	dst = putText(dst, 1, m.Pool, MaxName)
	dst = putText(dst, 2, string(s.ID), MaxName)
	dst = putText(dst, 3, s.Address, MaxText)
	dst = putText(dst, 4, s.Public, MaxText)
	dst = putFloat(dst, 5, s.Slots)
	dst = putFloat(dst, 6, s.Speed)
	dst = putLabels(dst, 7, s.Labels)
	dst = putText(dst, 8, s.Location, MaxName)
	return end(dst, start)
}

// Decode reads a payload.
func (m *Register) Decode(payload []byte) error {
	*m = Register{Server: balance.ServerSpec{Labels: m.Server.Labels[:0]}}
	s, f := &m.Server, fields{what: TRegister, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Pool = f.text(MaxName)
		case 2:
			s.ID = balance.ServerID(f.text(MaxName))
		case 3:
			s.Address = f.text(MaxText)
		case 4:
			s.Public = f.text(MaxText)
		case 5:
			s.Slots = f.float()
		case 6:
			s.Speed = f.float()
		case 7:
			s.Labels = f.label(s.Labels)
		case 8:
			s.Location = f.text(MaxName)
		}
	}
	return f.err
}
