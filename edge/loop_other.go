//go:build !linux

package edge

const loopsHere = false

// newLoops would return the engine with one loop for each core.
func newLoops(*Edge) engine { return nil }
