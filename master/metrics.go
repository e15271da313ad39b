package master

import (
	"net/http"
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/histogram"
	"github.com/evenkeel-lb/evenkeel/internal/logs"
)

// metric is one family; docs/metrics.md documents them.
type metric struct {
	desc       *prometheus.Desc
	kind       prometheus.ValueType
	name, help string
}

func family(kind prometheus.ValueType, name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("evenkeel_"+name, help, labels, nil), kind, "evenkeel_" + name, help}
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

var (
	picksTotal      = family(counter, "picks_total", "Answers to asks for a server, by verdict: granted, or the reason of the refusal. Asks for unknown pools have an empty pool.", "pool", "verdict")
	chosenTotal     = family(counter, "local_choices_total", "Requests whose edge chose the server by itself and told this master afterwards, because asking takes longer than it wins.", "pool")
	localFrom       = family(gauge, "local_choice_trip_seconds", "The trip to this master from which edges choose servers by themselves. 0: they ask.", "pool")
	canaryShare     = family(gauge, "canary_share_ratio", "Part of the pool's requests that its canary is to get. Absent without one.", "pool")
	canaryRequests  = family(counter, "canary_requests_total", "Requests that took part in the pool's share, by the servers that got them: canary or others. Absent without one.", "pool", "servers")
	canaryHeld      = family(gauge, "canary_held_back", "1 while the pool's canary gets nothing because it is worse than the others, else 0. Absent without one.", "pool")
	pickSeconds     = family(counter, "pick_duration_seconds", "Time from reading an ask to its answer, including the waits in the queue and for dispatched servers.", "pool")
	queueLength     = family(gauge, "queue_length", "Requests that wait because every server is at its limit.", "pool")
	queueSeconds    = family(counter, "queue_wait_duration_seconds", "Time that requests were in the queue, by how the wait ended: served, shed (the deadline or the longest wait came first), displaced (when the queue was full), withdrawn by the edge, or pool-removed.", "pool", "end")
	leasesOpen      = family(gauge, "leases_open", "Leases granted and not ended.", "pool")
	leasesForeign   = family(counter, "lease_words_refused_total", "Messages about leases that were refused because the sender does not own the lease, by source (an edge, an agent, the API or the edge in this process) and by word (done, hold or chosen).", "pool", "source", "word")
	reportsTotal    = family(counter, "reports_total", "Load reports, by source and by whether they were kept completely, flawed (in part or wholly implausible), or foreign (an agent's about another agent's server). Reports for unknown pools have an empty pool and source.", "pool", "source", "result")
	dispatchesTotal = family(counter, "dispatches_total", "Servers told to perform a request before the edge was answered, by verdict.", "pool", "verdict")
	checksTotal     = family(counter, "health_checks_total", "Checks of servers, by result.", "pool", "result")
	connections     = family(gauge, "connections", "Open connections, by the peer's role; new ones have not said hello yet.", "role")
	peersRefused    = family(counter, "peers_refused_total", "Connections refused for what the peer could not prove, or that gave this master up for its own certificate, by reason.", "reason")
	certificateEnds = family(gauge, "certificate_expiry_timestamp_seconds", "When this master's certificate comes to its end, in seconds since 1970. Absent without one.")
	issuerEnds      = family(gauge, "issuer_expiry_timestamp_seconds", "When the issuer by which this master signs agents' certificates comes to its end, in seconds since 1970. Absent without one.")
	enrolments      = family(counter, "enrolments_total", "Certificates that agents asked this master for, by a token or by the certificate that they had, and what became of it: done, refused or failed. Absent if it signs none.", "by", "result")
	peersBounded    = family(counter, "peers_over_limit_total", "Peers that met a bound of master.limits and were refused or parted from, by role (new ones have not said hello yet) and bound: number, bytes of frames that have not come whole, or watches.", "role", "bound")
	frameBytes      = family(gauge, "unfinished_frame_bytes", "Bytes kept of frames that have not come whole, beyond 4 KiB of each peer, by role.", "role")
	poolLeader      = family(gauge, "pool_leader", "1 if this master leads the pool, 0 if it stands by. Always 1 without an election.", "pool")
	poolFence       = family(gauge, "pool_fence", "The fencing number of this master's lead of the pool, 0 if it does not lead. Absent without an election.", "pool")
	fenceRefused    = family(gauge, "pool_fence_refused", "The larger fencing number for which edges and agents refuse this master's lead, since the election's store has lost data; 0 if they do not. Absent without an election.", "pool")
	leaderChanges   = family(counter, "pool_leader_changes_total", "Changes of the pool's leader that this master has seen. Absent without an election.", "pool")
	nameLookups     = family(counter, "name_lookups_total", "Look-ups of servers' names, by result: good, or failed (no answer, or no such name).", "result")
	namesFailing    = family(gauge, "names_failing", "Servers' names that could not be looked up last; where they led before stays in use.")
	reloadGood      = family(gauge, "last_reload_successful", "1 if the last reload of the file was good, or there was none; 0 if it failed and the settings of before stay.")
	logDropped      = family(counter, strings.TrimPrefix(logs.DroppedMetric, "evenkeel_"), logs.DroppedHelp)
	buildInfo       = family(gauge, "build_info", "Always 1; the labels tell the version.", "version", "goversion")

	serverUp          = family(gauge, "server_up", "1 if the server may be given work, 0 if it is draining, ejected or gone.", "pool", "server")
	serverInFlight    = family(gauge, "server_in_flight", "Open leases on the server.", "pool", "server")
	serverExternal    = family(gauge, "server_external_load", "Requests at the server that are not ours, as far as reports tell.", "pool", "server")
	serverSlots       = family(gauge, "server_slots", "Requests the server works on at once, declared, learnt or assumed.", "pool", "server")
	serverService     = family(gauge, "server_service_seconds", "Time of one request alone at the server; relative to the pool's mean while nothing is learnt.", "pool", "server")
	serverScore       = family(gauge, "server_score", "What the policy compares; the lowest is chosen. Absent if the policy compares nothing.", "pool", "server")
	serverSuccess     = family(gauge, "server_success_ratio", "Share of recent requests that did not fail by the server's fault.", "pool", "server")
	serverFull        = family(gauge, "server_full", "1 while the server is held to the requests it has, as it says that it is full; 0 otherwise.", "pool", "server")
	serverOut         = family(gauge, "server_out", "1 for each reason why the server gets nothing, or less than its share. Absent for all others.", "pool", "server", "reason")
	serverUnreached   = family(gauge, "server_unreached_edges", "Edges that could not reach the server when they tried last, and do not get it.", "pool", "server")
	serverUtilization = family(gauge, "server_utilization_ratio", "Reported utilisation: the application's or else the CPU's. Absent if not reported.", "pool", "server")
	serverGrants      = family(counter, "server_grants_total", "Leases ever granted on the server.", "pool", "server")
	serverReportAge   = family(gauge, "server_report_age_seconds", "Age of the newest reported metric. Absent if there is none.", "pool", "server")
)

var families = []metric{picksTotal, chosenTotal, localFrom, canaryShare, canaryRequests, canaryHeld, pickSeconds, queueLength, queueSeconds, leasesOpen, leasesForeign, reportsTotal, dispatchesTotal, checksTotal, connections, peersRefused, peersBounded, frameBytes, certificateEnds, issuerEnds, enrolments, poolLeader, poolFence, fenceRefused, leaderChanges, nameLookups, namesFailing, logDropped, reloadGood, buildInfo, serverUp,
	serverInFlight, serverExternal, serverSlots, serverService, serverScore, serverSuccess, serverFull, serverUnreached, serverUtilization, serverGrants, serverReportAge, serverOut}

// collector reads the pools when it is scraped.
type collector struct{ master *Master }

func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, f := range families {
		out <- f.desc
	}
}

// put requires labels in UTF-8: an invalid one would break the whole scrape. Peers' names are validated when
// they come in.
func (f metric) put(out chan<- prometheus.Metric, value float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
}

func (f metric) putAll(out chan<- prometheus.Metric, h *histogram.Histogram, s *histogram.Scale, labels ...string) {
	count, sum, buckets := h.Cumulative(s)
	out <- prometheus.MustNewConstHistogram(f.desc, count, sum, buckets, labels...)
}

func (c collector) Collect(out chan<- prometheus.Metric) {
	m := c.master
	buildInfo.put(out, 1, m.version, runtime.Version())
	logDropped.put(out, float64(m.logDropped()))
	reloadGood.put(out, oneIf(m.reloadFailed() == ""))
	for r := range roles {
		connections.put(out, float64(m.peers.counts[r].Load()), roleNames[r])
	}
	for r := range roles {
		for b := range allBounds {
			if (b == byNumber || r != roleNew) && (b != byWatches || r == roleEdge) {
				peersBounded.put(out, float64(m.peers.bounded[r][b].Load()), roleNames[r], boundNames[b])
			}
		}
		if r != roleNew {
			frameBytes.put(out, float64(m.peers.accounts[r].bytes.Load()), roleNames[r])
		}
	}
	good, failed := m.names.Counts()
	nameLookups.put(out, float64(good), "good")
	nameLookups.put(out, float64(failed), "failed")
	namesFailing.put(out, float64(m.names.Failing()))
	m.refusals.Each(func(reason string, n uint64) { peersRefused.put(out, float64(n), reason) })
	if ends := m.trust.Ends(); ends > 0 {
		certificateEnds.put(out, ends)
	}
	m.enrolment.collect(out)
	picksTotal.put(out, float64(m.unknownPoolAsks.Load()), "", balance.UnknownPool.String())
	reportsTotal.put(out, float64(m.unknownPoolReports.Load()), "", "", "unknown-pool")
	for _, p := range m.pools.Load().list {
		p.collect(out)
	}
}

func (e *enrolment) collect(out chan<- prometheus.Metric) {
	if e == nil {
		return
	}
	issuerEnds.put(out, e.Signer.Ends())
	for way := range e.counts {
		for result := range e.counts[way] {
			enrolments.put(out, float64(e.counts[way][result].Load()), enrolWayNames[way], enrolResultNames[result])
		}
	}
}

func (p *pool) collect(out chan<- prometheus.Metric) {
	p.mu.Lock()
	now := clock.Now()
	leading, led := p.isLeadingLocked(now), p.lead
	canary, hasCanary := p.core.CanaryView(now)
	t, open, waiting, local := p.stats, p.core.Open(), p.core.Waiting(), p.core.LocalFrom()
	p.mu.Unlock()

	collectLead(out, p.name, leading, led)
	if hasCanary {
		canaryShare.put(out, canary.Part, p.name)
		canaryRequests.put(out, float64(canary.Got), p.name, "canary")
		canaryRequests.put(out, float64(canary.Requests-canary.Got), p.name, "others")
		canaryHeld.put(out, oneIf(canary.Held), p.name)
	}
	chosenTotal.put(out, float64(t.chosen), p.name)
	localFrom.put(out, local.Seconds(), p.name)
	leasesOpen.put(out, float64(open), p.name)
	queueLength.put(out, float64(waiting), p.name)
	for v, n := range t.picks {
		picksTotal.put(out, float64(n), p.name, verdictName(v))
	}
	for s, byResult := range t.reports {
		for r, n := range byResult {
			reportsTotal.put(out, float64(n), p.name, sourceNames[s], resultNames[r])
		}
	}
	for s, byWord := range t.foreignLeases {
		for w, n := range byWord {
			leasesForeign.put(out, float64(n), p.name, sourceNames[s], leaseClaimNames[w])
		}
	}
	for v, n := range t.dispatches {
		dispatchesTotal.put(out, float64(n), p.name, outcomeNames[v])
	}
	for l, n := range t.checks {
		checksTotal.put(out, float64(n), p.name, checkResultNames[l])
	}
	pickSeconds.putAll(out, &t.answerTimes, answerScale, p.name)
	for end := range t.queueTimes {
		h := &t.queueTimes[end]
		if h.Count() == 0 && waitEnd(end) != served && waitEnd(end) != shed {
			continue // many pools never see the others
		}
		queueSeconds.putAll(out, h, queueScale, p.name, waitEndNames[end])
	}
}

func collectLead(out chan<- prometheus.Metric, pool string, leading bool, l lead) {
	one := 0.
	if leading {
		one = 1
	}
	poolLeader.put(out, one, pool)
	if l.elected {
		poolFence.put(out, float64(l.fence), pool)
		fenceRefused.put(out, float64(l.refused), pool)
		leaderChanges.put(out, float64(l.changes), pool)
	}
}

// newMetrics returns the handler of /metrics, on a registry of the master's own.
func (m *Master) newMetrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{m}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// Compressing the metrics of 10,000 servers takes ten times as long as writing them.
	rest := promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		plain := r.Clone(r.Context())
		plain.Header.Set("Accept", "text/plain") // the format of the servers' metrics too
		rest.ServeHTTP(w, plain)
		m.writeServers(w)
	})
}

// oneIf returns a condition as a gauge's value.
func oneIf(so bool) float64 {
	if so {
		return 1
	}
	return 0
}
