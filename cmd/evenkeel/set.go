package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/spf13/cobra"
)

// setClient is a command that sets or unsets what a server has, by a master's API.
type setClient struct {
	api
	pool, by, reason string
}

func setCommand() *cobra.Command {
	var s setClient
	cmd := &cobra.Command{
		Use:   "set SERVER slots=N | max_in_flight=N | maintenance …",
		Short: "give a server other slots or another cap than the file says, or put it into maintenance",
		Long: `Set changes what a server has while the master runs: slots, how many requests it works on
at once; max_in_flight, how many it has at most; maintenance: it gets no new requests, and its
checks go on. What is set counts more than the file, the agent and what was learnt, also after a
reload, until evenkeel unset. Edges and agents pass it on to other masters, and to this one after a
restart. Status shows it with who set it, when, and what the file says.`,
		Example: `  evenkeel set r1 slots=4
  evenkeel set r1 max_in_flight=2 maintenance --reason "new disk"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return hint.Usagef("such as evenkeel set r1 slots=4", "set takes a server, and slots=N, max_in_flight=N or maintenance")
			}
			body := map[string]any{"by": orWhoAsks(s.by), "reason": s.reason}
			for _, arg := range args[1:] {
				name, value, err := parseSetting(arg)
				if err != nil {
					return err
				}
				body[name] = value
			}
			return s.send(cmd, args[0], "set", body)
		},
	}
	s.add(cmd, "slots=", "max_in_flight=", balance.Maintained.String())
	return cmd
}

func unsetCommand() *cobra.Command {
	var s setClient
	words := []string{balance.SlotsSet.String(), balance.MaxInFlightSet.String(), balance.Maintained.String()}
	cmd := &cobra.Command{
		Use:     "unset SERVER [slots | max_in_flight | maintenance …]",
		Short:   "undo what was set of a server",
		Long:    "Unset has the file's values, the agent's and what is learnt count again: those that are named, or all.",
		Example: "  evenkeel unset r1 slots",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 {
				return hint.Usagef("such as evenkeel unset r1 slots", "unset takes a server, and what to unset")
			}
			for _, arg := range args[1:] {
				if !slices.Contains(words, arg) {
					return hint.Usagef("such as evenkeel unset r1 slots", "%q: want slots, max_in_flight or maintenance", arg)
				}
			}
			return s.send(cmd, args[0], "unset", map[string]any{"by": orWhoAsks(s.by), "reason": s.reason, "settings": args[1:]})
		},
	}
	s.add(cmd, words...)
	return cmd
}

// add adds the flags, and has the first argument complete to a server and the others to words.
func (s *setClient) add(cmd *cobra.Command, words ...string) {
	cmd.Flags().StringVar(&s.pool, "pool", "", "the server's pool, if several have one of that id")
	cmd.Flags().StringVar(&s.reason, "reason", "", "the reason, shown by status and in logs")
	cmd.Flags().StringVar(&s.by, "by", "", "who asks for it (default USER@HOST)")
	s.api.add(cmd)
	completeServer(cmd, &s.api)
	servers := cmd.ValidArgsFunction
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return servers(cmd, args, begun)
		}
		return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	completeFlag(cmd, "pool", s.poolNames)
}

// parseSetting returns the name and the value, as the API takes them, of one argument of set.
func parseSetting(arg string) (name string, value any, err error) {
	name, text, has := strings.Cut(arg, "=")
	setting, known := balance.ParseSetting(name)
	switch {
	case !known || setting == balance.Drained:
		return "", nil, hint.Usagef("such as evenkeel set r1 slots=4; the file says everything else, and evenkeel drain drains", "%q: want slots=N, max_in_flight=N or maintenance", arg)
	case setting == balance.Maintained && has:
		return "", nil, hint.Usagef("evenkeel unset SERVER maintenance ends it", "%q: maintenance takes no value", arg)
	case setting == balance.Maintained:
		return name, true, nil
	case !has:
		return "", nil, hint.Usagef("such as "+name+"=4", "%q has no value", arg)
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return "", nil, hint.Usagef("such as "+name+"=4; evenkeel unset SERVER "+name+" has the file's value count again", "%s: %q is no number", name, text)
	}
	o := balance.Override{Setting: setting, Value: n, On: true}
	if problem := o.Problem(); problem != "" {
		return "", nil, hint.Usagef("evenkeel unset SERVER "+name+" has the file's value count again", "%s", problem)
	}
	return name, n, nil
}

// send has a master carry out the command, and prints what is set afterwards.
func (s *setClient) send(cmd *cobra.Command, server, verb string, body any) (err error) {
	pool := s.pool
	if pool == "" {
		if pool, err = s.poolOf(cmd.Context(), server); err != nil {
			return err
		}
	}
	answer, err := s.call(cmd.Context(), http.MethodPost, "/v1/pools/"+url.PathEscape(pool)+"/servers/"+url.PathEscape(server)+"/"+verb, body)
	if err != nil {
		return err
	}
	var told struct{ Overrides []overrideAnswer }
	if err := json.Unmarshal(answer, &told); err != nil {
		return fmt.Errorf("the master's answer: %w", err)
	}
	makePlain(&told)
	printAlso(answer, "is set alike", cmd.OutOrStdout())
	printOverrides(cmd.OutOrStdout(), server, pool, told.Overrides)
	if len(told.Overrides) > 0 {
		warnUnkept(answer, "what is set", cmd.ErrOrStderr())
	}
	return nil
}

func printOverrides(out io.Writer, server, pool string, all []overrideAnswer) {
	if len(all) == 0 {
		terminal.PrintLine(out, fmt.Sprintf("server %s of pool %s: nothing is set", server, pool))
	}
	for i := range all {
		terminal.PrintLine(out, fmt.Sprintf("server %s of pool %s: %s", server, pool, all[i].words()))
	}
}

// overrideAnswer is what an operator has set of a server, as the API says it.
type overrideAnswer struct {
	Setting    string
	Value      *float64
	Declared   *float64
	DeclaredBy string `json:"declared_by"`
	By, Reason string
	At         time.Time
}

// words says what is set, by whom, when and why, and what counts without it.
func (o *overrideAnswer) words() string {
	text := o.Setting
	if o.Value != nil {
		text += " " + strconv.FormatFloat(*o.Value, 'f', -1, 64)
	}
	text += ", set by " + cmp.Or(o.By, "an operator") + " at " + o.At.Local().Format("2006-01-02 15:04:05")
	if o.Reason != "" {
		text += fmt.Sprintf(" (%q)", o.Reason)
	}
	switch {
	case o.Value == nil:
		return text
	case o.Declared == nil:
		return text + "; nothing else declares it"
	}
	who := map[string]string{"file": "the file", "pool": "the pool's part of the file", "agent": "its agent"}[o.DeclaredBy]
	return text + "; " + who + " says " + strconv.FormatFloat(*o.Declared, 'f', -1, 64)
}
