//go:build !linux && !darwin && !freebsd

package agent

func newHostSource(Application, func(string, error)) hostSource { return nil }
