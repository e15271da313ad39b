// Package poison overwrites memory that must not be read any more, in programs that are built with
// the race detector: a string or a slice that outlives the buffer it points into is garbage at
// once, and tests see it. In other programs it does nothing.
package poison
