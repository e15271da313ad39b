// Package flight is the life of one client request at the edge: it asks, is linked
// to a server, is tried elsewhere if that fails, falls back on the snapshot when no
// master answers, and ends.
//
// It is pure. The owner of the sockets, the caller, tells a Flight what happened and executes the returned Step:
//
//	    Start ─▶ Ask ─┬─ Granted ──▶ Link ─┬─ Finished ─▶ End
//	             ▲    │         └──▶ Redirect (over)
//	             │    ├─ Refused ──▶ Answer
//	             │    └─ NoMaster ─▶ Choose ─┬─ Chosen ─▶ Link, Redirect
//	             │                          └─ NoChoice ▶ Answer
//	             └──────────── Failed ◀── Link
//	                              └──▶ Answer, Abort
//	Gone, at any time ──▶ End
//
// Every lease granted to a Flight is ended by exactly one Step.Done, with one exception: a lease whose client was redirected is the
// server's to end. That is true for every order of events, including late and duplicate ones, so the caller need not know which events
// raced. A Flight is not safe for concurrent use.
package flight
