//go:build !unix

package main

import (
	"errors"
	"net"
	"os"
)

// takeoverSignal is nil: there is none.
var takeoverSignal os.Signal

func handOver([]heirloom, []byte) (int, error) {
	return 0, errors.New("this system hands no sockets over")
}

func copyOf(net.Listener) (*os.File, error) { return nil, errors.ErrUnsupported }

func tellReady() error { return nil }
