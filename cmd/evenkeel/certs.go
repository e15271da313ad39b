package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

func certsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "certs init | certs issue ROLE NAME",
		Short: "make certificates by which masters, edges and agents know each other",
		Long: `Certs makes a small private authority, and certificates of it, for those who have
none. A certificate names one role and one name: an edge may speak only as that edge,
an agent only for that server. Keys are readable by their owner alone, and nothing is
ever overwritten. Keep ca.key where only you can read it: whoever has it can be anybody.

A running component takes up new files within seconds, or at once on SIGHUP.`,
		Example: `  evenkeel certs init
  evenkeel certs issue master m1
  evenkeel certs issue edge e1
  evenkeel certs issue agent r1 --days 90`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("evenkeel certs init, or evenkeel certs issue ROLE NAME", "certs cannot %s", args[0])
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error {
			return usagef("evenkeel certs --help tells more", "certs wants init, or issue ROLE NAME")
		},
	}
	cmd.AddCommand(certsInitCommand(), certsIssueCommand())
	return cmd
}

const defaultCertsDir = "certs"

func certsInitCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "init",
		Short:   "make a private authority",
		Example: "  evenkeel certs init --dir /etc/evenkeel/certs",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := trust.NewAuthority(dir, time.Now()); err != nil {
				return err
			}
			cert, key := trust.AuthorityFiles(dir)
			printLine(cmd.OutOrStdout(), fmt.Sprintf("%s   give it to every component, as tls.ca\n%s   keep it to yourself\nvalid for 10 years; next: evenkeel certs issue ROLE NAME --dir %s", cert, key, dir))
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultCertsDir, "the folder to put it in")
	return cmd
}

func certsIssueCommand() *cobra.Command {
	var dir, out string
	var days int
	cmd := &cobra.Command{
		Use:   "issue ROLE NAME",
		Short: "make a certificate for a master, an edge or a server's agent",
		Long: `Issue makes a certificate and its key. ROLE is master, edge or agent. NAME is the id of
the master or the edge; for an agent it is the id of the one server it speaks for.`,
		Example: "  evenkeel certs issue agent r1 --dir /etc/evenkeel/certs",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 || args[1] == "" || !slices.Contains(trust.Roles, trust.Role(args[0])) {
				return usagef("such as evenkeel certs issue edge e1", "issue takes a role (master, edge or agent) and a name")
			}
			if args[0] == string(trust.Edge) && strings.Contains(args[1], trust.Heir) {
				return usagef("such as evenkeel certs issue edge e1", "an edge's name has no %s in it, which stands before the number of one that has taken over", trust.Heir)
			}
			if days < 1 || days > 3650 {
				return usagef("such as --days 90", "--days %d: want 1 to 3650", days)
			}
			if out == "" {
				out = dir
			}
			return issue(cmd, dir, out, trust.Identity{Role: trust.Role(args[0]), Name: args[1]}, days)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultCertsDir, "the authority's folder")
	cmd.Flags().StringVar(&out, "out", "", "the folder to put the certificate in (default: the authority's)")
	cmd.Flags().IntVar(&days, "days", int(trust.DefaultLife/(24*time.Hour)), "how long it is valid")
	return cmd
}

func issue(cmd *cobra.Command, dir, out string, who trust.Identity, days int) error {
	authority, err := trust.OpenAuthority(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return hinted(fmt.Errorf("there is no authority in %s: %w", dir, err), "evenkeel certs init --dir "+dir+" makes one")
	}
	if err != nil {
		return err
	}
	stem := filepath.Join(out, string(who.Role)+"-"+fileName(who.Name))
	if err := authority.Issue(who, time.Now(), time.Duration(days)*24*time.Hour, stem+".crt", stem+".key"); err != nil {
		return err
	}
	ca, _ := trust.AuthorityFiles(dir)
	printLine(cmd.OutOrStdout(), fmt.Sprintf("for %s, for %d days; in its file:\n%s:\n  tls: { cert: %s.crt, key: %s.key, ca: %s }", who, days, who.Role, stem, stem, ca))
	return nil
}

// fileName makes of a name what every file system takes.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_", r) {
			return r
		}
		return '_'
	}, name)
}
