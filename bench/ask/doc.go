// Ask measures what asking a master costs, between separate processes, with a raw
// ping-pong between the same two beside it, and against gRPC. All cases take turns in
// short slices, over and over, so that whatever else the machine does befalls all of
// them alike; only ratios between them mean something elsewhere.
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
