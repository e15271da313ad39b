// Command evenkeel is every role of the load balancer in one binary: run, master,
// edge, agent, and what helps people with them. It reads flags, files and signals
// and joins the rooms; what happens to a request is theirs to decide.
package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitFine    = 0
	exitFailure = 1
	exitUsage   = 2
)

// commands lists every command, in the order of the help. Each has a file of its name, undrain drain's.
func commands() []*cobra.Command {
	return []*cobra.Command{
		runCommand(),
		demoCommand(),
		masterCommand(),
		edgeCommand(),
		agentCommand(),
		sampleServerCommand(),
		checkCommand(),
		explainCommand(),
		certsCommand(),
		drainCommand(),
		undrainCommand(),
		simulateCommand(),
		versionCommand(),
	}
}

const longHelp = `Evenkeel balances load with one brain and many hands: edges ask a master, which
knows what every server is doing, for the server that will finish a request first.

Four ways to start:

  evenkeel demo
        see in 20 seconds what it is good for
  evenkeel run --server http://127.0.0.1:8000 --server http://127.0.0.1:8001
        balance between two servers, on :8080, in one process and without a file
  evenkeel check evenkeel.yaml
        say everything that is wrong with a file, or what it means
  evenkeel master | edge | agent --help
        the roles as processes of their own`

func main() {
	os.Exit(execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "evenkeel",
		Short:         "a load balancer in which one master knows every server's load",
		Long:          longHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		Run: func(cmd *cobra.Command, _ []string) { printLine(stdout, longHelp) },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{hinted(err, cmd.CommandPath()+" --help lists the flags")}
	})
	cobra.EnableCommandSorting = false // the table's order is meant
	root.AddCommand(commands()...)
	root.SetArgs(append([]string{}, args...)) // nil would mean those of the process
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		printError(stderr, err)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, new(usageError)):
		return exitUsage
	}
	return exitFailure
}

func unknownCommand(cmd *cobra.Command, name string) error {
	hint := "evenkeel --help lists the commands"
	cmd.SuggestionsMinimumDistance = 2
	if likely := cmd.SuggestionsFor(name); len(likely) > 0 {
		hint = "did you mean evenkeel " + likely[0] + "?"
	}
	return usageError{hinted(errors.New("there is no command "+name), hint)}
}

// noArguments refuses words after a command that takes flags only.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef(cmd.CommandPath()+" --help lists the flags", "%s takes no arguments, got %q", cmd.CommandPath(), args[0])
	}
	return nil
}
