//go:build !linux || evenkeel_portable

package master

import "time"

// loops would serve plaintext connections without a goroutine for each.
type loops struct {
	none   bool
	gather time.Duration
}

func (*loops) enter(*Master)           {}
func (*loops) leave()                  {}
func (*loops) move(*stay, []byte) bool { return false }
func (*loops) hurry(int32)             {}
