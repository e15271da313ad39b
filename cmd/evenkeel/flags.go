package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"
)

// accessFlag says whether an edge writes a line for each request.
type accessFlag struct{ word string }

func (f *accessFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.word, "access-log", "on", "a line for each request beside the logs: on or off")
}

// logger returns a logger for requests, nil if there is to be none. It writes whatever
// level the other logs are to have.
func (f *accessFlag) logger(logs logFlags, w io.Writer) (*slog.Logger, error) {
	switch f.word {
	case "on":
		logs.level = "info"
		return logs.logger(w)
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

// teller returns what writes lines for the person at the terminal, nil if there is none.
func teller(stderr io.Writer) func(string) {
	if !isTerminal(stderr) {
		return nil
	}
	return func(line string) { printLine(stderr, "\r"+line) } // over the ^C that the terminal shows
}
