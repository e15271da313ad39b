// Package agent stands beside a server: it samples the machine and the application,
// sends what it finds to the masters as reports, and hands dispatches to the
// application.
//
//	/proc, cgroup ──────────────┐
//	Prometheus endpoint ────────┤
//	ORCA endpoint ──────────────┼─▶ board ──▶ Sender (a client.Agent) ──▶ masters
//	POST /v1/report ────────────┘
//	POST /v1/leases/{id}/done ──────────────▶ Sender
//	masters ──▶ Hook ──▶ POST to the application, which accepts or refuses
//
// What is sampled is sent once, with the next report; what the application pushes is a
// level, which holds until it pushes another, or for 10 s. A report goes out every
// Interval, and sooner when the requests in flight or a utilisation have changed much.
// Its age is that of the oldest sample in it.
//
// # Metrics
//
// Of the agent's control group where that is limited, else of the whole machine:
//
//	cpu_utilization               fraction of the CPU quota, or of all CPUs, over the last half second
//	mem_utilization               fraction of the limit, or of all memory, that could not be reclaimed
//	utilization.psi_cpu           share of time, over 10 s, in which some task waited for a CPU
//	utilization.psi_memory        … for memory
//	utilization.psi_io            … for input and output
//	utilization.psi_cpu_full      share of time in which all tasks waited; psi_memory_full and psi_io_full likewise
//
// Of the machine always:
//
//	named_metrics.load1_per_cpu   load average of a minute, divided by the number of CPUs
//	named_metrics.load5_per_cpu   of 5 minutes
//	named_metrics.load15_per_cpu  of 15 minutes
//	named_metrics.net_rx_bytes    bytes received a second, on all interfaces but loopback
//	named_metrics.net_tx_bytes    bytes sent a second
//
// The CPU, memory and network figures are taken for each report, the others once a
// second. All of this is Linux's; on macOS and FreeBSD only the load averages are
// told, elsewhere only what the application says.
//
// The application's metrics have the names it gives them. A name that is not one of
// ORCA's (package orca) and has no prefix of its maps stands under named_metrics: queue
// means named_metrics.queue.
package agent
