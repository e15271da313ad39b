// Ask measures the cost of asking a master, between separate processes, and compares it with a raw ping-pong between the same two and with
// gRPC. All cases alternate in short slices, so that other load on the machine affects all of them alike. Only ratios between them are
// valid on other machines.
//
//	ask [-rounds n] [-slice d] [-servers n] [-out file] [-grpc program]
//	ask -fleet …        many agents that report, instead
//	ask -snapshots …    edges that watch a pool, instead
//
// With -tls the fleet, or the edges that watch, and their master use certificates.
//
// The processes are this program again: one answers (a master and the other end of the
// pings), up to sixteen ask.
package main
