// Package flight is the life of one client request at the edge: it asks, is linked
// to a server, is tried elsewhere if that fails, falls back on the snapshot when no
// master answers, and ends.
//
// It is pure. Whoever owns the sockets tells a Flight what happened and does what
// the returned Step says:
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
// Every lease granted to a Flight is given back in exactly one Step.Done, with one
// exception: a lease whose client was redirected is the server's to end. That holds
// for every order of events, late and doubled ones included, so an owner need not
// know what raced with what. A Flight is not safe for concurrent use.
package flight
