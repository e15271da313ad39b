//go:build !linux

package fd

import "errors"

// StopConnecting would have the system begin no more connections to a listener.
func StopConnecting(any) error { return errors.ErrUnsupported }
