// Package client keeps the connections between a component and its masters. An edge
// uses Masters, or a Client for one master: pick, done, report. An agent uses an Agent:
// it registers its server, reports, and takes dispatches.
//
//	Pick ─▶ ┌───────────────┐ ─ bytes ─▶ ┌──────────┐
//	Done ─▶ │ edgeProtocol, │            │ connLoop │ ◀─▶ master
//	     ◀─ │ agentProtocol │ ◀ bytes ── └──────────┘
//
// Two state machines, edgeProtocol and agentProtocol, decide what to send and what an
// answer means. They do no I/O and hold no lock. A connLoop runs one of them: it has the
// lock, the socket and the goroutines.
//
// Writes are batched: a goroutine that finds no write in progress writes all that has
// been gathered, so one ask alone is one write and a thousand asks at once are a few.
// With more than two picks in progress the writer yields once before it writes, because
// further asks are about to come.
package client
