package wire

import (
	"encoding/binary"
	"fmt"
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
	dst = putDuration(dst, 7, r.Report.Window)
	metrics := r.Report.Metrics
	if r.Form != 0 {
		return unnest(putValues(putUint(dst, 5, uint64(r.Form)), 6, metrics), mark)
	}
	for i := range metrics[:min(len(metrics), MaxMetrics)] {
		var inner int
		dst, inner = nest(dst, 4)
		dst = putText(dst, 1, metrics[i].Name, MaxName)
		dst = putFloat(dst, 2, metrics[i].Value)
		dst = unnest(dst, inner)
	}
	return unnest(dst, mark)
}

// putValues writes the values of metrics without their names.
func putValues(dst []byte, no int, metrics []balance.Metric) []byte {
	metrics = metrics[:min(len(metrics), MaxMetrics)]
	dst = binary.AppendUvarint(putTag(dst, no, kindBytes), uint64(8*len(metrics)))
	for i := range metrics {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(metrics[i].Value))
	}
	return dst
}

// values reads metrics without names.
func (f *fields) values(to []balance.Metric) []balance.Metric {
	if !f.is(kindBytes) {
		return to
	}
	switch {
	case len(f.bytes)%8 != 0:
		f.fail(fmt.Sprintf("%d bytes of values, want 8 each", len(f.bytes)))
		return to
	case len(to)+len(f.bytes)/8 > MaxMetrics:
		f.fail(fmt.Sprintf("more than %d of them", MaxMetrics))
		return to
	}
	for in := f.bytes; len(in) > 0; in = in[8:] {
		to = append(to, balance.Metric{Value: math.Float64frombits(binary.LittleEndian.Uint64(in))})
	}
	return to
}

// Append writes the frame behind dst.
func (m *Form) Append(dst []byte) []byte {
	start := len(dst)
	dst = putUint(begin(dst, TForm), 1, uint64(m.Number))
	for _, name := range m.Names[:min(len(m.Names), MaxMetrics)] {
		dst = putItem(dst, 2, name, MaxName)
	}
	return end(dst, start)
}

// Decode reads a payload.
func (m *Form) Decode(payload []byte) error {
	*m = Form{Names: m.Names[:0]}
	f := fields{what: TForm, in: payload}
	for f.next() {
		switch f.no {
		case 1:
			m.Number = uint32(f.upTo(MaxForms))
		case 2:
			if f.room(len(m.Names), MaxMetrics) {
				m.Names = append(m.Names, f.text(MaxName))
			}
		}
	}
	return f.err
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
		case 5:
			r.Form = uint32(in.upTo(MaxForms))
		case 6:
			r.Report.Metrics = in.values(r.Report.Metrics)
		case 7:
			r.Report.Window = in.duration()
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
