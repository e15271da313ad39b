// Package kept knows the requests that an edge keeps while their clients are away (RFC 7240, respond-async): their tokens,
// states, bodies and answers, and the bounds of all of them. It does no I/O: its caller brings tokens, the time and files.
//
//	Store.Open ─▶ receiving ─▶ waiting ⇄ running ─▶ done     the answer is kept until it expires
//	                  │           │         └─────▶ failed   there is no answer, and a reason
//	                  └───────────┴── Store.Cancel, Store.Expire ─▶ gone
//
// A Request belongs to the loop goroutine that carries it out; Store hands out copies of what others may know of it. Once it
// is done its Answer does not change, and a Reader holds it, also if the request goes meanwhile.
//
// A Store and its Requests have one mutex, and are safe for concurrent use as far as their methods say.
package kept
