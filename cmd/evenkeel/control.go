package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"
	"github.com/evenkeel-lb/evenkeel/internal/version"

	"github.com/spf13/cobra"
)

// The commands that control one process, whatever its role.

// control is the process that such a command asks: one of this machine, or one by its admin address.
type control struct{ api }

func (c *control) add(cmd *cobra.Command) {
	c.api.addFor(cmd, completeAllProcesses)
	cmd.Flags().Lookup("admin").Usage = "a process's admin address ($" + envAdmin + "; default: the socket of the one process on this machine)"
}

// ask chooses the process, and calls it.
func (c *control) ask(ctx context.Context, method, path string, body any) ([]byte, error) {
	if c.master == nil && c.base == "" && (c.at != "" || os.Getenv(envAdmin) == "") {
		f, err := findProcess(ctx, c.at)
		if err != nil {
			return nil, err
		}
		if c.at == "" {
			out := c.cmd.ErrOrStderr()
			terminal.PrintLine(out, terminal.NewPainter(out)(terminal.Dim, "asking "+f.Name))
		}
		c.master = f.target()
	}
	return c.call(ctx, method, path, body)
}

func reloadCommand() *cobra.Command {
	var c control
	asJSON := false
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "have a running process read its file anew, and say what has changed",
		Long: `Reload has a process of this machine read its file and its certificates anew, as SIGHUP does, and
waits until that is done. It prints which values of the file are others now, and which of them need a
restart. A file with problems changes nothing: they are printed, and the exit code is 1.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, err := c.ask(cmd.Context(), http.MethodPost, process.ReloadPath, struct{}{})
			if err != nil {
				return err
			}
			var r process.ReloadReport
			err = printAnswer(cmd.OutOrStdout(), answer, asJSON, &r, func() { printReload(cmd.OutOrStdout(), &r) })
			if err == nil && (!r.Reloaded || len(r.Problems) > 0) {
				return errors.New(strings.Join(r.Problems, "\n"))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what the process answers")
	c.add(cmd)
	return cmd
}

func printReload(out io.Writer, r *process.ReloadReport) {
	if !r.Reloaded {
		return
	}
	what := "certificates"
	if r.File != "" {
		what = r.File
	}
	if terminal.PrintLine(out, "reloaded "+what); r.File == "" {
		return
	}
	for _, change := range r.Changed {
		terminal.PrintLine(out, "  "+change)
	}
	if len(r.Changed) == 0 {
		terminal.PrintLine(out, "  no value of the file has changed")
	}
	for _, key := range r.Restart {
		terminal.PrintLine(out, "  "+key+" needs a restart")
	}
}

func setLogCommand() *cobra.Command {
	var c control
	cmd := &cobra.Command{
		Use:     "set-log [debug | info | warn | error]",
		Short:   "set or show the lowest level of a running process's log",
		Long:    "Set-log changes the lowest level that a process of this machine logs, until the process ends. Without a level it prints the present one. Access logs stay as they are.",
		Example: "  evenkeel set-log debug --at run-4711",
		RunE: func(cmd *cobra.Command, args []string) error {
			method, body := http.MethodGet, any(nil)
			if len(args) > 1 {
				return hint.Usagef("such as evenkeel set-log debug", "set-log takes one level, got %d", len(args))
			}
			if len(args) == 1 {
				if _, known := process.ParseLevel(args[0]); !known {
					return hint.Usagef("want debug, info, warn or error", "level %q is not known", args[0])
				}
				method, body = http.MethodPost, process.LogLevel{Level: args[0]}
			}
			answer, err := c.ask(cmd.Context(), method, process.LogPath, body)
			if err != nil {
				return err
			}
			var l process.LogLevel
			return printAnswer(cmd.OutOrStdout(), answer, false, &l, func() {
				text := "the log has records of " + l.Level + " and above"
				if l.Was != "" && l.Was != l.Level {
					text += ", before: " + l.Was
				}
				terminal.PrintLine(cmd.OutOrStdout(), text)
			})
		},
	}
	cmd.ValidArgs = []string{"debug", "info", "warn", "error"}
	c.add(cmd)
	return cmd
}

func configCommand() *cobra.Command {
	var c control
	var role string
	asJSON := false
	cmd := &cobra.Command{
		Use:   "config [FILE]",
		Short: "show the values that a process works with, and where each comes from",
		Long: `Config prints the flags, the variables of the environment, the values of the file and the defaults
that a running process of this machine works with, each with its origin: flag, environment, file:line or
default. With FILE it prints what a role would work with. Values from the environment are shown by their
names, URLs without user, password and query.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return hint.Usagef("such as evenkeel config evenkeel.yaml", "config takes one file, got %d", len(args))
			}
			answer, err := []byte(nil), error(nil)
			if len(args) == 1 {
				answer, err = fileConfig(args[0], role)
			} else {
				answer, err = c.ask(cmd.Context(), http.MethodGet, process.ConfigPath, nil)
			}
			if err != nil {
				return err
			}
			var told struct{ Values []settings.Effective }
			return printAnswer(cmd.OutOrStdout(), answer, asJSON, &told, func() {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				for _, v := range told.Values {
					fmt.Fprintf(w, "%s\t%s\t%s\n", v.Key, v.Value, v.From)
				}
				_ = w.Flush() // a terminal that is gone needs no error
			})
		},
	}
	cmd.ValidArgsFunction = completeYAML
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	cmd.Flags().StringVar(&role, "role", "", "with FILE: the role that would read it, run, master, edge or agent (default: all parts)")
	completeWords(cmd, "role", "run", "master", "edge", "agent")
	c.add(cmd)
	return cmd
}

func fileConfig(path, role string) ([]byte, error) {
	if role != "" && !slices.Contains([]string{"run", "master", "edge", "agent"}, role) {
		return nil, hint.Usagef("want run, master, edge or agent", "--role %q is not known", role)
	}
	s, err := settings.Read(path)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"values": s.Effective(role)})
}

func bugreportCommand() *cobra.Command {
	var c control
	out := ""
	cmd := &cobra.Command{
		Use:   "bugreport",
		Short: "write what others need to look for a fault, without secrets, into a file",
		Long: `Bugreport asks a process of this machine for its version, its configuration, status, metrics, recent log
records, events and goroutines, and writes them into a .tar.gz file. What comes from the environment is shown by its
name, URLs without user, password and query, and IP addresses that the configuration does not name as
[address]. Keys, tokens and access logs are not in it. Names of servers, pools and hosts are: read it before you pass it on.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now()
			files, err := c.collect(cmd.Context(), now)
			if err != nil {
				return err
			}
			if out == "" {
				out = "evenkeel-bugreport-" + now.UTC().Format("20060102-150405") + ".tar.gz"
			}
			if err := writeBundle(out, now, files); err != nil {
				return err
			}
			terminal.PrintLine(cmd.OutOrStdout(), fmt.Sprintf("wrote %s: %d files; read them before you pass it on", out, len(files)))
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the file to write (default evenkeel-bugreport-TIME.tar.gz)")
	c.add(cmd)
	return cmd
}

// bundled is a file of a bug report.
type bundled struct {
	name string
	text []byte
}

// collect asks the process for all that belongs into a bug report. What it does not serve is left out, with the reason.
func (c *control) collect(ctx context.Context, now time.Time) (files []bundled, err error) {
	config, err := c.ask(ctx, http.MethodGet, process.ConfigPath, nil)
	if err != nil {
		return nil, err
	}
	known := addressesIn(config)
	missing := ""
	for _, page := range []struct{ name, path string }{
		{"config.json", ""}, {"process.json", process.InfoPath}, {"ready.txt", "/readyz"}, {"status.json", "/v1/status"}, {"pools.json", "/v1/pools"}, {"events.json", "/v1/events"},
		{"metrics.txt", "/metrics"}, {"edge-metrics.txt", "/edge/metrics"}, {"records.jsonl", process.RecordsPath}, {"goroutines.txt", process.GoroutinesPath},
	} {
		text := config
		if page.path != "" {
			if text, err = c.ask(ctx, http.MethodGet, page.path, nil); err != nil {
				missing += page.name + ": " + strings.ReplaceAll(err.Error(), "\n", " ") + "\n"
				continue
			}
		}
		files = append(files, bundled{page.name, hideAddresses(text, known)})
	}
	about := fmt.Sprintf("made by evenkeel %s at %s\nleft out, as the process does not serve it:\n%s", version.String(), now.UTC().Format(time.RFC3339), missing)
	return append([]bundled{{"about.txt", hideAddresses([]byte(about), known)}}, files...), nil
}

// addressLike is what may be an IP address, or has one with a port.
var addressLike = regexp.MustCompile(`\[?[0-9a-fA-F]*[.:][0-9a-fA-F:.]+(%[0-9a-zA-Z]+)?\]?`)

// addressesIn returns the IP addresses that a text names.
func addressesIn(text []byte) map[netip.Addr]bool {
	all := make(map[netip.Addr]bool)
	for _, word := range addressLike.FindAllString(string(text), -1) {
		if ip, _, ok := cutAddress(word); ok {
			all[ip] = true
		}
	}
	return all
}

// cutAddress returns the IP address that a word is, or begins with before a port, and the rest.
func cutAddress(word string) (ip netip.Addr, rest string, ok bool) {
	if at, err := netip.ParseAddrPort(word); err == nil {
		return at.Addr().Unmap().WithZone(""), fmt.Sprintf(":%d", at.Port()), true
	}
	ip, err := netip.ParseAddr(strings.Trim(strings.TrimRight(word, ".:"), "[]"))
	return ip.Unmap().WithZone(""), "", err == nil
}

// hideAddresses hides the IP addresses that are not known, such as clients'. Loopback and unspecified ones belong to no client that could be found by them.
func hideAddresses(text []byte, known map[netip.Addr]bool) []byte {
	return addressLike.ReplaceAllFunc(text, func(word []byte) []byte {
		ip, rest, ok := cutAddress(string(word))
		if !ok || known[ip] || ip.IsLoopback() || ip.IsUnspecified() {
			return word
		}
		return []byte("[address]" + rest)
	})
}

// writeBundle writes the files into an archive that only this user may read.
func writeBundle(path string, now time.Time, files []bundled) (err error) {
	var archive bytes.Buffer
	packed := gzip.NewWriter(&archive)
	t := tar.NewWriter(packed)
	for _, f := range files {
		err = errors.Join(err, t.WriteHeader(&tar.Header{Name: "evenkeel-bugreport/" + f.name, Mode: 0o600, Size: int64(len(f.text)), ModTime: now}))
		_, failed := t.Write(f.text)
		err = errors.Join(err, failed)
	}
	if err = errors.Join(err, t.Close(), packed.Close()); err != nil {
		return err
	}
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return hint.With(err, "--out names a file that does not exist yet")
	}
	_, err = to.Write(archive.Bytes())
	return errors.Join(err, to.Close())
}
