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
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/config"
	"github.com/evenkeel-lb/evenkeel/elect"
	"github.com/evenkeel-lb/evenkeel/elect/etcd"
	"github.com/evenkeel-lb/evenkeel/elect/kubernetes"
	"github.com/evenkeel-lb/evenkeel/master"
)

// electionPart is how several masters agree on who leads each pool.
type electionPart struct {
	Address    string          `yaml:"address" also:"advertise"`
	Etcd       *etcdPart       `yaml:"etcd"`
	Kubernetes *kubernetesPart `yaml:"kubernetes" also:"k8s lease"`
}

type etcdPart struct {
	Endpoints []string      `yaml:"endpoints" also:"servers hosts"`
	Prefix    string        `yaml:"prefix"`
	TTL       time.Duration `yaml:"ttl" also:"lease"`
	TLS       *tlsPart      `yaml:"tls"`
}

type kubernetesPart struct {
	Namespace string        `yaml:"namespace"`
	Name      string        `yaml:"name" also:"prefix"`
	TTL       time.Duration `yaml:"ttl" also:"leaseduration"`
	Server    string        `yaml:"server" also:"api"`
	TokenFile string        `yaml:"token_file"`
	CA        string        `yaml:"ca"`
}

const (
	defaultEtcdTTL       = 2 * time.Second
	defaultKubernetesTTL = 10 * time.Second
	longestTTL           = 10 * time.Minute
)

func (e *electionPart) validate(bad func(field, problem string)) {
	if e.Address != "" {
		if problem := badListen(e.Address); problem != "" {
			bad("address", problem)
		}
	}
	switch {
	case e.Etcd == nil && e.Kubernetes == nil:
		bad("etcd", "missing, want etcd or kubernetes: who keeps the election")
	case e.Etcd != nil && e.Kubernetes != nil:
		bad("kubernetes", "beside etcd, want one of them")
	case e.Etcd != nil:
		if len(e.Etcd.Endpoints) == 0 {
			bad("etcd.endpoints", "none, want at least one as host:port or https://host:port")
		}
		for i, at := range e.Etcd.Endpoints {
			_, host, found := strings.Cut(at, "://")
			if _, _, err := net.SplitHostPort(host); found && err == nil {
				continue
			}
			if problem := badListen(at); problem != "" {
				bad("etcd."+config.Item("endpoints", i), fmt.Sprintf("%q, want host:port or https://host:port", at))
			}
		}
		badTTL("etcd.ttl", e.Etcd.TTL, etcd.LeastTTL, bad)
	default:
		badTTL("kubernetes.ttl", e.Kubernetes.TTL, kubernetes.LeastTTL, bad)
	}
}

func badTTL(field string, ttl, least time.Duration, bad func(field, problem string)) {
	if ttl != 0 && (ttl < least || ttl > longestTTL || ttl%time.Second != 0) {
		bad(field, fmt.Sprintf("%v, want whole seconds from %v to %v", ttl, least, longestTTL))
	}
}

// stand returns what has a master lead its share of the pools, or nil if the file wants no election.
func (e *electionPart) stand(m *master.Master, id, wire string, log *slog.Logger) (*part, error) {
	if e == nil {
		return nil, nil
	}
	at, err := e.reachable(wire)
	if err != nil {
		return nil, err
	}
	self := elect.Candidate{ID: id + elect.LifeMark + strconv.FormatUint(uint64(rand.Uint32()), 36), Address: at}
	store, ttl, err := e.store(self)
	if err != nil {
		return nil, err
	}
	elector := elect.New(elect.Config{Self: self, TTL: ttl, Pools: m.PoolNames, Log: log}, store, m)
	return &part{name: "election", run: func(ctx context.Context) error { return elector.Run(ctx) }}, nil
}

func (e *electionPart) store(self elect.Candidate) (elect.Store, time.Duration, error) {
	if k := e.Kubernetes; k != nil {
		ttl := cmp.Or(k.TTL, defaultKubernetesTTL)
		s, err := kubernetes.New(kubernetes.Config{Server: k.Server, Namespace: k.Namespace, TokenFile: k.TokenFile, CAFile: k.CA, Name: k.Name, TTL: ttl}, self)
		return s, ttl, err
	}
	ttl := cmp.Or(e.Etcd.TTL, defaultEtcdTTL)
	private, err := e.Etcd.TLS.client()
	if err != nil {
		return nil, 0, err
	}
	s, err := etcd.New(etcd.Config{Endpoints: e.Etcd.Endpoints, Prefix: e.Etcd.Prefix, TTL: ttl, TLS: private}, self)
	return s, ttl, err
}

// client returns what a client of etcd shows and believes; nil without a part.
func (t *tlsPart) client() (*tls.Config, error) {
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

// reachable returns where edges reach this master: what the file says, or else where it
// listens, if that is an address that others can dial.
func (e *electionPart) reachable(wire string) (string, error) {
	if e.Address != "" {
		return e.Address, nil
	}
	host, port, err := net.SplitHostPort(wire)
	if err != nil {
		return "", hinted(fmt.Errorf("edges cannot be told to come to %s", wire), "write election.address")
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
