package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"
	"github.com/evenkeel-lb/evenkeel/internal/version"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Manual pages, one of each command, in the macros of man(7). They say what --help says.

func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "write a manual page of each command into a folder",
		Long: `Man writes the manual pages of section 1 into a folder, which is made if need be: evenkeel.1, and
one of each command, such as evenkeel-drain.1. They say what --help says.`,
		Example: `  evenkeel man /usr/local/share/man/man1
  man evenkeel-drain`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return hint.Usagef("such as evenkeel man /usr/local/share/man/man1", "man takes a folder, got %d words", len(args))
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			n := 0
			for _, one := range withSubcommands(cmd.Root()) {
				var page bytes.Buffer
				writeManual(&page, one)
				if err := os.WriteFile(filepath.Join(args[0], manualName(one)+".1"), page.Bytes(), 0o644); err != nil {
					return err
				}
				n++
			}
			terminal.PrintLine(cmd.OutOrStdout(), fmt.Sprintf("wrote %d manual pages into %s", n, args[0]))
			return nil
		},
	}
}

// withSubcommands returns cmd and all commands below it that the help shows.
func withSubcommands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			all = append(all, withSubcommands(sub)...)
		}
	}
	return all
}

// manualName is the name of a command's page: evenkeel-certs-issue.
func manualName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// writeManual writes the page of one command.
func writeManual(w io.Writer, cmd *cobra.Command) {
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	name := manualName(cmd)
	fmt.Fprintf(w, ".TH \"%s\" \"1\" \"\" \"evenkeel %s\" \"Evenkeel\"\n.nh\n.ad l\n", strings.ToUpper(roff(name)), roff(version.String()))
	fmt.Fprintf(w, ".SH NAME\n%s \\- %s\n", roff(name), roff(cmd.Short))
	fmt.Fprintf(w, ".SH SYNOPSIS\n%s\n", bold(cmd.CommandPath())+roff(strings.TrimPrefix(cmd.UseLine(), cmd.CommandPath())))
	writeText(w, "DESCRIPTION", cmd.Long)
	writeText(w, "EXAMPLES", cmd.Example)
	writeFlags(w, cmd.NonInheritedFlags())
	writeSeeAlso(w, cmd)
}

// writeText writes a section. Lines that begin with a space stand as they are; the others are paragraphs.
func writeText(w io.Writer, title, text string) {
	if text == "" {
		return
	}
	fmt.Fprintf(w, ".SH %s\n", title)
	asIs := false
	for _, line := range strings.Split(text, "\n") {
		if code := strings.HasPrefix(line, " "); code != asIs && line != "" {
			asIs = code
			fmt.Fprintln(w, map[bool]string{true: ".PP\n.nf", false: ".fi\n.PP"}[code])
		}
		switch {
		case line == "" && !asIs:
			fmt.Fprintln(w, ".PP")
		case line == "":
			fmt.Fprintln(w)
		default:
			fmt.Fprintln(w, roffLine(line))
		}
	}
	if asIs {
		fmt.Fprintln(w, ".fi")
	}
}

func writeFlags(w io.Writer, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintln(w, ".SH OPTIONS")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		head := bold("--" + f.Name)
		if f.Shorthand != "" {
			head = bold("-"+f.Shorthand) + ", " + head
		}
		if value != "" {
			head += " \\fI" + roff(value) + "\\fR"
		}
		fmt.Fprintf(w, ".TP\n%s\n%s\n", head, strings.ReplaceAll(roffLine(usage+defaultOf(f)), ",", ",\\:")) // a list may be broken between any two
	})
}

// defaultOf says a flag's default as --help does; the text of many flags has it already.
func defaultOf(f *pflag.Flag) string {
	if f.DefValue == "" || f.DefValue == "[]" || f.DefValue == "false" || f.DefValue == "0" || f.DefValue == "0s" {
		return ""
	}
	return " (default " + f.DefValue + ")"
}

func writeSeeAlso(w io.Writer, cmd *cobra.Command) {
	var all []string
	if cmd.HasParent() {
		all = append(all, manualName(cmd.Parent()))
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			all = append(all, manualName(sub))
		}
	}
	if len(all) == 0 {
		return
	}
	for i, name := range all {
		all[i] = bold(name) + "(1)"
	}
	fmt.Fprintf(w, ".SH SEE ALSO\n%s\n", strings.Join(all, ",\n"))
}

// bold is text in bold face.
func bold(text string) string { return "\\fB" + roff(text) + "\\fR" }

// roff is text in which nothing is taken for an instruction. A minus is one that can be copied from a terminal.
func roff(text string) string {
	return strings.NewReplacer("\\", "\\e", "-", "\\-", "'", "\\(aq", "`", "\\(ga", "^", "\\(ha", "~", "\\(ti", "…", "...").Replace(text)
}

// roffLine is a line of text, of which the beginning is not taken for a request either.
func roffLine(text string) string {
	if line := roff(text); !strings.HasPrefix(line, ".") {
		return line
	}
	return "\\&" + roff(text)
}
