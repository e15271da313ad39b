// Package poison overwrites memory that must not be read any more, in programs that are built with the race detector: a string or a slice
// that is used after its buffer was reused then has garbage, and tests fail. In other programs it does nothing.
package poison
