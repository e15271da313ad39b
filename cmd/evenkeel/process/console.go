package process

import "github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"

// Console is how a role speaks to the person at its terminal.
type Console struct {
	Print  func(line string)  // what should be read at once; nil: nobody is there
	Banner func(lines string) // what is said at the start; nil: nobody is there who reads text
	Paint  terminal.Painter
}
