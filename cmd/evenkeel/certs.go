package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/master"
)

func certsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "certs init | certs issue ROLE NAME | certs issuer NAME | certs token POOL | certs renew | certs show",
		Short: "make certificates by which masters, edges and agents know each other",
		Long: `Certs makes a small private authority, and certificates of it, for those who have
none. A certificate names one role and one name: an edge may speak only as that edge,
an agent only for that server and in its pools. Keys are readable by their owner alone, and
nothing is overwritten but by renew. Keep ca.key where only you can read it: who has it can
be anybody.

Where agents are many, a master signs their certificates: certs issuer makes what it needs for that,
without ca.key, and certs token what an agent needs to get one.

A running component takes up new files within seconds, or at once on SIGHUP.`,
		Example: `  evenkeel certs init
  evenkeel certs issue master m1
  evenkeel certs issue edge e1
  evenkeel certs issue agent r1 --pool render --ttl 90d
  evenkeel certs issuer m1 --pool render
  evenkeel certs token render
  evenkeel certs show
  evenkeel certs renew`,
		RunE: func(*cobra.Command, []string) error {
			return hint.Usagef("evenkeel certs --help explains them", "certs needs a command, such as init, or issue ROLE NAME")
		},
	}
	cmd.AddCommand(certsInitCommand(), certsIssueCommand(), certsIssuerCommand(), certsTokenCommand(), certsRenewCommand(), certsShowCommand())
	requireSubcommand(cmd)
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
			terminal.PrintLine(cmd.OutOrStdout(), fmt.Sprintf("%s   give it to every component, as tls.ca\n%s   keep it to yourself\nvalid for 10 years; next: evenkeel certs issue ROLE NAME --dir %s", cert, key, dir))
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultCertsDir, "the folder to put it in, which is made if need be")
	return cmd
}

// lifeFlag is how long a certificate is valid: a time in which d may stand for days.
type lifeFlag time.Duration

const longestLife = 10 * 365 * 24 * time.Hour

func (l *lifeFlag) String() string { return trust.Life(time.Duration(*l)) }

func (l *lifeFlag) Type() string { return "time" }

func (l *lifeFlag) Set(text string) error {
	life, err := time.ParseDuration(text)
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		var n int
		n, err = strconv.Atoi(days)
		life = time.Duration(min(n, 10_000)) * 24 * time.Hour
	}
	if err != nil || life < time.Minute || life > longestLife {
		return errors.New("want such as 90d or 12h, from 1m to 3650d")
	}
	*l = lifeFlag(life)
	return nil
}

// issueFlags are those of certs issue.
type issueFlags struct {
	dir, out, issuer string
	life             lifeFlag
	pools, addresses []string
	from             []string
}

func certsIssueCommand() *cobra.Command {
	f := issueFlags{life: lifeFlag(trust.DefaultLife)}
	cmd := &cobra.Command{
		Use:   "issue ROLE NAME",
		Short: "make a certificate for a master, an edge, a server's agent, or who operates them",
		Long: `Issue makes a certificate and its key. ROLE is master, edge or agent, or operator or reader
for those who use admin addresses. NAME is the id of the master or the edge; for an agent
it is the id of the one server it speaks for; else it is what the audit log calls its holder.

An agent may register its server only in the pools that its certificate names, or, if it names
none, in those whose pools.NAME.agents of the masters' file lists it. An edge whose certificate names
pools may ask for servers of these alone.`,
		Example: `  evenkeel certs issue agent r1 --pool render
  evenkeel certs issue agent r2 --pool render --address 10.0.1.0/24 --dir /etc/evenkeel/certs`,
		RunE: func(cmd *cobra.Command, args []string) error {
			who, err := f.subject(args)
			if err != nil {
				return err
			}
			return f.issue(cmd, who)
		},
	}
	cmd.ValidArgsFunction = completeRole
	cmd.Flags().StringVar(&f.dir, "dir", defaultCertsDir, "the authority's folder")
	cmd.Flags().StringVar(&f.out, "out", "", "the folder to put the certificate in, which is made if need be (default: the authority's)")
	cmd.Flags().StringArrayVar(&f.pools, "pool", nil, "a pool in which an agent may register its server, or an edge ask; repeat for each; * for any")
	cmd.Flags().StringArrayVar(&f.addresses, "address", nil, "an address or prefix in which an agent's server must be; repeat for each")
	cmd.Flags().StringArrayVar(&f.from, "from", nil, "an address or prefix from which an edge or an agent may connect; repeat for each (default: anywhere)")
	cmd.Flags().StringVar(&f.issuer, "issuer", "", "an issuer's FILE.crt, with FILE.key beside it, that signs in the place of the authority")
	cmd.Flags().Var(&f.life, "ttl", "how long it is valid, such as 90d or 12h")
	return cmd
}

// subject judges whom a certificate is asked for: one that no component could bear is not made.
func (f *issueFlags) subject(args []string) (who trust.Subject, err error) {
	if len(args) != 2 || !slices.Contains(trust.Roles, trust.Role(args[0])) {
		return who, hint.Usagef("such as evenkeel certs issue edge e1", "issue takes a role (master, edge, agent, operator or reader) and a name")
	}
	who.Identity = trust.Identity{Role: trust.Role(args[0]), Name: args[1]}
	if problem := badName(who.Identity); problem != "" {
		return who, hint.Usagef("such as evenkeel certs issue "+args[0]+" e1", "no %s can be called %q: %s", who.Role, args[1], problem)
	}
	for _, pool := range f.pools {
		if problem := badPool(pool); pool != trust.AnyPool && problem != "" {
			return who, hint.Usagef("such as --pool render", "--pool: %s", problem)
		}
	}
	who.Pools = f.pools
	if who.Addresses, err = prefixFlags("--address", f.addresses); err != nil {
		return who, err
	}
	if who.From, err = prefixFlags("--from", f.from); err != nil {
		return who, err
	}
	if who.Role != trust.Agent && (len(f.addresses) > 0 || who.Role != trust.Edge && len(f.pools)+len(f.from) > 0) {
		return who, hint.Usagef("agents take --pool, --address and --from, edges --pool and --from", "a certificate of %s cannot be bound so", who)
	}
	return who, nil
}

// prefixFlags reads flags that are addresses or prefixes.
func prefixFlags(flag string, texts []string) (all []netip.Prefix, err error) {
	for _, text := range texts {
		var prefix settings.PrefixText
		if err := prefix.UnmarshalText([]byte(text)); err != nil {
			return nil, hint.Usagef("such as "+flag+" 10.0.1.0/24", "%s %q: %w", flag, text, err)
		}
		all = append(all, netip.Prefix(prefix).Masked())
	}
	return all, nil
}

// badName asks the room of a role whether a component of it could have a name. Empty: it could.
func badName(who trust.Identity) (problem string) {
	at := func(wanted string) func(field, said string) {
		return func(field, said string) {
			if field == wanted && problem == "" {
				problem = said
			}
		}
	}
	if who.Name == "" {
		return "it is empty"
	}
	switch who.Role {
	case trust.Master:
		c := master.Config{ID: who.Name}
		c.Validate(at("id"))
	case trust.Edge:
		c := edge.Config{ID: balance.EdgeID(who.Name)}
		c.Validate(at("id"))
		if strings.Contains(who.Name, trust.Heir) {
			problem = "it has " + trust.Heir + " in it, which stands before the number of one that has taken over"
		}
	default: // an agent's is a server's; operators' and readers' stand in the audit log
		spec := balance.ServerSpec{ID: balance.ServerID(who.Name)}
		spec.Validate(at("id"))
	}
	return problem
}

func badPool(name string) (problem string) {
	c := master.PoolConfig{Name: name}
	c.Validate(func(field, said string) {
		if field == "name" {
			problem = said
		}
	})
	return problem
}

func openAuthority(dir string) (*trust.Authority, error) {
	authority, err := trust.OpenAuthority(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint.With(fmt.Errorf("there is no authority in %s: %w", dir, err), "evenkeel certs init --dir "+dir+" makes one")
	}
	return authority, err
}

// signer returns who signs: the authority, or the issuer that was named.
func (f *issueFlags) signer() (*trust.Authority, error) {
	if f.issuer == "" {
		return openAuthority(f.dir)
	}
	stem, ok := strings.CutSuffix(f.issuer, ".crt")
	if !ok {
		return nil, hint.Usagef("such as --issuer certs/issuer-render.crt", "--issuer %q: want a file whose name ends in .crt", f.issuer)
	}
	return trust.OpenIssuer(f.issuer, stem+".key")
}

func certsIssuerCommand() *cobra.Command {
	f := issueFlags{life: lifeFlag(trust.IssuerLife)}
	cmd := &cobra.Command{
		Use:   "issuer NAME --pool POOL",
		Short: "make an authority that signs for agents of some pools alone",
		Long: `Issuer makes an intermediate authority, so that agents can be added where ca.key is not, as by
those who run a pool, or by a master, which then signs for agents that have a token (master.enrol). It signs for agents of its pools and for no other component: masters and edges refuse what
else is signed by it, so who steals its key gains those pools and no more, for as long as it is valid.`,
		Example: `  evenkeel certs issuer m1 --pool render --pool web
  evenkeel certs issuer render-team --pool render --ttl 30d
  evenkeel certs issue agent r1 --pool render --issuer certs/issuer-render-team.crt`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || badName(trust.Identity{Role: trust.Edge, Name: args[0]}) != "" || len(f.pools) == 0 {
				return hint.Usagef("such as evenkeel certs issuer render-team --pool render", "issuer takes a name, of letters, digits, '-', '.' and '_', and at least one --pool")
			}
			if _, err := f.subject([]string{string(trust.Agent), args[0]}); err != nil {
				return err // a pool that cannot be
			}
			authority, err := openAuthority(f.dir)
			if err != nil {
				return err
			}
			stem := filepath.Join(f.dir, "issuer-"+args[0])
			if err := authority.IssueIssuer(trust.Issuer{Name: args[0], Bounds: trust.Bounds{Pools: f.pools}}, time.Now(), time.Duration(f.life), stem+".crt", stem+".key", false); err != nil {
				return err
			}
			terminal.PrintLine(cmd.OutOrStdout(), fmt.Sprintf("issuer %s for pools %s, for %s; next, in a master's file:\nmaster:\n  enrol: { cert: %[4]s.crt, key: %[4]s.key }\nor:\n  evenkeel certs issue agent NAME --pool %[5]s --issuer %[4]s.crt", args[0], strings.Join(f.pools, ", "), &f.life, stem, f.pools[0]))
			return nil
		},
	}
	cmd.Flags().StringVar(&f.dir, "dir", defaultCertsDir, "the authority's folder")
	cmd.Flags().StringArrayVar(&f.pools, "pool", nil, "a pool for whose agents it signs; repeat for each")
	cmd.Flags().Var(&f.life, "ttl", "how long it is valid, such as 30d")
	return cmd
}

func (f *issueFlags) issue(cmd *cobra.Command, who trust.Subject) error {
	authority, err := f.signer()
	if err != nil {
		return err
	}
	if f.out == "" {
		f.out = f.dir
	}
	if err := os.MkdirAll(f.out, 0o755); err != nil {
		return err
	}
	stem := filepath.Join(f.out, string(who.Role)+"-"+fileName(who.Name))
	if err := authority.Issue(who, time.Now(), time.Duration(f.life), stem+".crt", stem+".key"); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return hint.With(err, "evenkeel certs renew "+stem+".crt puts another in its place")
		}
		return err
	}
	if who.Role == trust.Agent && len(who.Pools) == 0 {
		terminal.PrintLine(cmd.ErrOrStderr(), fmt.Sprintf("note: it names no pool, so list %s in pools.NAME.agents of the masters' file, or issue it with --pool NAME", who.Name))
	}
	ca, _ := trust.AuthorityFiles(f.dir)
	if who.Role == trust.Operator {
		terminal.PrintLine(cmd.OutOrStdout(), fmt.Sprintf("for %s, for %s; its user gives commands the flags:\n--tls-cert %s.crt --tls-key %s.key --tls-ca %s", who, &f.life, stem, stem, ca))
		return nil
	}
	terminal.PrintLine(cmd.OutOrStdout(), fmt.Sprintf("for %s, for %s; in its file:\n%s:\n  tls: { cert: %s.crt, key: %s.key, ca: %s }", who, &f.life, who.Role, stem, stem, ca))
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

func certsRenewCommand() *cobra.Command {
	var dir string
	var life lifeFlag
	cmd := &cobra.Command{
		Use:   "renew [FILE.crt …]",
		Short: "put new certificates and keys in the place of old ones",
		Long: `Renew makes another certificate and key for whom each file is, with the same pools and
addresses, and puts them in the place of the old ones. Without files it renews all components'
certificates in the authority's folder. Running components take them up within seconds. The key of
FILE.crt is FILE.key.`,
		Example: `  evenkeel certs renew
  evenkeel certs renew certs/agent-r1.crt --ttl 90d`,
		RunE: func(cmd *cobra.Command, files []string) error {
			authority, err := openAuthority(dir)
			if err != nil {
				return err
			}
			if len(files) == 0 {
				if files, err = componentFiles(dir); err != nil {
					return err
				}
			}
			for _, cert := range files {
				stem, ok := strings.CutSuffix(cert, ".crt")
				if !ok {
					return hint.Usagef("such as evenkeel certs renew certs/agent-r1.crt", "%s: want files whose names end in .crt", cert)
				}
				old, err := trust.ReadCertificate(cert)
				if err != nil {
					return err
				}
				lives := time.Duration(life)
				if lives == 0 {
					lives = old.Life
				}
				if err := authority.Renew(old, time.Now(), lives, cert, stem+".key"); err != nil {
					return err
				}
				terminal.PrintLine(cmd.OutOrStdout(), fmt.Sprintf("%s: %s, for %s from now", cert, old.Owner, trust.Life(lives)))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultCertsDir, "the authority's folder")
	cmd.Flags().Var(&life, "ttl", "how long they are valid, such as 90d or 12h (default: as long as the old ones were)")
	return cmd
}

// componentFiles returns the certificates in an authority's folder, but its own.
func componentFiles(dir string) ([]string, error) {
	all, err := filepath.Glob(filepath.Join(dir, "*.crt"))
	ca, _ := trust.AuthorityFiles(dir)
	all = slices.DeleteFunc(all, func(name string) bool { return name == ca })
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("there is no certificate of a component in %s", dir)
	}
	return all, err
}

func certsShowCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "show [FILE.crt …]",
		Short: "show whose certificates they are, where they are valid and when they expire",
		Long: `Show prints a few lines for each file, or for each certificate in the authority's folder,
with what is wrong: that it has ended or ends soon, that its key can be read by every user. The exit
code is 3 if anything is.`,
		Example: `  evenkeel certs show
  evenkeel certs show /etc/evenkeel/certs/agent-r1.crt`,
		RunE: func(cmd *cobra.Command, files []string) error {
			if len(files) == 0 {
				var err error
				if files, err = filepath.Glob(filepath.Join(dir, "*.crt")); err != nil || len(files) == 0 {
					return hint.With(fmt.Errorf("there is no certificate in %s", dir), "evenkeel certs init --dir "+dir+" makes an authority")
				}
			}
			trouble := false
			for _, file := range files {
				c, err := trust.ReadCertificate(file)
				if err != nil {
					return err
				}
				text, bad := describe(file, c)
				terminal.PrintLine(cmd.OutOrStdout(), text)
				trouble = trouble || bad
			}
			if trouble {
				return errTrouble
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultCertsDir, "the authority's folder")
	return cmd
}

// describe returns what a certificate contains, and whether something is wrong with it.
func describe(file string, c *trust.Certificate) (text string, bad bool) {
	lines := []string{file, "  for        " + c.Owner}
	if len(c.Pools) > 0 {
		lines = append(lines, "  pools      "+strings.Join(c.Pools, ", "))
	}
	for _, a := range c.Addresses {
		lines = append(lines, "  address    "+a.String())
	}
	for _, p := range c.Bounds.From {
		lines = append(lines, "  from       "+p.String())
	}
	lines = append(lines, "  signed by  "+c.By, "  serial     "+c.Serial, "  sha256     "+c.Fingerprint,
		fmt.Sprintf("  valid      %s to %s", c.From.UTC().Format(time.DateTime), c.Ends.UTC().Format(time.DateTime)))
	left, renew := time.Until(c.Ends), "evenkeel certs renew "+file
	if c.HasKey {
		renew = "its agent renews it by a master, or gets another by a token"
	}
	switch {
	case left <= 0:
		lines, bad = append(lines, "  problem    it has ended: "+renew), true
	case trust.Stage(left, c.Life) > 0:
		lines, bad = append(lines, "  problem    it ends in "+trust.Life(left)+": "+renew), true
	default:
		lines = append(lines, "  ends in    "+trust.Life(left))
	}
	key := file // of one that was enrolled, which has both
	if stem, ok := strings.CutSuffix(file, ".crt"); ok {
		key = stem + ".key"
	}
	if exposed := trust.Exposed(key); exposed != "" && (key != file || c.HasKey) {
		lines, bad = append(lines, "  problem    "+exposed), true
	}
	return strings.Join(lines, "\n"), bad
}
