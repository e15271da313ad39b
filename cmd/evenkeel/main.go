// Command evenkeel is every role of the load balancer in one binary: run, master,
// edge, agent, and what helps people with them. It reads flags, files and signals
// and joins the rooms; what happens to a request is theirs to decide.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/evenkeel-lb/evenkeel/internal/suggest"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"
	"github.com/evenkeel-lb/evenkeel/internal/version"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/evenkeel-lb/evenkeel/internal/logs"
)

// Exit codes.
const (
	exitFine    = 0
	exitFailure = 1
	exitUsage   = 2
	exitTrouble = 3 // of status, certs show and check --live: it has shown what is wrong
)

// commands lists every command, in the order of the help. Each has a file of its name; undrain is in that of drain, unset in that of
// set, and those that control one process are in control.go.
// Roles log to sink.
func commands(sink *logs.Sink) []*cobra.Command {
	return []*cobra.Command{
		runCommand(sink),
		demoCommand(),
		masterCommand(sink),
		edgeCommand(sink),
		agentCommand(sink),
		sampleServerCommand(sink),
		sampleProxyCommand(sink),
		checkCommand(),
		statusCommand(),
		tapCommand(),
		explainCommand(),
		certsCommand(),
		tokensCommand(),
		drainCommand(),
		undrainCommand(),
		setCommand(),
		unsetCommand(),
		electionCommand(),
		reloadCommand(),
		setLogCommand(),
		configCommand(),
		bugreportCommand(),
		simulateCommand(),
		manCommand(),
		versionCommand(),
	}
}

const longHelp = `Evenkeel is a load balancer. Its proxies (edges) ask one master for each request which server
will finish it first; the master knows the load of every server.

Four ways to start:

  evenkeel demo
        show in 20 seconds what it does
  evenkeel run --server http://127.0.0.1:8000 --server http://127.0.0.1:8001
        balance between two servers, on :8080, in one process and without a file
  evenkeel check evenkeel.yaml
        check a file: report every problem, or say what the roles would do with it
  evenkeel master | edge | agent --help
        the roles as processes of their own`

func main() {
	os.Exit(execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	sink := logs.NewSink(stderr)
	defer sink.Close(lastWrites)
	root := &cobra.Command{
		Use:           "evenkeel",
		Short:         "a load balancer in which one master knows every server's load",
		Long:          longHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownSubcommand(cmd, args[0])
			}
			return nil
		},
		Run: func(cmd *cobra.Command, _ []string) { terminal.PrintLine(stdout, longHelp) },
	}
	root.Version = version.String()
	root.SetVersionTemplate(versionLine())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if text := err.Error(); strings.Contains(text, "missing unit in duration") {
			text, _, _ = strings.Cut(text, ": time: ")
			return hint.Usage(hint.With(errors.New(text+": a time needs its unit, such as 10s"), cmd.CommandPath()+" --help lists the flags"))
		}
		return hint.Usage(hint.With(err, flagHint(cmd, err)))
	})
	cobra.EnableCommandSorting = false // the table's order is meant
	root.AddCommand(commands(sink)...)
	root.SetHelpCommand(helpCommand())
	addCompletionCommand(root)
	root.SetArgs(append([]string{}, args...)) // nil would mean those of the process
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, errTrouble) {
		printError(sink, err) // behind what a role has logged
	}
	return exitCode(err)
}

func exitCode(err error) int {
	switch {
	case err == nil:
		return exitFine
	case errors.Is(err, errTrouble):
		return exitTrouble
	case hint.IsUsage(err):
		return exitUsage
	}
	return exitFailure
}

// flagHint says what to do about an error of a command's flags.
func flagHint(cmd *cobra.Command, err error) string {
	advice := cmd.CommandPath() + " --help lists the flags"
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return advice
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if meant := suggest.DidYouMean(unknown.GetSpecifiedName(), known, flagAliases(known)); meant != "" {
		name, _ := strconv.Unquote(strings.TrimSuffix(strings.TrimPrefix(meant, "; did you mean "), "?"))
		return "did you mean --" + name + "? " + advice
	}
	return advice
}

// flagAliases are words of other programs for flags, as far as they are known here.
func flagAliases(known []string) map[string]string {
	all := make(map[string]string)
	for word, name := range map[string]string{"bind": "listen", "address": "listen", "port": "listen", "backend": "server", "upstream": "server", "target": "server",
		"file": "config", "conf": "config", "configuration": "config", "algorithm": "policy", "balance": "policy", "metrics": "admin", "api": "admin",
		"cert": "tls-cert", "key": "tls-key", "ca": "tls-ca", "name": "id", "verbose": "log-level", "debug": "log-level"} {
		if slices.Contains(known, name) {
			all[word] = name
		}
	}
	return all
}

// noArguments refuses words after a command that takes flags only.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return hint.Usagef(cmd.CommandPath()+" --help lists the flags", "%s takes no arguments, got %q", cmd.CommandPath(), args[0])
	}
	return nil
}
