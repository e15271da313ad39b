package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"

	"github.com/evenkeel-lb/evenkeel/internal/demo"
)

// sightPrinter prints what the demo sees: on a terminal as bars that are drawn anew in
// place, elsewhere as a line a second.
type sightPrinter struct {
	out      io.Writer
	terminal bool
	policy   string        // that the last sight was of
	length   time.Duration // of that sight's traffic
	lines    int           // that the last drawing took
	printed  time.Duration // when the last line was printed
}

func newSightPrinter(out io.Writer) *sightPrinter {
	return &sightPrinter{out: out, terminal: terminal.Is(out)}
}

func (p *sightPrinter) show(s demo.Sight) {
	if p.length != 0 && p.length != s.Length {
		terminal.PrintLine(p.out, "\n  This machine was too busy to send the requests in time: all again, with all times doubled.\n")
	}
	if p.policy != s.Policy || p.length != s.Length {
		p.policy, p.length, p.lines, p.printed = s.Policy, s.Length, 0, 0
	}
	if p.terminal {
		p.draw(s)
		return
	}
	if s.At-p.printed < time.Second {
		return
	}
	p.printed = s.At
	terminal.PrintLine(p.out, plainSight(s))
}

// plainSight is a sight in one line.
func plainSight(s demo.Sight) string {
	working, waiting := 0, 0
	for _, v := range s.Servers {
		working += v.Working
		waiting += v.Waiting
	}
	return fmt.Sprintf("  %-17s %3.0f s   %2d of %d servers at work   waiting: %3d at servers, %3d at the master   p99 so far %5.0f ms",
		s.Policy, s.At.Seconds(), working, len(s.Servers), waiting, s.AtMaster, s.P99.Seconds()*1000)
}

// longestBar is how many waiting requests are drawn.
const longestBar = 40

func (p *sightPrinter) draw(s demo.Sight) {
	var b strings.Builder
	if p.lines > 0 {
		fmt.Fprintf(&b, terminal.CursorUp, p.lines)
	}
	line := func(format string, args ...any) {
		fmt.Fprintf(&b, format+terminal.EraseLine+"\n", args...)
		p.lines++
	}
	p.lines = 0
	line("  %s   %.1f of %.0f s   %d of %d answered   p99 so far %.0f ms", s.Policy, s.At.Seconds(), s.Length.Seconds(), s.Answered, s.Requests, s.P99.Seconds()*1000)
	for _, v := range s.Servers {
		line("  %4s ×%.0f  %s", v.ID, v.Speed, bar(v))
	}
	line("  waiting at the master: %s%d%s", terminal.Yellow, s.AtMaster, terminal.Reset)
	line("  %s█ in work  ▒ waiting at a server, though others may be idle%s", terminal.Dim, terminal.Reset)
	line("")
	_, _ = io.WriteString(p.out, b.String())
}

func bar(v demo.Presence) string {
	if v.Working == 0 {
		return terminal.Dim + "· idle" + terminal.Reset
	}
	waiting := strings.Repeat("▒", min(v.Waiting, longestBar))
	if v.Waiting > longestBar {
		waiting += "…"
	}
	return terminal.Green + "█" + terminal.Yellow + waiting + terminal.Reset
}
