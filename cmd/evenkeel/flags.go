package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/internal/logs"
)

// accessFlag says whether an edge writes a line for each request.
type accessFlag struct{ word string }

func (f *accessFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.word, "access-log", "on", "a line for each request beside the logs: on or off")
}

// logger returns a logger for requests, nil if there is to be none. It writes whatever
// level the other logs are to have.
func (f *accessFlag) logger(flags logFlags, sink *logs.Sink) (*slog.Logger, error) {
	switch f.word {
	case "on":
		return flags.access(sink)
	case "off":
		return nil, nil
	}
	return nil, usagef("want on or off", "--access-log %q is not known", f.word)
}

// notBoth refuses flags that a file speaks for.
func notBoth(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		if cmd.Flags().Changed(name) {
			return usagef("write it into the file, or leave --config out", "--config and --%s cannot go together", name)
		}
	}
	return nil
}

// problems judges settings that came from flags.
func (s *settings) problems() error {
	var all []error
	s.validate(func(path, problem string) { all = append(all, fmt.Errorf("%s: %s", path, problem)) })
	if len(all) == 0 {
		return nil
	}
	return usageError{errors.Join(all...)}
}

// console is how a role speaks to the person at its terminal.
type console struct {
	tell   func(line string)  // what should be read at once; nil: nobody is there
	banner func(lines string) // what is said at the start; nil: nobody is there who reads text
	paint  painter
}

// consoleOn returns the console of a role that logs to sink.
func (f *logFlags) consoleOn(sink *logs.Sink) (c console) {
	if !isTerminal(sink.Out()) {
		return c
	}
	c.paint = painterFor(sink.Out())
	c.tell = func(line string) { printLine(sink, "\r"+line) } // over the ^C that the terminal shows
	if f.format != "json" {
		c.banner = func(lines string) { _, _ = sink.Write([]byte(lines)) } // a Sink never fails
	}
	return c
}
