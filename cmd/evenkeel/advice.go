package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/evenkeel-lb/evenkeel/config"
)

// printError prints what went wrong and, if the error has a hint, what to do.
func printError(w io.Writer, err error) {
	if bad, ok := errors.AsType[*config.Error](err); ok {
		terminal.PrintLine(w, bad.Error())
		n := len(bad.Problems) + bad.More
		err = fmt.Errorf("%s has %d %s", bad.Name, n, terminal.Plural(n, "problem"))
	}
	terminal.PrintLine(w, "error: "+strings.ReplaceAll(err.Error(), "\n", "\n       "))
	if advice := hint.Of(err); advice != "" {
		terminal.PrintLine(w, "hint:  "+advice)
	}
}
