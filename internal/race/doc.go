// Package race says whether the race detector was compiled in. Under it a sync.Pool
// drops items at random, so tests that count allocations skip themselves.
package race
