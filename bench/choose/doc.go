// Choose replays canonical scenarios of the simulator with real processes: sample
// servers, and before them four edges and a master of ours, or four HAProxys, or four
// nginxs, each in turn on the same requests at the same times. What each makes of them
// is held against the simulator's ideal for those very requests.
//
//	sender (open loop) ──▶ 4 edges + master │ 4 × HAProxy │ 4 × nginx ──▶ 50 sample servers
//	       └───────────── direct requests, past all of them ──────────────▶
//
// Sample servers do no work, they only say when they would have done it, so fifty of
// them fit into one process without disturbing each other. That process also has an
// agent for each of them when ours are on: a connection to the master of its own, over
// which it joins the pool and reports at the scenario's interval. Nobody tells the
// master slots or speeds; the peers' weights are the servers' true capacities.
//
// It runs on Linux, whose /proc tells how busy the machine is.
package main
