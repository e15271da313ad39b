//go:build !linux || evenkeel_portable

package master

import "time"

// loopGroup would serve plaintext connections without a goroutine for each.
type loopGroup struct {
	disabled bool
	gather   time.Duration
}

func (*loopGroup) startFirst(*Master)                 {}
func (*loopGroup) stopLast()                          {}
func (*loopGroup) moveConn(*connSession, []byte) bool { return false }
func (*loopGroup) expectVerdicts(int32)               {}
