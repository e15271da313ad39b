package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func drainCommand() *cobra.Command {
	return steerCommand("drain", "give a server nothing new",
		"Drain has a server finish what it has and get nothing new, whoever registers it again,\nuntil it is undrained.", "gets nothing new")
}

func undrainCommand() *cobra.Command {
	return steerCommand("undrain", "give a drained server work again", "Undrain takes a drain back.", "takes work")
}

func steerCommand(verb, short, long, done string) *cobra.Command {
	var a api
	var pool string
	cmd := &cobra.Command{
		Use:     verb + " SERVER --pool NAME",
		Short:   short,
		Long:    long,
		Example: "  evenkeel " + verb + " r1 --pool render",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || pool == "" {
				return usagef("such as evenkeel "+verb+" r1 --pool render", "%s takes one server and its --pool", verb)
			}
			if _, err := a.call(cmd.Context(), http.MethodPost, "/v1/pools/"+url.PathEscape(pool)+"/servers/"+url.PathEscape(args[0])+"/"+verb, nil); err != nil {
				return err
			}
			printLine(cmd.OutOrStdout(), fmt.Sprintf("server %s of pool %s %s", args[0], pool, done))
			return nil
		},
	}
	cmd.Flags().StringVar(&pool, "pool", "", "the server's pool")
	a.add(cmd)
	return cmd
}
