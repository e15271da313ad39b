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

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/evenkeel-lb/evenkeel/internal/audit"
	"github.com/evenkeel-lb/evenkeel/internal/enrol"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/master"
)

// openEnrolment reads the issuer and finds out where tokens are kept: in values, those of the election, if there is one, else
// in a folder, else in memory. It returns nil without an error if the file has no such part.
func openEnrolment(e *settings.Enrol, k *trust.Keeper, values enrol.Store, record *audit.Log, log *slog.Logger) (*master.Enrolment, error) {
	if e == nil {
		return nil, nil
	}
	if k == nil {
		return nil, hint.Usage(errors.New("master.enrol needs master.tls: agents that enrol have to know the master by its certificate"))
	}
	signer, err := trust.OpenSigner(e.Cert, e.Key, k, log)
	if err != nil {
		err = fmt.Errorf("master.enrol: %w", err)
		if errors.Is(err, fs.ErrNotExist) {
			err = hint.With(err, "evenkeel certs issuer NAME --pool POOL makes the files, where ca.key is")
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

// issuerComponents watches the issuer's files beside whatever else runs.
func issuerComponents(e *master.Enrolment) []process.Component {
	if e == nil {
		return nil
	}
	return []process.Component{{Name: "issuer", Run: func(ctx context.Context) error { return e.Signer.Run(ctx) }}}
}

// signerOf returns what SIGHUP has read anew; nil: nothing.
func signerOf(e *master.Enrolment) *trust.Signer {
	if e == nil {
		return nil
	}
	return e.Signer
}
