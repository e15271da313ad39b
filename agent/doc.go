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
// # Whose CPU it is
//
// The application is whoever listens at the server's address: the socket is found in
// /proc/net/tcp, the processes that hold it by their descriptors, and their control group in
// /proc/PID/cgroup. Its group is the service or scope that it is in, else the group itself; where a
// group on the way to the root has a quota of less than the machine has, the one with the smallest is sampled,
// since that is what limits it. A proxy in front of workers counts for them if it shares their group.
// The application is looked for again every 2 s, and at once when its group has ended.
//
// No CPU is reported, and a warning says why, where the group is not the application's alone:
// the root group, a slice, a login session or the service manager's; where the processes that
// listen are in several groups; and where they cannot be seen: nothing listens, the
// address is another machine's, or they belong to another user or PID namespace. A group or a process
// that the configuration names is taken as it is.
//
// # Metrics
//
// Of the application's control group:
//
//	cpu_utilization               fraction of the quota, or else of the CPUs that it may use, over the last half second
//	mem_utilization               fraction of its memory limit that could not be reclaimed; without a limit of the machine's memory, whoever uses it
//	utilization.psi_cpu           share of time, over 10 s, in which some task of it waited for a CPU; with cgroup v1 of the machine
//	utilization.psi_memory        … for memory
//	utilization.psi_io            … for input and output
//	utilization.psi_cpu_full      share of time in which all tasks waited; psi_memory_full and psi_io_full likewise
//
// Of the machine:
//
//	named_metrics.load1_per_cpu   load average of a minute, divided by the number of CPUs
//	named_metrics.load5_per_cpu   of 5 minutes
//	named_metrics.load15_per_cpu  of 15 minutes
//	named_metrics.net_rx_bytes    bytes received a second, on all interfaces but loopback
//	named_metrics.net_tx_bytes    bytes sent a second
//
// The CPU is sampled for each report, the others once a second. All of this is Linux's; on macOS
// and FreeBSD only the load averages are told, elsewhere only what the application says.
//
// The application's metrics have the names it gives them. A name that is not one of
// ORCA's (package orca) and has no prefix of its maps stands under named_metrics: queue
// means named_metrics.queue.
package agent
