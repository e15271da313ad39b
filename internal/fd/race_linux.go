//go:build race

package fd

const raced = true
