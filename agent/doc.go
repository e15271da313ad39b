// Package agent runs beside a server: it samples the machine and the application, sends the samples to the masters as reports, and passes
// dispatches to the application.
//
//	/proc, cgroup ──────────────┐
//	Prometheus endpoint ────────┤
//	ORCA endpoint ──────────────┼─▶ board ──▶ Sender (a client.Agent) ──▶ masters
//	POST /v1/report ────────────┘
//	POST /v1/leases/{id}/done ──────────────▶ Sender
//	masters ──▶ Hook ──▶ POST to the application, which accepts or refuses
//
// A sample is sent once, with the next report. A value that the application pushes is valid until it pushes another, or for 10 s. A report
// goes out every Interval, and sooner when the requests in flight or a utilisation have changed much. Its age is that of the oldest sample
// in it.
//
// # Whose CPU it is
//
// The application is the process that listens at the server's address: the agent finds the socket in /proc/net/tcp, the processes that hold
// it by their descriptors, and their control group in /proc/PID/cgroup. The application's group is its service or scope, else the group
// itself. If a group on the path to the root has a CPU quota below the machine's capacity, the group with the smallest quota is sampled,
// because that one limits the application. A proxy in front of workers represents them if it is in their group. The agent looks for the
// application again every 2 s, and immediately when its group has ended.
//
// No CPU is reported, and a warning says why, if other programs share the group: the root group, a slice, a login session or the service
// manager's; if the processes that listen are in several groups; and if they cannot be seen: no process listens, the address is on another
// machine, or they belong to another user or PID namespace. A group or a process that the configuration names is used without these checks.
//
// # Metrics
//
// Of the application's control group:
//
//	cpu_utilization               fraction of the quota, or else of the CPUs that it may use, over the last half second
//	mem_utilization               fraction of its memory limit that could not be reclaimed; without a limit, of the machine's memory, used by any process
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
