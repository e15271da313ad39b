// Package terminal is what a person reads: colors, the width of a terminal, and log records as lines of text.
//
// NewLogHandler returns the handler of logs, as text or as JSON. NewAccessHandler writes one line for each request.
// A Painter colors text on a terminal and leaves it alone elsewhere.
package terminal
