// Package client keeps the connection between a component and its masters. An edge
// uses a Client: pick, done, report. A server's side uses an Agent: it registers,
// reports and takes dispatches.
//
//	Pick ─▶ ┌─────────────┐ ─ bytes ─▶ ┌──────┐
//	Done ─▶ │ edgeTalk or │            │ line │ ◀─▶ master
//	     ◀─ │ agentTalk   │ ◀ bytes ── └──────┘
//
// What is said, and what an answer means, is decided by two state machines over
// bytes, edgeTalk and agentTalk, which do no I/O and hold no lock. A line is the shell
// around one of them: it has the lock, the socket and the goroutines.
//
// Batching is natural: whoever finds nobody writing writes what has been gathered, so
// one ask in flight is one write and a thousand are a few. When more than two picks are
// in progress the writer yields once before it writes, for the others are about to ask.
package client
