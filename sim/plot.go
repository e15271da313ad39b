package sim

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"math"
	"strings"
	"time"
)

// A plot has one panel for each scenario: the time that a share of the requests does
// not exceed, both axes logarithmic, so that the tail has room and ratios are
// distances.
const (
	panelWidth  = 640.
	panelHeight = 360.
	plotLeft    = 64.
	plotTop     = 44.
	plotWidth   = 330.
	plotHeight  = 260.
	legendLeft  = plotLeft + plotWidth + 12
)

// ink is told apart by people who see few colours, in this order.
var ink = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f"}

// Plot writes an SVG picture of the comparisons, two panels in a row.
func Plot(out io.Writer, comparisons []Comparison) error {
	w := bufio.NewWriter(out)
	columns := min(2, len(comparisons))
	rows := (len(comparisons) + 1) / 2
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" font-family="sans-serif" font-size="11">`+"\n", panelWidth*float64(columns), panelHeight*float64(rows))
	fmt.Fprintln(w, `<rect width="100%" height="100%" fill="white"/>`)
	for i := range comparisons {
		fmt.Fprintf(w, `<g transform="translate(%.0f,%.0f)">`+"\n", panelWidth*float64(i%2), panelHeight*float64(i/2))
		panel(w, &comparisons[i])
		fmt.Fprintln(w, "</g>")
	}
	fmt.Fprintln(w, "</svg>")
	return w.Flush()
}

func panel(w io.Writer, c *Comparison) {
	low, high := span(c.Results)
	fmt.Fprintf(w, `<text x="%.0f" y="18" font-weight="bold">%s</text><text x="%.0f" y="34" fill="#555">%s</text>`+"\n",
		plotLeft, html.EscapeString(c.Scenario.Name), plotLeft, html.EscapeString(c.Scenario.About))
	for _, share := range []float64{0, .9, .99, .999, .9999} {
		x := across(share)
		fmt.Fprintf(w, `<path d="M%.1f %.1fV%.1f" stroke="#ddd"/><text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n",
			x, plotTop, plotTop+plotHeight, x, plotTop+plotHeight+14, percent(share))
	}
	fmt.Fprintf(w, `<text x="%.1f" y="%.1f" text-anchor="middle" fill="#555">of requests take no longer</text>`+"\n", plotLeft+plotWidth/2, plotTop+plotHeight+30)
	for _, t := range ticks(low, high) {
		y := down(t, low, high)
		fmt.Fprintf(w, `<path d="M%.1f %.1fH%.1f" stroke="#ddd"/><text x="%.1f" y="%.1f" text-anchor="end">%v</text>`+"\n",
			plotLeft, y, plotLeft+plotWidth, plotLeft-5, y+4, time.Duration(math.Round(t*1e6))*time.Microsecond)
	}
	for i, r := range c.Results {
		style := fmt.Sprintf(`stroke="%s"`, ink[i%len(ink)])
		if i >= len(ink) {
			style += ` stroke-dasharray="8 2"`
		}
		if r.Policy == Ideal {
			style = `stroke="black" stroke-dasharray="4 3"`
		}
		fmt.Fprintf(w, `<path d="%s" fill="none" stroke-width="1.6" %s/>`+"\n", curve(r.Curve, low, high), style)
		y := plotTop + 8 + 15*float64(i)
		fmt.Fprintf(w, `<path d="M%.1f %.1fh18" stroke-width="1.6" %s/><text x="%.1f" y="%.1f">%s</text>`+"\n", legendLeft, y, style, legendLeft+23, y+4, html.EscapeString(r.Policy))
	}
}

// across maps a share to the horizontal: each further nine is as wide.
func across(share float64) float64 { return plotLeft - plotWidth/4*math.Log10(1-share) }

func down(t, low, high float64) float64 {
	return plotTop + plotHeight*(1-math.Log(t/low)/math.Log(high/low))
}

func curve(times []float64, low, high float64) string {
	var b strings.Builder
	for i, t := range times {
		letter := 'L'
		if i == 0 {
			letter = 'M'
		}
		fmt.Fprintf(&b, "%c%.1f %.1f", letter, across(Levels[i]), down(max(t, low), low, high))
	}
	return b.String()
}

// span returns the range of times worth showing: from a fraction of the fastest
// median to the slowest.
func span(results []Result) (low, high float64) {
	low, high = math.Inf(1), 0
	for _, r := range results {
		low, high = min(low, r.P50/5), max(high, r.Curve[len(r.Curve)-1])
	}
	if !(low > 0 && high > low) {
		return 1e-3, 1
	}
	return low, high
}

// ticks are the 1, 3 and 10 of every decade in the range.
func ticks(low, high float64) (marks []float64) {
	for e := math.Floor(math.Log10(low)); e <= math.Log10(high); e++ {
		for _, m := range []float64{1, 3} {
			if t := m * math.Pow(10, e); t >= low && t <= high {
				marks = append(marks, t)
			}
		}
	}
	return marks
}

func percent(share float64) string { return fmt.Sprintf("%.6g%%", 100*share) }
