package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// explainFlags are those of the explain command.
type explainFlags struct {
	api
	pool    string
	request hypothetical
	labels  []string
	asJSON  bool
}

// hypothetical is a request that nobody makes, as the API takes it.
type hypothetical struct {
	Key      string            `json:"key,omitempty"`
	Tenant   string            `json:"tenant,omitempty"`
	Location string            `json:"location,omitempty"`
	Priority int               `json:"priority,omitempty"`
	Exclude  []string          `json:"exclude,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
}

func explainCommand() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain LEASE | --pool NAME",
		Short: "say why a request went to its server, or where one would go",
		Long: `Explain asks a master why a lease went to its server, and what became of the others.
A lease is in the response header Evenkeel-Lease, in access logs and at the server.
With --pool and no lease it says which server a request would get now; nothing is
granted.

The lowest score wins. It is made of n, the requests at the server, x of which are not
ours; c, how many it works on at once; b, the time of one request alone; and sr, the
share of requests that do not fail by its fault.`,
		Example: `  evenkeel explain 3f0a00000100002a
  evenkeel explain --pool render --key user-17`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.explain(cmd, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.pool, "pool", "", "the pool that a request would be for")
	flags.StringVar(&f.request.Key, "key", "", "its key")
	flags.StringVar(&f.request.Tenant, "tenant", "", "its tenant")
	flags.StringVar(&f.request.Location, "location", "", "where its client is, in the pool's words")
	flags.IntVar(&f.request.Priority, "priority", 0, "its priority")
	flags.StringArrayVar(&f.labels, "label", nil, "a label that its server must carry, key=value; repeat for each")
	flags.StringArrayVar(&f.request.Exclude, "exclude", nil, "a server that has just failed it; repeat for each")
	flags.BoolVar(&f.asJSON, "json", false, "print what the API answers")
	f.api.add(cmd)
	return cmd
}

func (f *explainFlags) explain(cmd *cobra.Command, args []string) error {
	out := cmd.OutOrStdout()
	switch {
	case len(args) > 1, (len(args) == 1) == (f.pool != ""):
		return usagef("such as evenkeel explain 3f0a00000100002a or evenkeel explain --pool render", "explain takes either one lease or a --pool")
	case len(args) == 1:
		id, err := balance.ParseLeaseID(args[0])
		if err != nil {
			return usageError{hinted(err, "it is in the response header Evenkeel-Lease and in access logs")}
		}
		answer, err := f.call(cmd.Context(), http.MethodGet, "/v1/leases/"+id.String(), nil)
		if err != nil {
			return err
		}
		var l leaseTold
		return f.print(out, answer, &l, func() { l.print(out) })
	}
	var err error
	if f.request.Labels, err = parseLabels(f.labels); err != nil {
		return usageError{err}
	}
	answer, err := f.call(cmd.Context(), http.MethodPost, "/v1/pools/"+url.PathEscape(f.pool)+"/explain", f.request)
	if err != nil {
		return err
	}
	var d decisionTold
	return f.print(out, answer, &d, func() { d.printHypothetical(out) })
}

func (f *explainFlags) print(out io.Writer, answer []byte, into any, forPeople func()) error {
	if f.asJSON {
		var text bytes.Buffer
		if err := json.Indent(&text, answer, "", "  "); err != nil {
			return fmt.Errorf("the master's answer: %w", err)
		}
		_, err := text.WriteTo(out)
		return err
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("the master's answer: %w", err)
	}
	forPeople()
	return nil
}

// leaseTold is what the API tells of a lease.
type leaseTold struct {
	Lease, Pool, Server, Edge string
	Open                      bool
	AgeMS                     float64  `json:"age_ms"`
	ExpiresMS                 *float64 `json:"expires_ms"`
	Decision                  *decisionTold
}

// decisionTold is what the API tells of a choice.
type decisionTold struct {
	Pool, Policy, Chosen string
	Request              struct {
		Key, Tenant, Location string
		Priority              int
	}
	Waiting    int `json:"queue_length"`
	Servers    int `json:"server_count"`
	Candidates []candidateTold
}

type candidateTold struct {
	Server, Why        string
	Score              *float64
	Load, Slots        float64
	External           float64 `json:"external_load"`
	Service            float64 `json:"service_s"`
	Success            float64 `json:"success_ratio"`
	Affinity, Distance float64
	AgeMS              *float64 `json:"report_age_ms"`
}

func (l *leaseTold) print(out io.Writer) {
	if l.Decision == nil {
		printLine(out, fmt.Sprintf("lease %s went to %s; why is not kept any more", l.Lease, l.Server))
	} else {
		printLine(out, fmt.Sprintf("lease %s went to %s because %s", l.Lease, l.Server, l.Decision.because()))
	}
	state := "it is over, and was granted " + ago(l.AgeMS)
	if l.Open {
		state = "it is open, for " + people(l.AgeMS)
		if l.Edge != "" {
			state += ", held by edge " + l.Edge
		}
		if l.ExpiresMS != nil {
			state += ", and ends by itself in " + people(*l.ExpiresMS)
		}
	}
	printLine(out, fmt.Sprintf("pool %s; %s", l.Pool, state))
	if l.Decision != nil {
		l.Decision.print(out)
	}
}

// because says in one clause why the chosen server was.
func (d *decisionTold) because() string {
	var chosen *candidateTold
	drawn, among := "", fmt.Sprint(d.Servers)
	for i := range d.Candidates {
		switch c := &d.Candidates[i]; c.Why {
		case "chosen":
			chosen = c
		case "equal score, not drawn":
			drawn = ", and it was drawn among equals"
		case "higher score":
		default:
			among = "those that could take it"
		}
	}
	switch {
	case d.Servers == 1:
		return "it was the only server"
	case chosen == nil || chosen.Score == nil:
		return fmt.Sprintf("policy %s, which compares nothing, took it from %d", d.Policy, d.Servers)
	}
	return fmt.Sprintf("its score %s was the lowest of %s%s", figure(*chosen.Score), among, drawn)
}

func (d *decisionTold) printHypothetical(out io.Writer) {
	switch {
	case d.Chosen != "":
		printLine(out, fmt.Sprintf("a request to pool %s would go to %s because %s", d.Pool, d.Chosen, d.because()))
	case len(d.Candidates) > 0 && d.Candidates[0].Why == "may be chosen":
		printLine(out, fmt.Sprintf("a request to pool %s would go to any server that may be chosen: policy %s compares nothing", d.Pool, d.Policy))
	default:
		printLine(out, fmt.Sprintf("a request to pool %s would get no server now; %d %s in its queue", d.Pool, d.Waiting, wait(d.Waiting)))
	}
	d.print(out)
}

func wait(n int) string {
	if n == 1 {
		return "waits"
	}
	return "wait"
}

// print tells the request's facts and every candidate, those with others behind them first.
func (d *decisionTold) print(out io.Writer) {
	for _, fact := range []struct{ name, value string }{{"key", d.Request.Key}, {"tenant", d.Request.Tenant}, {"location", d.Request.Location}} {
		if fact.value != "" {
			printLine(out, fmt.Sprintf("%s %q", fact.name, fact.value))
		}
	}
	if d.Request.Priority != 0 {
		printLine(out, fmt.Sprintf("priority %d", d.Request.Priority))
	}
	if len(d.Candidates) == 0 {
		return
	}
	printLine(out, "")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "server\twhy\tscore\tn\tx\tc\tb\tsr\taffinity\tdistance\treported")
	for _, c := range d.Candidates {
		score, reported := "-", "never"
		if c.Score != nil {
			score = figure(*c.Score)
		}
		if c.AgeMS != nil {
			reported = ago(*c.AgeMS)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Server, c.Why, score, figure(c.Load), figure(c.External), figure(c.Slots),
			figure(c.Service), figure(c.Success), figure(c.Affinity), figure(c.Distance), reported)
	}
	_ = w.Flush() // nobody is left to tell if the terminal is gone
	if rest := d.Servers - len(d.Candidates); rest > 0 {
		printLine(out, fmt.Sprintf("and %d further from being chosen", rest))
	}
}

func figure(v float64) string { return fmt.Sprintf("%.3g", v) }

func ago(ms float64) string { return people(ms) + " ago" }

// people writes milliseconds as people read them.
func people(ms float64) string {
	d := time.Duration(ms * float64(time.Millisecond))
	switch {
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
