package main

import (
	"fmt"
	"strings"

	"github.com/evenkeel-lb/evenkeel/internal/suggest"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/internal/hint"
)

// subcommandNames returns the names of the commands below cmd that the help shows.
func subcommandNames(cmd *cobra.Command) (names []string) {
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

// unknownSubcommand is the error for a word that names no command below cmd. It lists those that do.
func unknownSubcommand(cmd *cobra.Command, word string) error {
	names := subcommandNames(cmd)
	advice := "the commands are " + strings.Join(names, ", ")
	if meant := strings.TrimPrefix(suggest.DidYouMean(word, names, nil), "; "); meant != "" {
		advice = meant + " " + advice
	}
	return hint.Usage(hint.With(fmt.Errorf("%s has no command %q", cmd.CommandPath(), word), advice))
}

// requireSubcommand gives a command that only groups others an error for words that it does not know.
func requireSubcommand(cmd *cobra.Command) {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownSubcommand(cmd, args[0])
		}
		return nil
	}
	if cmd.RunE == nil {
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
}

// helpCommand shows the help of the command that its arguments name.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "show the help of a command",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			about, _, err := cmd.Root().Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return subcommandNames(about), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			about := cmd.Root()
			for _, word := range args {
				next := subcommand(about, word)
				if next == nil {
					return unknownSubcommand(about, word)
				}
				about = next
			}
			about.InitDefaultHelpFlag()
			about.InitDefaultVersionFlag()
			return about.Help()
		},
	}
}

// subcommand returns the command of a name below cmd; nil: there is none.
func subcommand(cmd *cobra.Command, name string) *cobra.Command {
	for _, sub := range cmd.Commands() {
		if sub.Name() == name || sub.HasAlias(name) {
			return sub
		}
	}
	return nil
}

// addCompletionCommand adds the library's command that writes completion scripts, and has it refuse unknown shells.
func addCompletionCommand(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	cmd := subcommand(root, "completion")
	cmd.Short = "write a script by which a shell completes command lines"
	cmd.Long = "Completion writes a script for a shell. The help of each subcommand says how the script is loaded."
	for _, shell := range cmd.Commands() {
		shell.Short = "write the script for " + shell.Name()
		shell.Args = noArguments
	}
	requireSubcommand(cmd)
}
