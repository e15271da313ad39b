package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/elect"
	"github.com/evenkeel-lb/evenkeel/elect/etcd"
	"github.com/evenkeel-lb/evenkeel/elect/kubernetes"
	"github.com/evenkeel-lb/evenkeel/internal/enrol"
	"github.com/evenkeel-lb/evenkeel/master"
)

func electionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "election", Short: "repair the election of masters"}
	cmd.AddCommand(raiseCommand())
	requireSubcommand(cmd)
	return cmd
}

func raiseCommand() *cobra.Command {
	var api api
	cmd := &cobra.Command{
		Use:   "raise",
		Short: "make all fencing numbers larger than any before",
		Long: `Raise repairs an election whose store has lost data, such as an etcd that was set
back to a snapshot: the leaders that it names have fencing numbers that were given before, and
edges and agents refuse them. A master then says so in its log and in evenkeel status.

First make sure that no master runs with the former store, such as members of the old etcd
that are still up: its leaders would not know of the new ones. Then one raise, at any master,
is enough: all masters take their leads anew, with numbers larger than any before.`,
		Example: "  evenkeel election raise --admin http://10.0.0.5:7480",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := api.call(cmd.Context(), http.MethodPost, "/v1/election/raise", nil); err != nil {
				return err
			}
			terminal.PrintLine(cmd.OutOrStdout(), "raised: the masters are elected again, with larger fencing numbers")
			return nil
		},
	}
	api.add(cmd)
	return cmd
}

// candidacy is a master's place in an election. A nil one is none.
type candidacy struct {
	self   elect.Candidate
	store  elect.Store
	ttl    time.Duration
	values enrol.Store // what all masters of the election see
}

// openCandidacy returns the candidacy, nil if the file wants no election.
func openCandidacy(e *settings.Election, id, wire string) (*candidacy, error) {
	if e == nil {
		return nil, nil
	}
	at, err := reachableAt(e, wire)
	if err != nil {
		return nil, err
	}
	c := &candidacy{self: elect.Candidate{ID: id + elect.LifeMark + strconv.FormatUint(uint64(rand.Uint32()), 36), Address: at}}
	return c, c.connect(e)
}

// connect opens the election's store.
func (c *candidacy) connect(e *settings.Election) error {
	if k := e.Kubernetes; k != nil {
		c.ttl = cmp.Or(k.TTL, settings.DefaultKubernetesTTL)
		s, err := kubernetes.New(kubernetes.Config{Server: k.Server, Namespace: k.Namespace, TokenFile: k.TokenFile, CAFile: k.CA, Name: k.Name, TTL: c.ttl}, c.self)
		if err == nil {
			c.store, c.values = s, s.Values()
		}
		return err
	}
	c.ttl = cmp.Or(e.Etcd.TTL, settings.DefaultEtcdTTL)
	private, err := etcdTLS(e.Etcd.TLS)
	if err != nil {
		return err
	}
	s, err := etcd.New(etcd.Config{Endpoints: e.Etcd.Endpoints, Prefix: e.Etcd.Prefix, TTL: c.ttl, TLS: private}, c.self)
	if err == nil {
		c.store, c.values = s, s.Values()
	}
	return err
}

// shared returns where tokens are kept that all masters see; nil: nowhere.
func (c *candidacy) shared() enrol.Store {
	if c == nil {
		return nil
	}
	return c.values
}

// stand returns what has a master lead its share of the pools; it comes first, to be the first to stop, so that another
// leads before this master is gone.
func (c *candidacy) stand(m *master.Master, log *slog.Logger) []process.Component {
	if c == nil {
		return nil
	}
	elector := elect.New(elect.Config{Self: c.self, TTL: c.ttl, Pools: m.PoolNames, Group: m.PoolGroup, Log: log}, c.store, m)
	m.RaiseBy(elector.Raise)
	return []process.Component{{Name: "election", Run: func(ctx context.Context) error { return elector.Run(ctx) }}}
}

// etcdTLS returns what a client of etcd shows and believes; nil without a part.
func etcdTLS(t *settings.EtcdTLS) (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("etcd's certificate authority: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("etcd's certificate authority: %s has no certificate in it", t.CA)
		}
	}
	if t.Cert != "" || t.Key != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate for etcd: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// reachableAt returns where edges reach this master: what the file says, or else where it
// listens, if that is an address that others can dial.
func reachableAt(e *settings.Election, wire string) (string, error) {
	if e.Address != "" {
		return e.Address, nil
	}
	host, port, err := net.SplitHostPort(wire)
	if err != nil {
		return "", hint.With(fmt.Errorf("edges cannot be given the address %s", wire), "write election.address")
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return wire, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("what this machine is called: %w", err)
	}
	return net.JoinHostPort(name, port), nil
}
