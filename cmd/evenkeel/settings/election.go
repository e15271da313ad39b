package settings

import (
	"fmt"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/config"
	"github.com/evenkeel-lb/evenkeel/elect/etcd"
	"github.com/evenkeel-lb/evenkeel/elect/kubernetes"
)

// Election is how several masters agree on who leads each pool.
type Election struct {
	Address    string      `yaml:"address" also:"advertise"`
	Etcd       *Etcd       `yaml:"etcd"`
	Kubernetes *Kubernetes `yaml:"kubernetes" also:"k8s lease"`
}

type Etcd struct {
	Endpoints []string      `yaml:"endpoints" also:"servers hosts"`
	Prefix    string        `yaml:"prefix"`
	TTL       time.Duration `yaml:"ttl" also:"lease"`
	TLS       *EtcdTLS      `yaml:"tls"`
}

// EtcdTLS is what proves us to etcd, and etcd to us.
type EtcdTLS struct {
	Cert string `yaml:"cert" also:"certificate"`
	Key  string `yaml:"key" also:"private"`
	CA   string `yaml:"ca" also:"authority"`
}

type Kubernetes struct {
	Namespace string        `yaml:"namespace"`
	Name      string        `yaml:"name" also:"prefix"`
	TTL       time.Duration `yaml:"ttl" also:"leaseduration"`
	Server    string        `yaml:"server" also:"api"`
	TokenFile string        `yaml:"token_file"`
	CA        string        `yaml:"ca"`
}

const (
	DefaultEtcdTTL       = 2 * time.Second
	DefaultKubernetesTTL = 10 * time.Second
	maxTTL               = 10 * time.Minute
)

func (e *Election) validate(bad func(field, problem string)) {
	if e.Address != "" {
		if problem := checkMasterAddress(e.Address); problem != "" {
			bad("address", problem)
		}
	}
	switch {
	case e.Etcd == nil && e.Kubernetes == nil:
		bad("etcd", "missing, want etcd or kubernetes: who keeps the election")
	case e.Etcd != nil && e.Kubernetes != nil:
		bad("kubernetes", "beside etcd, want one of them")
	}
	if e.Etcd != nil {
		if len(e.Etcd.Endpoints) == 0 {
			bad("etcd.endpoints", "none, want at least one as host:port or https://host:port")
		}
		for i, at := range e.Etcd.Endpoints {
			at = strings.TrimSuffix(strings.TrimPrefix(at, "http://"), "/")
			if problem := balance.BadAddress(strings.TrimSuffix(at, "/")); problem != "" {
				bad("etcd."+config.Item("endpoints", i), problem)
			}
		}
		checkTTL("etcd.ttl", e.Etcd.TTL, etcd.LeastTTL, bad)
	}
	if e.Kubernetes != nil {
		checkTTL("kubernetes.ttl", e.Kubernetes.TTL, kubernetes.LeastTTL, bad)
	}
}

func checkTTL(field string, ttl, least time.Duration, bad func(field, problem string)) {
	if ttl != 0 && (ttl < least || ttl > maxTTL || ttl%time.Second != 0) {
		bad(field, fmt.Sprintf("%v, want whole seconds from %v to %v", ttl, least, maxTTL))
	}
}
