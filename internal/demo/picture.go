package demo

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The picture's measures in pixels.
const (
	pictureWidth = 860
	panelWidth   = 410
	panelTop     = 56
	rowHeight    = 18
	barLeft      = 62
	unit         = 14 // of one request
	longestQueue = 22 // waiting requests that are drawn
)

// Picture returns an SVG that plays what was seen of both systems side by side, over
// and over, with the table below.
func Picture(sights []Sight, result Result) []byte {
	var b strings.Builder
	height := panelTop + 12*rowHeight + 120
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="ui-monospace, monospace" font-size="12" role="img">`+"\n", pictureWidth, height)
	b.WriteString("<title>Requests at twelve servers: least connections at each of eight proxies, and eight edges that ask one master</title>\n")
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="8" fill="#101418"/>`+"\n", pictureWidth, height)
	for i, policy := range []string{PerEdge, LeastLoad} {
		panel(&b, 16+i*(panelWidth+8), policy, lastTurn(sights, policy))
	}
	legend(&b, panelTop+12*rowHeight+20)
	table(&b, panelTop+12*rowHeight+46, result)
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// lastTurn returns a policy's sights; if it was shown twice, those of the second time.
func lastTurn(sights []Sight, policy string) (own []Sight) {
	for _, s := range sights {
		if s.Policy != policy {
			continue
		}
		if len(own) > 0 && s.At < own[len(own)-1].At {
			own = nil
		}
		own = append(own, s)
	}
	return own
}

func panel(b *strings.Builder, left int, policy string, sights []Sight) {
	if len(sights) == 0 {
		return
	}
	heading := map[string]string{PerEdge: "8 proxies, each with its own count", LeastLoad: "8 edges that ask one master"}[policy]
	fmt.Fprintf(b, `<text x="%d" y="26" fill="#e6edf3" font-size="14" font-weight="bold">%s</text>`+"\n", left, heading)
	fmt.Fprintf(b, `<text x="%d" y="44" fill="#8b949e">%s</text>`+"\n", left, policy)
	for i, v := range sights[0].Servers {
		y := panelTop + i*rowHeight
		fmt.Fprintf(b, `<text x="%d" y="%d" fill="#8b949e">%s ×%.0f</text>`+"\n", left, y+12, v.ID, v.Speed)
		moving(b, left+barLeft, y, "#3fb950", sights, func(s Sight) int { return s.Servers[i].Working })
		moving(b, left+barLeft+unit, y, "#d29922", sights, func(s Sight) int { return min(s.Servers[i].Waiting, longestQueue) })
	}
}

// moving draws a bar whose length follows the sights. Where pictures do not move, it
// shows how it was halfway.
func moving(b *strings.Builder, x, y int, color string, sights []Sight, count func(Sight) int) {
	end := sights[len(sights)-1].At
	width := func(s Sight) string { return fmt.Sprint(count(s) * unit) }
	values, times := []string{width(sights[0])}, []string{"0"}
	for _, s := range sights[1:] {
		if w := width(s); w != values[len(values)-1] {
			values, times = append(values, w), append(times, fmt.Sprintf("%.3f", float64(s.At)/float64(end)))
		}
	}
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%s" height="%d" rx="2" fill="%s">`, x, y+2, width(sights[len(sights)/2]), rowHeight-5, color)
	if len(values) > 1 {
		fmt.Fprintf(b, `<animate attributeName="width" calcMode="discrete" dur="%.1fs" repeatCount="indefinite" keyTimes="%s" values="%s"/>`,
			end.Round(100*time.Millisecond).Seconds(), strings.Join(times, ";"), strings.Join(values, ";"))
	}
	b.WriteString("</rect>\n")
}

func legend(b *strings.Builder, y int) {
	fmt.Fprintf(b, `<rect x="16" y="%d" width="12" height="12" fill="#3fb950"/><text x="34" y="%d" fill="#8b949e">in work</text>`+"\n", y-10, y)
	fmt.Fprintf(b, `<rect x="110" y="%d" width="12" height="12" fill="#d29922"/><text x="128" y="%d" fill="#8b949e">waiting at the server; a server works on one request at a time, ×2 is twice as fast</text>`+"\n", y-10, y)
}

func table(b *strings.Builder, y int, result Result) {
	columns := []int{200, 290, 380, 470, 590}
	text := func(x, y int, color, s string) {
		fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s" text-anchor="end">%s</text>`+"\n", x, y, color, s)
	}
	for i, head := range []string{"", "mean", "p50", "p99", "p99 / ideal"} {
		text(columns[i], y, "#8b949e", head)
	}
	ideal := result.Policies[slices.IndexFunc(result.Policies, func(o Outcome) bool { return o.Policy == Ideal })]
	for i, o := range result.Policies {
		y := y + (i+1)*18
		text(columns[0], y, "#e6edf3", o.Policy)
		for j, v := range []float64{o.Mean, o.P50, o.P99} {
			text(columns[j+1], y, "#e6edf3", fmt.Sprintf("%.0f ms", v))
		}
		text(columns[4], y, "#e6edf3", fmt.Sprintf("%.2f", o.P99/ideal.P99))
	}
}
