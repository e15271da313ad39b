package process

import "github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"

// Console is how a role speaks to the person at its terminal.
type Console struct {
	Print  func(line string)  // prints a line at once; nil: there is no terminal
	Banner func(lines string) // prints the lines at the start; nil: the log is not text on a terminal
	Paint  terminal.Painter
}
