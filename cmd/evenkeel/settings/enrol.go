package settings

import (
	"fmt"
	"time"
)

// Enrol is by what a master signs certificates of agents that have a token, and renews them.
type Enrol struct {
	Cert   string        `yaml:"cert" also:"issuer certificate"`
	Key    string        `yaml:"key" also:"private"`
	TTL    time.Duration `yaml:"ttl" also:"life validity"`
	Tokens string        `yaml:"tokens" also:"store folder"`
}

const (
	minCertificateLife = 4 * time.Second
	maxCertificateLife = 90 * 24 * time.Hour
)

func (e *Enrol) validate(t TLS, bad func(field, problem string)) {
	if e == nil {
		return
	}
	const want = "empty, want a file of evenkeel certs issuer; cert and key go together"
	if e.Cert == "" {
		bad("enrol.cert", want)
	}
	if e.Key == "" {
		bad("enrol.key", want)
	}
	if t.Cert == "" {
		bad("enrol", "it needs tls too: agents that enrol have to know the master by its certificate")
	}
	if e.TTL != 0 && (e.TTL < minCertificateLife || e.TTL > maxCertificateLife) {
		bad("enrol.ttl", fmt.Sprintf("%v, want %v to %v", e.TTL, minCertificateLife, maxCertificateLife))
	}
}
