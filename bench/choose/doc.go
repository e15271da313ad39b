// Choose replays canonical scenarios of the simulator with real processes: sample servers, and before them four edges and a master of ours,
// or four HAProxys, or four nginxs, each in turn on the same requests at the same times. The result of each is compared with the
// simulator's ideal for the same requests.
//
//	sender (open loop) ──▶ 4 edges + master │ 4 × HAProxy │ 4 × nginx ──▶ 50 sample servers
//	       └───────────── direct requests, past all of them ──────────────▶
//
// Sample servers do no work, they only answer at the time when they would have finished it, so fifty of them fit into one process without
// disturbing each other. When ours run, that process also has an agent for each server, with its own connection to the master, over which
// it joins the pool and reports at the scenario's interval. The master is not told slots or speeds; the peers' weights are the servers'
// true capacities.
//
// It runs on Linux, whose /proc tells how busy the machine is.
package main
