//go:build !unix

package process

import (
	"context"
	"errors"
	"net"
	"os"
)

// takeoverSignal is nil: there is none.
var takeoverSignal os.Signal

func handOver(context.Context, []InheritedSocket, []byte) handoverResult {
	return handoverResult{err: errors.New("this system cannot hand over sockets")}
}

func duplicate(net.Listener) (*os.File, error) { return nil, errors.ErrUnsupported }

func reportReady() error { return nil }
