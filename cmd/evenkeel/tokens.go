package main

import (
	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/evenkeel-lb/evenkeel/internal/admin"
)

func tokensCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tokens add FILE NAME ROLES",
		Short: "make a bearer token for admin addresses",
		RunE: func(*cobra.Command, []string) error {
			return hint.Usagef("evenkeel tokens --help explains it", "tokens needs a command: add FILE NAME ROLES")
		},
	}
	cmd.AddCommand(tokensAddCommand())
	requireSubcommand(cmd)
	return cmd
}

func tokensAddCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "add FILE NAME ROLES",
		Short: "make a token and add its hash to a file",
		Long: `Add makes a bearer token, prints it, and appends its name, roles and hash to FILE, which
masters, edges and agents read as admin_access.tokens (--admin-tokens). It is printed
only now: the file has no more than a hash. Roles, with commas between them: read (look
at everything), operate (drain, profile; read too), pick (ask for servers and report, as
an edge or for a server), enrol (make tokens by which agents get certificates). Who takes a line out of the file takes the token back, within
seconds.`,
		Example: `  evenkeel tokens add /etc/evenkeel/tokens alice read,operate
  evenkeel tokens add /etc/evenkeel/tokens prometheus read > prometheus.token`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 3 {
				return hint.Usagef("such as evenkeel tokens add tokens alice read,operate", "tokens add takes a file, a name and roles, got %d words", len(args))
			}
			secret, err := admin.AddToken(args[0], args[1], args[2])
			if err != nil {
				return err
			}
			terminal.PrintLine(cmd.OutOrStdout(), secret)
			return nil
		},
	}
}
