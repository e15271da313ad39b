// Package process runs one role of the load balancer as an operating-system process: it opens its sockets, runs its
// components, handles signals, and hands its sockets over to a new program.
//
// A command fills a Process with Components, which are functions that run until their context ends, and calls Serve.
// Serve starts them all, announces that the process serves, and returns when all have ended:
//
//	SIGINT, SIGTERM   stop: the components end one after another, in their order; a second signal ends at once
//	SIGHUP            Reload reads the file again; certificates, tokens and audit files are reopened
//	SIGUSR2           a new program is started with the listening sockets (handover_unix.go); once it serves, this
//	                  process drains and ends
//
// Listening sockets come from Listen, which takes one that the process inherited, from a service manager or from the
// program before, and else opens a new one (listen.go, inherited.go). An AdminAccess guards the admin address and
// serves it; an Overview is the banner on a terminal and the front page of the admin address. Info is what the process
// reports about itself on a socket in its runtime folder, where the commands for operators find it.
//
// An EdgeSupervisor is the edge across reloads. Every reload makes a new edge.Edge, a generation, on the same
// sockets; the generation before finishes its requests. A sharedListener is one generation's own listener on a socket.
package process
