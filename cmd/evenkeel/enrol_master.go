package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/audit"
	"github.com/evenkeel-lb/evenkeel/internal/enrol"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/master"
)

// enrolPart is by what a master signs certificates of agents that have a token, and renews them.
type enrolPart struct {
	Cert   string        `yaml:"cert" also:"issuer certificate"`
	Key    string        `yaml:"key" also:"private"`
	TTL    time.Duration `yaml:"ttl" also:"life validity"`
	Tokens string        `yaml:"tokens" also:"store folder"`
}

const (
	leastCertificateLife   = 4 * time.Second
	longestCertificateLife = 90 * 24 * time.Hour
)

func (e *enrolPart) validate(t tlsPart, bad func(field, problem string)) {
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
	if e.TTL != 0 && (e.TTL < leastCertificateLife || e.TTL > longestCertificateLife) {
		bad("enrol.ttl", fmt.Sprintf("%v, want %v to %v", e.TTL, leastCertificateLife, longestCertificateLife))
	}
}

// open reads the issuer and finds out where tokens are kept: in values, those of the election, if there is one, else
// in a folder, else in memory. It returns nil without an error if the file has no such part.
func (e *enrolPart) open(k *trust.Keeper, values enrol.Store, record *audit.Log, log *slog.Logger) (*master.Enrolment, error) {
	if e == nil {
		return nil, nil
	}
	if k == nil {
		return nil, usageError{errors.New("master.enrol needs master.tls: agents that enrol have to know the master by its certificate")}
	}
	signer, err := trust.OpenSigner(e.Cert, e.Key, k, log)
	if err != nil {
		err = fmt.Errorf("master.enrol: %w", err)
		if errors.Is(err, fs.ErrNotExist) {
			err = hinted(err, "evenkeel certs issuer NAME --pool POOL makes the files, where ca.key is")
		}
		return nil, err
	}
	dir := e.Tokens
	if state := os.Getenv("STATE_DIRECTORY"); values == nil && dir == "" && state != "" { // systemd's StateDirectory=
		first, _, _ := strings.Cut(state, ":")
		dir = filepath.Join(first, "tokens")
	}
	if values == nil && dir != "" {
		folder, err := enrol.OpenFolder(dir)
		if err != nil {
			return nil, fmt.Errorf("master.enrol.tokens: %w", err)
		}
		values = folder
	}
	return &master.Enrolment{Signer: signer, Tokens: enrol.NewBook(values), Life: e.TTL, Audit: record}, nil
}

// enrolParts watches the issuer's files beside whatever else runs.
func enrolParts(e *master.Enrolment) []part {
	if e == nil {
		return nil
	}
	return []part{{name: "issuer", run: func(ctx context.Context) error { return e.Signer.Run(ctx) }}}
}

// signerOf returns what SIGHUP has read anew; nil: nothing.
func signerOf(e *master.Enrolment) *trust.Signer {
	if e == nil {
		return nil
	}
	return e.Signer
}
