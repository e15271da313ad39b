package main

import (
	"cmp"
	"log/slog"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/evenkeel-lb/evenkeel/internal/logs"
	"github.com/evenkeel-lb/evenkeel/internal/redact"
)

// flagGroup is flags that several commands have.
type flagGroup interface{ add(cmd *cobra.Command) }

// addFlags gives a command groups of flags.
func addFlags(cmd *cobra.Command, groups ...flagGroup) {
	for _, g := range groups {
		g.add(cmd)
	}
}

// settingsSource makes settings of a role's flags: those of the file that they name, or what the flags themselves say.
type settingsSource interface {
	settings(cmd *cobra.Command) (*settings.Settings, error)
}

// runRole runs a role with the settings of its flags. Its error shows no values of the environment.
func runRole(cmd *cobra.Command, f settingsSource, start func(s *settings.Settings) error) error {
	s, err := f.settings(cmd)
	if err != nil {
		return err
	}
	s.SetFlags(setFlags(cmd, s))
	return s.HideSecrets(start(s))
}

// accessFlag says whether an edge writes a line for each request, and which.
type accessFlag struct{ word string }

func (f *accessFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.word, "access-log", "", "a line for each request beside the logs: on, off, json, common, combined, or a template such as '{client} {path} {status}' (default on)")
	completeWords(cmd, "access-log", "on", "off", "json", "common", "combined")
}

// logger returns a logger for requests, nil if there is to be none. It writes whatever level the other logs are to have. file is what the
// file says, where the flag says nothing; client reports whether the logger needs what only the client's head says.
func (f *accessFlag) logger(file string, flags logFlags, sink *logs.Sink) (log *slog.Logger, client bool, err error) {
	switch word := cmp.Or(f.word, file, "on"); word {
	case "on":
		log, err = flags.access(sink)
		return log, false, err
	case "off":
		return nil, false, nil
	case "json":
		return slog.New(terminal.NewLogHandler(sink, false, slog.LevelInfo, terminal.NewPainter(sink.Out()))), false, nil
	default:
		if problem := settings.BadAccessLog(word); problem != "" {
			return nil, false, hint.Usagef("docs/logs.md has the fields", "--access-log %s", problem)
		}
		format, err := logs.ParseAccessFormat(word)
		if err != nil {
			return nil, false, err
		}
		return slog.New(format.Handler(sink)), format.TellsClient(), nil
	}
}

// notBoth refuses flags that a file speaks for.
func notBoth(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		if cmd.Flags().Changed(name) {
			return hint.Usagef("write it into the file, or leave --config out", "--config and --%s cannot go together", name)
		}
	}
	return nil
}

// consoleOn returns the console of a role that logs to sink.
func (f *logFlags) consoleOn(sink *logs.Sink) (c process.Console) {
	if !terminal.Is(sink.Out()) {
		return c
	}
	c.Paint = terminal.NewPainter(sink.Out())
	c.Print = func(line string) { terminal.PrintLine(sink, "\r"+line) } // over the ^C that the terminal shows
	if f.format != "json" {
		c.Banner = func(lines string) { _, _ = sink.Write([]byte(lines)) } // a Sink never fails
	}
	return c
}

// certFlags are the certificates of the listener that flags describe.
type certFlags struct{ certs, keys []string }

func (f *certFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.certs, "listen-cert", nil, "a PEM file with a certificate: clients speak TLS; repeat for each name")
	cmd.Flags().StringArrayVar(&f.keys, "listen-key", nil, "a PEM file with its private key; repeat in the same order")
}

// part returns nil without an error if clients speak no TLS.
func (f *certFlags) part() (*settings.ListenerTLS, error) {
	if len(f.certs) != len(f.keys) {
		return nil, hint.Usagef("such as --listen-cert www.pem --listen-key www.key", "%d --listen-cert and %d --listen-key: want a key for each certificate", len(f.certs), len(f.keys))
	}
	if len(f.certs) == 0 {
		return nil, nil
	}
	t := &settings.ListenerTLS{}
	for i, cert := range f.certs {
		t.Certificates = append(t.Certificates, settings.KeyPair{Cert: cert, Key: f.keys[i]})
	}
	return t, nil
}

// adminFlags say where a role's admin address is and who may use it.
type adminFlags struct {
	address string
	part    settings.Access
}

func (f *adminFlags) define(flags *pflag.FlagSet, what, standard string) {
	flags.StringVar(&f.address, "admin", "", what+", host:port, unix:/path or off (default "+standard+")")
	flags.StringArrayVar(&f.part.Hosts, "admin-host", nil, "a name by which the admin address may be asked, beside IP addresses and localhost; repeat for each")
	flags.StringVar(&f.part.Cert, "admin-cert", "", "file with the certificate that the admin address shows; then it speaks TLS")
	flags.StringVar(&f.part.Key, "admin-key", "", "file with the certificate's key")
	flags.StringVar(&f.part.CA, "admin-ca", "", "file with the authority of client certificates for the admin address")
	flags.StringVar(&f.part.Denied, "admin-denied", "", "file that lists operators who are denied although their certificates are good")
	flags.StringVar(&f.part.Tokens, "admin-tokens", "", "file of bearer tokens for the admin address; evenkeel tokens add makes it")
	flags.StringVar(&f.part.Audit, "audit-log", "", "file for the record of who did what (default: the log)")
	flags.BoolVar(&f.part.Pprof, "pprof", false, "serve profiles of processor time and memory at the admin address")
}

// over fills what the flags leave open from the file.
func (f adminFlags) over(file settings.Access) settings.Access {
	if len(f.part.Hosts) > 0 {
		file.Hosts = f.part.Hosts
	}
	for _, one := range []struct{ flag, file *string }{{&f.part.Cert, &file.Cert}, {&f.part.Key, &file.Key}, {&f.part.CA, &file.CA}, {&f.part.Denied, &file.Denied}, {&f.part.Tokens, &file.Tokens}, {&f.part.Audit, &file.Audit}} {
		*one.file = cmp.Or(*one.flag, *one.file)
	}
	file.Pprof = file.Pprof || f.part.Pprof
	return file
}

// trustFlags say with which certificate a component proves itself, and whether it may go without.
type trustFlags struct {
	files    settings.TLS
	insecure bool
}

func (f *trustFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.files.Cert, "tls-cert", "", "file with this component's certificate; evenkeel certs makes some")
	flags.StringVar(&f.files.Key, "tls-key", "", "file with the certificate's key")
	flags.StringVar(&f.files.CA, "tls-ca", "", "file with the authority that the other components' certificates come from")
	flags.StringVar(&f.files.Denied, "tls-denied", "", "file that lists components which are denied although their certificates are good")
	flags.BoolVar(&f.insecure, "insecure", false, "allow addresses beyond loopback without certificates, and an admin address there without authentication")
}

// over fills what the flags leave open from the file.
func (f trustFlags) over(files settings.TLS, insecure bool) trustFlags {
	if f.files == (settings.TLS{}) {
		f.files = files
	}
	f.insecure = f.insecure || insecure
	return f
}

// setFlags returns what a role's flags say, and, of a role without a file, what they say by default.
func setFlags(cmd *cobra.Command, s *settings.Settings) (all []settings.Effective) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		switch {
		case f.Changed:
			all = append(all, settings.Effective{Key: "--" + f.Name, Value: redact.Text(f.Value.String()), From: "flag"})
		case f.DefValue != "" && f.DefValue != "[]" && f.DefValue != "false" && (!s.HasFile() || f.Name == "log-level" || f.Name == "log-format"):
			all = append(all, settings.Effective{Key: "--" + f.Name, Value: f.DefValue, From: "default"})
		}
	})
	return all
}
