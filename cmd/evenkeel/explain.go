package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// explainFlags are those of the explain command.
type explainFlags struct {
	api
	pool    string
	server  string
	request hypothetical
	labels  []string
	asJSON  bool
}

// hypothetical is a request that is not sent, as the API takes it.
type hypothetical struct {
	Key      string            `json:"key,omitempty"`
	Tenant   string            `json:"tenant,omitempty"`
	Location string            `json:"location,omitempty"`
	Priority int               `json:"priority,omitempty"`
	Exclude  []string          `json:"exclude,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Size     float64           `json:"size,omitempty"`
	Class    string            `json:"class,omitempty"`
}

func explainCommand() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain REQUEST | LEASE | --pool NAME | --server ID",
		Short: "explain why a request went to its server, where one would go, or why a server gets no requests",
		Long: `Explain asks a master why a request went to its server, and what became of the others.
Its id is in the response header X-Request-Id and in access logs. A lease will do too: it
is in access logs, at the server and, of a redirect, in the response header Evenkeel-Lease.
With --pool alone it says which server a request would get now; nothing is granted.
With --server it says why that server got nothing, or little, in the last minute.

The lowest score wins. It is made of n, the requests at the server, x of which are not
ours; c, how many it works on at once; b, the time of one request alone; g, how many times
as long it takes beside the others that are there; and sr, the share of requests that do
not fail by its fault. "told" is the c that was declared or reported, "limit" how many
requests the server may have now, and "room" how many more. "b from" and "c from" say what
b and c rest on now: samples, and how long ago the last was. docs/choosing.md has the
formula, and scores worked by hand.

Where requests are chosen for by the work that they are expected to be, the columns "left"
to "price" show what the score is made of instead: the work that the server has left, the
time that the request would take there, its wait included, that time over a mean request's
(it counts cubed), what the requests that are there would lose, and the price of the
server's time.`,
		Example: `  evenkeel explain 5f0c9d0e3f434c929b0a3c1f4b7a9d11
  evenkeel explain --server r2
  evenkeel explain --pool render --key user-17`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.explain(cmd, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.pool, "pool", "", "the pool that a request would be for, or that the server is in")
	flags.StringVar(&f.server, "server", "", "a server that got nothing, or little")
	flags.StringVar(&f.request.Key, "key", "", "its key")
	flags.StringVar(&f.request.Tenant, "tenant", "", "its tenant")
	flags.StringVar(&f.request.Location, "location", "", "the client's location, as the pool names it")
	flags.IntVar(&f.request.Priority, "priority", 0, "its priority")
	flags.Float64Var(&f.request.Size, "size", 0, "how much work it is, in the pool's unit")
	flags.StringVar(&f.request.Class, "class", "", "its class")
	flags.StringArrayVar(&f.labels, "label", nil, "a label that its server must carry, key=value; repeat for each")
	flags.StringArrayVar(&f.request.Exclude, "exclude", nil, "a server that has just failed it; repeat for each")
	flags.BoolVar(&f.asJSON, "json", false, "print what the API answers")
	f.api.add(cmd)
	completeFlag(cmd, "pool", f.poolNames)
	completeFlag(cmd, "server", func(ctx context.Context) []string { return f.knownServers(ctx, f.pool) })
	return cmd
}

func (f *explainFlags) explain(cmd *cobra.Command, args []string) error {
	out := cmd.OutOrStdout()
	switch {
	case len(args) > 1, (len(args) == 1) == (f.pool != "" || f.server != ""):
		return hint.Usagef("such as evenkeel explain 5f0c9d0e3f434c92, evenkeel explain --pool render or evenkeel explain --server r2", "explain takes either one request or lease, or a --pool, or a --server")
	case len(args) == 1:
		return f.one(cmd.Context(), out, args[0])
	case f.server != "":
		return f.losses(cmd.Context(), out)
	}
	var err error
	if f.request.Labels, err = settings.ParseLabels(f.labels); err != nil {
		return hint.Usage(err)
	}
	answer, err := f.call(cmd.Context(), http.MethodPost, "/v1/pools/"+url.PathEscape(f.pool)+"/explain", f.request)
	if err != nil {
		return err
	}
	var d decisionAnswer
	return printAnswer(out, answer, f.asJSON, &d, func() { d.printHypothetical(out) })
}

// one explains a request or a lease.
func (f *explainFlags) one(ctx context.Context, out io.Writer, id string) error {
	untagged := id
	if tagged, err := balance.ParseTaggedLease(id); err == nil {
		untagged = tagged.ID.String() // to ask takes no proof
	}
	if lease, err := balance.ParseLeaseID(untagged); err == nil {
		answer, err := f.call(ctx, http.MethodGet, "/v1/leases/"+lease.String(), nil)
		if err == nil {
			var l leaseAnswer
			return printAnswer(out, answer, f.asJSON, &l, func() { l.print(out) })
		}
		if !refusedFor(err, "unknown-lease") {
			return err
		}
		answer, again := f.call(ctx, http.MethodGet, "/v1/requests/"+url.PathEscape(id), nil) // an id of as many digits
		switch {
		case again == nil:
			return f.printRequest(out, id, answer)
		case lease.String() != id && refusedFor(again, "unknown-request"):
			return again // as long as a request's id
		}
		return err
	}
	answer, err := f.call(ctx, http.MethodGet, "/v1/requests/"+url.PathEscape(id), nil)
	if err != nil {
		return err
	}
	return f.printRequest(out, id, answer)
}

func (f *explainFlags) printRequest(out io.Writer, id string, answer []byte) error {
	var told struct {
		Decisions []decisionAnswer
		Refusals  []refusalAnswer
	}
	return printAnswer(out, answer, f.asJSON, &told, func() {
		for i := range told.Decisions {
			d := &told.Decisions[len(told.Decisions)-1-i] // oldest first
			if i > 0 {
				terminal.PrintLine(out, "")
			}
			age := ""
			if d.AgeMS != nil {
				age = ", " + ago(*d.AgeMS)
			}
			terminal.PrintLine(out, fmt.Sprintf("request %s went to %s because %s", id, d.Chosen, d.because()))
			terminal.PrintLine(out, fmt.Sprintf("pool %s; lease %s%s", d.Pool, d.Lease, age))
			d.print(out)
		}
		for i := range told.Refusals {
			if i > 0 || len(told.Decisions) > 0 {
				terminal.PrintLine(out, "")
			}
			told.Refusals[len(told.Refusals)-1-i].printFor(out, id)
		}
	})
}

// refusalAnswer is the API's answer about a request that got no server.
type refusalAnswer struct {
	Pool, Reason, Detail string
	AgeMS                float64 `json:"age_ms"`
	WaitedMS             float64 `json:"waited_ms"`
}

func (r *refusalAnswer) printFor(out io.Writer, id string) {
	waited := "at once"
	if r.WaitedMS > 0 {
		waited = "after " + people(r.WaitedMS) + " in the queue"
	}
	if r.Reason == balance.Overflowed.String() {
		terminal.PrintLine(out, fmt.Sprintf("request %s went on from pool %s %s, %s", id, r.Pool, waited, ago(r.AgeMS)))
	} else {
		terminal.PrintLine(out, fmt.Sprintf("request %s was refused by pool %s %s, %s: %s", id, r.Pool, waited, ago(r.AgeMS), r.Reason))
	}
	if r.Detail != "" {
		terminal.PrintLine(out, r.Detail)
	}
}

// losses explains why a server got nothing, or little.
func (f *explainFlags) losses(ctx context.Context, out io.Writer) error {
	pool := f.pool
	if pool == "" {
		var err error
		if pool, err = f.poolOf(ctx, f.server); err != nil {
			return err
		}
	}
	answer, err := f.call(ctx, http.MethodGet, "/v1/pools/"+url.PathEscape(pool)+"/servers/"+url.PathEscape(f.server)+"/explain", nil)
	if err != nil {
		return err
	}
	var l lossesAnswer
	return printAnswer(out, answer, f.asJSON, &l, func() { l.print(out) })
}

// poolOf finds the one pool that has the server.
func (a *api) poolOf(ctx context.Context, id string) (string, error) {
	answer, err := a.call(ctx, http.MethodGet, "/v1/status", nil)
	if err != nil {
		return "", err
	}
	var s statusAnswer
	if err := json.Unmarshal(answer, &s); err != nil {
		return "", fmt.Errorf("the master's answer: %w", err)
	}
	var pools []string
	for _, p := range s.Pools {
		for _, server := range p.Servers {
			if server.ID == id {
				pools = append(pools, p.Name)
			}
		}
	}
	switch len(pools) {
	case 0:
		return "", hint.With(fmt.Errorf("no pool has a server %q", id), "evenkeel status lists the servers")
	case 1:
		return pools[0], nil
	}
	return "", hint.Usagef("such as --pool "+pools[0], "the pools %s have a server %s each: name one by --pool", strings.Join(pools, ", "), id)
}

// lossesAnswer is the API's answer about a server's last minute.
type lossesAnswer struct {
	Pool, Server, State string
	Reason              string
	OverS               float64 `json:"over_s"`
	Requests, Won       uint64
	Refused             uint64
	Lost                []struct {
		Why   string
		Count uint64
	}
	Now decisionAnswer
}

func (l *lossesAnswer) print(out io.Writer) {
	if l.Requests == 0 {
		terminal.PrintLine(out, fmt.Sprintf("server %s of pool %s is %s; the pool gave no request to any server in the last %s%s", l.Server, l.Pool, cmp.Or(l.Reason, l.State), forSeconds(l.OverS), l.refused()))
	} else {
		terminal.PrintLine(out, fmt.Sprintf("server %s of pool %s is %s, and got %d of the %d picks of the last %s (a request that is tried at two servers is two)%s", l.Server, l.Pool, cmp.Or(l.Reason, l.State), l.Won, l.Requests, forSeconds(l.OverS), l.refused()))
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, loss := range l.Lost {
			fmt.Fprintf(w, "%d\t  %s\n", loss.Count, loss.Why)
		}
		_ = w.Flush()
	}
	terminal.PrintLine(out, "")
	l.Now.partly = true
	l.Now.printHypothetical(out)
}

// refused says how many requests got no server.
func (l *lossesAnswer) refused() string {
	if l.Refused == 0 {
		return ""
	}
	return fmt.Sprintf("; %d more %s got no server", l.Refused, terminal.Plural(int(l.Refused), "request"))
}

// leaseAnswer is the API's answer about a lease.
type leaseAnswer struct {
	Lease, Pool, Server, Edge string
	Open                      bool
	AgeMS                     float64  `json:"age_ms"`
	ExpiresMS                 *float64 `json:"expires_ms"`
	Decision                  *decisionAnswer
}

// decisionAnswer is the API's answer about a choice.
type decisionAnswer struct {
	Lease, Pool, Policy, Chosen, Note string
	AgeMS                             *float64 `json:"age_ms"`
	Request                           struct {
		Key, Tenant, Location string
		Belief                string `json:"tenant_belief"`
		Priority              int
		Size                  float64
		Class                 string
	}
	Work       float64
	Mean       float64 `json:"mean_work"`
	Waiting    int     `json:"queue_length"`
	Servers    int     `json:"server_count"`
	Candidates []candidateAnswer
	partly     bool // the answer has only some candidates, not the first ones
}

type candidateAnswer struct {
	Server, Why        string
	Score              *float64
	Weighed            *weighedAnswer `json:"by_work"`
	Load, Slots        float64
	External           float64  `json:"external_load"`
	Pools              []string `json:"other_pools"`
	Elsewhere          int      `json:"other_pools_in_flight"`
	Service            float64  `json:"service_s"`
	Growth             float64  `json:"growth"`
	Samples            float64  `json:"service_samples"`
	SampleMS           *float64 `json:"service_age_ms"`
	SlotsBy            string   `json:"slots_from"`
	Told               *float64 `json:"slots_told"`
	Limit              *float64
	Room               *float64
	Success            float64 `json:"success_ratio"`
	Affinity, Distance float64
	AgeMS              *float64 `json:"report_age_ms"`
	Health, Doubt      string
	Overrides          []overrideAnswer
}

// weighedAnswer is what the score of a choice by work is made of.
type weighedAnswer struct {
	Left               float64 `json:"work_left"`
	Time               float64 `json:"expected_s"`
	Stay, Slows, Price float64
}

// cells are the columns of a choice by work.
func (w *weighedAnswer) cells() string {
	if w == nil {
		return "-\t-\t-\t-\t-\t"
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t", figure(w.Left), people(w.Time*1000), figure(w.Stay), figure(w.Slows), figure(w.Price))
}

func (l *leaseAnswer) print(out io.Writer) {
	if l.Decision == nil {
		terminal.PrintLine(out, fmt.Sprintf("lease %s went to %s; why is not kept any more", l.Lease, l.Server))
	} else {
		terminal.PrintLine(out, fmt.Sprintf("lease %s went to %s because %s", l.Lease, l.Server, l.Decision.because()))
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
	terminal.PrintLine(out, fmt.Sprintf("pool %s; %s", l.Pool, state))
	if l.Decision != nil {
		l.Decision.print(out)
	}
}

// because says in one clause why the chosen server was.
func (d *decisionAnswer) because() string {
	var chosen *candidateAnswer
	turn, among := "", fmt.Sprint(d.Servers)
	for i := range d.Candidates {
		switch c := &d.Candidates[i]; c.Why {
		case "chosen":
			chosen = c
		case "equal score, its turn comes later":
			turn = ", and among equals it was its turn"
		case "higher score":
		default:
			among = "those that could take it"
		}
	}
	switch {
	case d.Servers == 1 && d.Note != "":
		return "it was the only server; " + d.Note
	case d.Servers == 1:
		return "it was the only server"
	case chosen == nil || chosen.Score == nil:
		because := fmt.Sprintf("policy %s, which compares nothing, took it from %d", d.Policy, d.Servers)
		if d.Note != "" {
			because += "; " + d.Note
		}
		return because
	}
	by := ""
	if d.Work != 0 {
		by = " by work"
	}
	because := fmt.Sprintf("its score %s%s was the lowest of %s%s", figure(*chosen.Score), by, among, turn)
	if d.Note != "" {
		because += "; " + d.Note
	}
	return because
}

func (d *decisionAnswer) printHypothetical(out io.Writer) {
	switch {
	case d.Chosen != "":
		terminal.PrintLine(out, fmt.Sprintf("a request to pool %s would go to %s because %s", d.Pool, d.Chosen, d.because()))
	case len(d.Candidates) > 0 && d.Candidates[0].Why == "may be chosen":
		terminal.PrintLine(out, fmt.Sprintf("a request to pool %s would go to any server that may be chosen: policy %s compares nothing", d.Pool, d.Policy))
	default:
		terminal.PrintLine(out, fmt.Sprintf("a request to pool %s would get no server now; %d %s in its queue", d.Pool, d.Waiting, wait(d.Waiting)))
		if d.Note != "" {
			terminal.PrintLine(out, d.Note)
		}
	}
	if d.allOut() {
		terminal.PrintLine(out, "every server of the pool is out, as said below: a request is still tried at one, and refused if that fails")
	}
	d.print(out)
}

// allOut reports whether every server of the pool gets no requests, as far as their states say.
func (d *decisionAnswer) allOut() bool {
	if len(d.Candidates) == 0 || len(d.Candidates) != d.Servers {
		return false
	}
	for _, c := range d.Candidates {
		kind, _, _ := strings.Cut(c.Health, " ")
		if !slices.Contains([]string{balance.OutGone.String(), balance.OutUnhealthy.String(), balance.OutUnreachable.String(), balance.OutEjected.String(), balance.OutSilent.String()}, kind) {
			return false
		}
	}
	return true
}

// printTenant prints the request's tenant, and whether it is proven.
func (d *decisionAnswer) printTenant(out io.Writer) {
	switch tenant, belief := d.Request.Tenant, d.Request.Belief; {
	case belief == balance.Disbelieved.String() && tenant == "":
		terminal.PrintLine(out, "tenant not proven: the request shares a line with all such")
	case belief == balance.Disbelieved.String():
		terminal.PrintLine(out, fmt.Sprintf("tenant %q, which is not proven: the request shares a line with all such", tenant))
	case belief == balance.Proven.String():
		terminal.PrintLine(out, fmt.Sprintf("tenant %q, proven", tenant))
	case tenant != "":
		terminal.PrintLine(out, fmt.Sprintf("tenant %q", tenant))
	}
}

func wait(n int) string {
	if n == 1 {
		return "waits"
	}
	return "wait"
}

// print prints the request's facts and every candidate, those with others behind them first.
func (d *decisionAnswer) print(out io.Writer) {
	d.printTenant(out)
	for _, fact := range []struct{ name, value string }{{"key", d.Request.Key}, {"location", d.Request.Location}, {"class", d.Request.Class}} {
		if fact.value != "" {
			terminal.PrintLine(out, fmt.Sprintf("%s %q", fact.name, fact.value))
		}
	}
	if d.Request.Priority != 0 {
		terminal.PrintLine(out, fmt.Sprintf("priority %d", d.Request.Priority))
	}
	if d.Request.Size != 0 {
		terminal.PrintLine(out, fmt.Sprintf("size %g", d.Request.Size))
	}
	if d.Work != 0 {
		terminal.PrintLine(out, fmt.Sprintf("by work: it is expected to be %s, where a request of the usual size is 1 and the mean %s", figure(d.Work), figure(d.Mean)))
	}
	if len(d.Candidates) == 0 {
		return
	}
	terminal.PrintLine(out, "")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	work := ""
	if d.Work != 0 {
		work = "left\texpected\tstay\tslows\tprice\t"
	}
	fmt.Fprintln(w, "server\twhy\tscore\t"+work+"n\tx\tlimit\troom\tc\ttold\tb\tg\tsr\taffinity\tdistance\treported\tb from\tc from")
	for _, c := range d.Candidates {
		score, reported := "-", "never"
		if c.Score != nil {
			score = figure(*c.Score)
		}
		if c.AgeMS != nil {
			reported = ago(*c.AgeMS)
		}
		if d.Work != 0 {
			work = c.Weighed.cells()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Server, c.Why, score, work, figure(c.Load), figure(c.External), figureOr(c.Limit), figureOr(c.Room), figure(c.Slots), figureOr(c.Told),
			figure(c.Service), figure(c.Growth), figure(c.Success), figure(c.Affinity), figure(c.Distance), reported, c.serviceFrom(), c.SlotsBy)
	}
	_ = w.Flush() // a terminal that is gone needs no error
	for _, c := range d.Candidates {
		if c.Health != "" {
			terminal.PrintLine(out, fmt.Sprintf("%s: %s", c.Server, c.Health))
		}
		if len(c.Pools) > 0 {
			terminal.PrintLine(out, fmt.Sprintf("%s stands in %s too: %d of its requests are from there", c.Server, pluralPools(c.Pools), c.Elsewhere))
		}
		for i := range c.Overrides {
			terminal.PrintLine(out, fmt.Sprintf("%s: %s", c.Server, c.Overrides[i].words()))
		}
		if c.Doubt != "" {
			terminal.PrintLine(out, fmt.Sprintf("%s contradicts itself: %s", c.Server, c.Doubt))
		}
	}
	if rest := d.Servers - len(d.Candidates); rest > 0 && !d.partly {
		terminal.PrintLine(out, fmt.Sprintf("and %d further from being chosen", rest))
	}
}

// pluralPools names pools.
func pluralPools(names []string) string {
	if len(names) == 1 {
		return "pool " + names[0]
	}
	return "pools " + strings.Join(names, ", ")
}

// serviceFrom says what b rests on.
func (c *candidateAnswer) serviceFrom() string {
	if c.SampleMS == nil {
		return "the pool's mean"
	}
	return fmt.Sprintf("%.0f, %s", c.Samples, ago(*c.SampleMS))
}

func figure(v float64) string { return fmt.Sprintf("%.3g", v) }

// figureOr is figure of what may be absent.
func figureOr(v *float64) string {
	if v == nil {
		return "-"
	}
	return figure(*v)
}

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
