package hint

import (
	"errors"
	"fmt"
)

// hintedError is an error with advice on what to do about it.
type hintedError struct {
	error
	hint string
}

// Unwrap returns the error without the advice.
func (e hintedError) Unwrap() error { return e.error }

// With returns err with advice on what to do about it.
func With(err error, hint string) error { return hintedError{err, hint} }

// Of returns the advice that comes with an error; empty: none.
func Of(err error) string {
	e, _ := errors.AsType[hintedError](err)
	return e.hint
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

// Unwrap returns the error itself.
func (e usageError) Unwrap() error { return e.error }

// Usage marks err as the fault of the command line.
func Usage(err error) error { return usageError{err} }

// Usagef returns an error of the command line, with advice.
func Usagef(hint, format string, args ...any) error {
	return Usage(With(fmt.Errorf(format, args...), hint))
}

// IsUsage reports whether err is the fault of the command line.
func IsUsage(err error) bool { return errors.As(err, new(usageError)) }
