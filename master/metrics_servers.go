package master

import (
	"cmp"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// The metrics of servers are written by hand: a pool of 10,000 servers has 100,000 of them, and the library
// would allocate, sort and check an object for each.

// figures are the values of one server; NaN: absent.
type figures struct {
	server string
	out    []balance.OutageKind // why it gets no requests, or fewer; each kind once
	values [serverFigures]float64
}

const serverFigures = 12

// serverFamilies are in the order of figures.values.
var serverFamilies = [serverFigures]metric{serverUp, serverInFlight, serverExternal, serverSlots, serverService, serverScore, serverSuccess, serverFull, serverUnreached, serverUtilization, serverGrants, serverReportAge}

func (f *figures) read(v *balance.View) {
	up, full, busy, age := 0., 0., math.NaN(), math.NaN()
	if v.Full {
		full = 1
	}
	if v.State == balance.Up {
		up = 1
	}
	if u, ok := utilization(v); ok {
		busy = u
	}
	for i, m := range v.Metrics {
		if s := m.Age.Seconds(); i == 0 || s < age {
			age = s
		}
	}
	f.server = string(v.Spec.ID)
	for i := range v.Outages {
		if kind := v.Outages[i].Kind; !slices.Contains(f.out, kind) {
			f.out = append(f.out, kind)
		}
	}
	f.values = [serverFigures]float64{up, float64(v.Leases), v.External, v.Slots, v.Service, v.Score, v.Success, full, float64(v.Unreached), busy, float64(v.Granted), age}
}

func utilization(v *balance.View) (value float64, ok bool) {
	for _, m := range v.Metrics {
		switch m.Name {
		case balance.ApplicationUtilization:
			return m.Value, true
		case balance.CPUUtilization:
			value, ok = m.Value, true
		}
	}
	return value, ok
}

// figures reads all servers of a pool, in chunks so that asks need not wait long. A server whose place changes
// meanwhile may be missing, but none is there twice.
func (p *pool) figures() []figures {
	var all []figures
	var views []balance.View
	now := clock.Now()
	for from := 0; from == 0 || len(views) == chunk; from += chunk {
		p.mu.Lock()
		views = p.core.Look(now, views[:0], from, from+chunk)
		p.mu.Unlock()
		for i := range views {
			all = append(all, figures{})
			all[len(all)-1].read(&views[i])
		}
	}
	slices.SortFunc(all, func(a, b figures) int { return cmp.Compare(a.server, b.server) })
	return slices.CompactFunc(all, func(a, b figures) bool { return a.server == b.server })
}

// writeServers writes the metrics of all servers in Prometheus' text format.
func (m *Master) writeServers(w io.Writer) {
	pools := m.pools.Load().list
	all := make([][]figures, len(pools))
	labels := make([][]string, len(pools))
	for i, p := range pools {
		all[i] = p.figures()
		for k := range all[i] {
			labels[i] = append(labels[i], `{pool="`+escape.Replace(p.name)+`",server="`+escape.Replace(all[i][k].server)+`"} `)
		}
	}
	var out []byte
	for no, family := range serverFamilies {
		kind := "gauge"
		if family.kind == prometheus.CounterValue {
			kind = "counter"
		}
		out = append(out, "# HELP "+family.name+" "+family.help+"\n# TYPE "+family.name+" "+kind+"\n"...)
		for i := range all {
			for k := range all[i] {
				value := all[i][k].values[no]
				if math.IsNaN(value) {
					continue
				}
				out = append(append(out, family.name...), labels[i][k]...)
				out = append(strconv.AppendFloat(out, value, 'g', -1, 64), '\n')
			}
			if len(out) > batchBytes {
				if _, err := w.Write(out); err != nil {
					return // the scraper has left
				}
				out = out[:0]
			}
		}
	}
	_, _ = w.Write(appendOut(out, pools, all))
}

// appendOut writes which servers are out and why.
func appendOut(out []byte, pools []*pool, all [][]figures) []byte {
	out = append(out, "# HELP "+serverOut.name+" "+serverOut.help+"\n# TYPE "+serverOut.name+" gauge\n"...)
	for i := range all {
		for k := range all[i] {
			for _, kind := range all[i][k].out {
				out = append(out, serverOut.name+`{pool="`+escape.Replace(pools[i].name)+`",server="`+escape.Replace(all[i][k].server)+`",reason="`+kind.String()+"\"} 1\n"...)
			}
		}
	}
	return out
}

// escape escapes labels for the text format.
var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
