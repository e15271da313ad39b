//go:build unix

package edge

import "github.com/evenkeel-lb/evenkeel/internal/raw"

const readsRaw = true

func readFD(fd uintptr, p []byte) (int, error) { return raw.Read(int(fd), p) }

func writeFD(fd uintptr, p []byte) (int, error) { return raw.Write(int(fd), p) }
