package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/internal/enrol"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// tokenFlags are those of certs token.
type tokenFlags struct {
	api       api
	addresses []string
	uses      int
	life      lifeFlag
	out       string
	revoke    string
}

func certsTokenCommand() *cobra.Command {
	f := tokenFlags{life: lifeFlag(enrol.DefaultLife)}
	cmd := &cobra.Command{
		Use:   "token POOL | token --revoke ID",
		Short: "make a token by which agents of a pool get certificates from a master, or take one back",
		Long: `Token makes a token for agents that have no certificate yet, and prints it, once. An agent
that is started with it (--token-file) makes a key, which never leaves its machine, and a master signs
a certificate for it: for the agent's own name, its pool and its address. From half of
the certificate's life on the agent has a master renew it.

The token says which authority must stand behind the master, so an agent is not taken in by a
false one; for which pool it is; from which addresses (--address), for how long (--for) and for how many
agents (--uses) it is good. Masters keep a hash of it. More than one use needs an election's
store, or master.enrol.tokens; without, the one master that has made the token takes it, once.

A token that has got into the wrong hands is taken back with --revoke and its id, the 12 digits that
are told when it is made, and that the audit log has. Agents that have used it keep their certificates;
the list of the denied is for those.

It asks a master that has master.enrol: on the master's machine by its socket, else with
--admin and a bearer token with the role enrol.`,
		Example: `  evenkeel certs token render --out agent.token
  evenkeel certs token render --address 10.0.1.0/24 --uses 20 --for 15m > agents.token
  evenkeel agent --pool render --address 10.0.1.7:8000 --master 10.0.0.1:7400 --token-file agent.token`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.revoke != "" {
				return f.takeBack(cmd, args)
			}
			if len(args) != 1 || badPool(args[0]) != "" {
				return hint.Usagef("such as evenkeel certs token render", "token takes the name of one pool")
			}
			return f.make(cmd, args[0])
		},
	}
	f.api.add(cmd)
	cmd.Flags().StringArrayVar(&f.addresses, "address", nil, "a prefix from which agents may come, and in which their servers must be; repeat for each (default: from anywhere, with the server there)")
	cmd.Flags().IntVar(&f.uses, "uses", 1, fmt.Sprintf("how many agents may use it, at most %d", enrol.MostUses))
	cmd.Flags().Var(&f.life, "for", "how long it is good, such as 15m or 1d")
	cmd.Flags().StringVar(&f.revoke, "revoke", "", "take a token back, by its id")
	cmd.Flags().StringVar(&f.out, "out", "", "a file to put it in, which only its owner can read (default: standard output)")
	return cmd
}

func (f *tokenFlags) make(cmd *cobra.Command, pool string) error {
	if f.uses < 1 || f.uses > enrol.MostUses {
		return hint.Usagef("such as --uses 20", "--uses %d: want 1 to %d", f.uses, enrol.MostUses)
	}
	if time.Duration(f.life) > enrol.LongestLife {
		return hint.Usagef("such as --for 1h", "--for: want at most %s", trust.Life(enrol.LongestLife))
	}
	t := enrol.Token{Secret: enrol.NewSecret(), Pool: pool}
	var err error
	if t.Addresses, err = prefixFlags("--address", f.addresses); err != nil {
		return err
	}
	if f.out != "" {
		if _, err := os.Lstat(f.out); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s exists: move it away first, nothing is overwritten", f.out)
		}
	}
	body := map[string]any{"hash": enrol.Hash(t.Secret), "uses": f.uses, "seconds": time.Duration(f.life).Seconds()}
	if len(t.Addresses) > 0 {
		body["addresses"] = t.Addresses
	}
	text, err := f.api.call(cmd.Context(), http.MethodPost, "/v1/pools/"+url.PathEscape(pool)+"/tokens", body)
	if err != nil {
		return err
	}
	var answer struct {
		Authority string
		Uses      int
		Ends      time.Time
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("the master's answer: %w", err)
	}
	t.Authority, t.Uses, t.Ends = answer.Authority, answer.Uses, answer.Ends
	return f.give(cmd, &t)
}

// takeBack ends a token.
func (f *tokenFlags) takeBack(cmd *cobra.Command, args []string) error {
	if len(args) > 0 || f.out != "" {
		return hint.Usagef("such as evenkeel certs token --revoke 4a33c9c9f437", "--revoke takes the id of a token, and nothing else")
	}
	text, err := f.api.call(cmd.Context(), http.MethodPost, "/v1/tokens/"+url.PathEscape(f.revoke)+"/revoke", nil)
	if err != nil {
		return err
	}
	var answer struct {
		ID, Pool   string
		Used, Uses int
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("the master's answer: %w", err)
	}
	terminal.PrintLine(cmd.OutOrStdout(), fmt.Sprintf("token %s for pool %s is revoked; %d of its %d uses were made, see the audit log", answer.ID, answer.Pool, answer.Used, answer.Uses))
	return nil
}

// give hands the token out.
func (f *tokenFlags) give(cmd *cobra.Command, t *enrol.Token) error {
	text, err := t.Text()
	if err != nil {
		return err
	}
	file := "FILE"
	if f.out == "" {
		terminal.PrintLine(cmd.OutOrStdout(), text)
	} else {
		file = f.out
		out, err := os.OpenFile(f.out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = out.WriteString(text + "\n")
		if err = errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
	from := ""
	if len(t.Addresses) > 0 {
		from = ", from " + strings.Join(f.addresses, ", ")
	}
	terminal.PrintLine(cmd.ErrOrStderr(), fmt.Sprintf("%s for pool %s, for %d %s%s, until %s; where the agent is:\n  evenkeel agent --pool %s --address HOST:PORT --master HOST:PORT --token-file %s",
		t, t.Pool, t.Uses, terminal.Plural(t.Uses, "agent"), from, t.Ends.Local().Format(time.DateTime), t.Pool, file))
	return nil
}
