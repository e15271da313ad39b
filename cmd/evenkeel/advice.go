package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/evenkeel-lb/evenkeel/config"
)

// advised is an error with a word on what to do about it.
type advised struct {
	error
	hint string
}

func (a advised) Unwrap() error { return a.error }

func hinted(err error, hint string) error { return advised{err, hint} }

// hidden is an error in whose text what came from the environment is as the file has it.
type hidden struct {
	error
	text string
}

func (h hidden) Error() string { return h.text }

func (h hidden) Unwrap() error { return h.error }

// hiding returns err as it may be shown.
func (s *settings) hiding(err error) error {
	if err == nil || s.hide == nil || s.hide(err.Error()) == err.Error() {
		return err
	}
	return hidden{err, s.hide(err.Error())}
}

// usageError is a command line that cannot be meant.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func usagef(hint, format string, args ...any) error {
	return usageError{hinted(fmt.Errorf(format, args...), hint)}
}

// printError tells a person what went wrong and, if anybody knows, what to do.
func printError(w io.Writer, err error) {
	if bad, ok := errors.AsType[*config.Error](err); ok {
		printLine(w, bad.Error())
		n := len(bad.Problems) + bad.More
		err = fmt.Errorf("%s has %d %s", bad.Name, n, plural(n, "problem"))
	}
	printLine(w, "error: "+strings.ReplaceAll(err.Error(), "\n", "\n       "))
	if a, ok := errors.AsType[advised](err); ok && a.hint != "" {
		printLine(w, "hint:  "+a.hint)
	}
}

// printLine writes to a terminal or pipe; if that is gone nobody is left to tell.
func printLine(w io.Writer, line string) { _, _ = io.WriteString(w, line+"\n") }

func plural(n int, what string) string {
	if n == 1 {
		return what
	}
	return what + "s"
}
