package admin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// Files are where a Surface's keys are. Each may be empty.
type Files struct {
	Cert   string // PEM, the certificate that the address shows, and those behind it; with Key: it speaks TLS
	Key    string // PEM, its private key
	CA     string // PEM, the authorities whose client certificates say who a caller is; needs Cert
	Denied string // callers that are refused although their client certificates are valid; needs CA
	Tokens string // the hashes of bearer tokens
}

// Validate calls bad for what does not go together.
func (f Files) Validate(bad func(field, problem string)) {
	if (f.Cert == "") != (f.Key == "") {
		bad("cert", "cert and key go together: the admin address speaks TLS with both, plain HTTP with neither")
	}
	if f.CA != "" && f.Cert == "" {
		bad("ca", "client certificates need TLS: give cert and key too")
	}
	if f.Denied != "" && f.CA == "" {
		bad("denied", "it is about client certificates, which need ca")
	}
}

// Secure reports whether callers prove who they are over TLS, so that the address may be
// beyond loopback.
func (f Files) Secure() bool { return f.Cert != "" && (f.CA != "" || f.Tokens != "") }

// Keys holds the contents of the files. They are reloaded when the files change. Methods may be called from
// any goroutine.
type Keys struct {
	files   Files
	log     *slog.Logger
	current atomic.Pointer[held]

	mu   sync.Mutex     // one reading at a time; guards the following
	seen trust.Contents // of the files when they were last tried
}

// held is immutable.
type held struct {
	tls    *tls.Config // nil: plain
	tokens []token
	denied *trust.Denylist // nil: denies no one
}

// OpenKeys reads the files. It returns nil if none is named.
func OpenKeys(files Files, log *slog.Logger) (*Keys, error) {
	if files == (Files{}) {
		return nil, nil
	}
	var problems []error
	files.Validate(func(field, problem string) { problems = append(problems, fmt.Errorf("%s: %s", field, problem)) })
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	k := &Keys{files: files, log: log}
	_, err := k.take()
	return k, err
}

// asksForProof reports whether there is something by which callers can prove who they are.
// With a certificate alone the address speaks TLS and asks for nothing.
func (k *Keys) asksForProof() bool { return k != nil && (k.files.CA != "" || k.files.Tokens != "") }

func (k *Keys) hasTokens() bool { return k != nil && k.files.Tokens != "" }

// wanted says what a caller could have proved himself by.
func (k *Keys) wanted() string {
	switch {
	case k.files.CA == "":
		return "want a bearer token (Authorization: Bearer TOKEN)"
	case k.files.Tokens == "":
		return "want a client certificate"
	}
	return "want a bearer token (Authorization: Bearer TOKEN) or a client certificate"
}

func (k *Keys) token(secret string) *token { return find(k.current.Load().tokens, secret) }

// still returns the token that has the hash of another, nil if its line is gone.
func (k *Keys) still(hash [32]byte) *token {
	tokens := k.current.Load().tokens
	if i := slices.IndexFunc(tokens, func(t token) bool { return t.hash == hash }); i >= 0 {
		return &tokens[i]
	}
	return nil
}

// tlsConfig returns how the address speaks TLS, nil if it does not.
func (k *Keys) tlsConfig() *tls.Config {
	if k == nil || k.files.Cert == "" {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return k.current.Load().tls, nil }}
}

// Reload reads the files now. If they are invalid the old ones stay in use.
func (k *Keys) Reload() error {
	if k == nil {
		return nil
	}
	_, err := k.take()
	return err
}

// lookEvery is how often Run looks at the files.
const lookEvery = 2 * time.Second

// Run takes up files that have changed, until ctx ends, and returns nil.
func (k *Keys) Run(ctx context.Context) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		if changed, err := k.take(); err != nil {
			k.log.Error("the new files of admin_access are invalid; the old ones stay in use", "err", err)
		} else if changed {
			k.log.Info("new files of admin_access taken up")
		}
	}
}

// take reads the files and, if they have changed since they were last tried, uses them.
func (k *Keys) take() (changed bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.seen.Changed(k.files.Cert, k.files.Key, k.files.CA, k.files.Tokens, k.files.Denied) {
		return false, nil
	}
	next, err := k.files.load()
	if err != nil {
		return false, err
	}
	k.current.Store(next)
	if say := trust.Exposed(k.files.Key); say != "" {
		k.log.Warn(say, "file", k.files.Key)
	}
	return true, nil
}

func (f Files) load() (*held, error) {
	h := new(held)
	if f.Tokens != "" {
		text, err := os.ReadFile(f.Tokens)
		if err != nil {
			return nil, fmt.Errorf("tokens: %w", err)
		}
		if h.tokens, err = parseTokens(text); err != nil {
			return nil, fmt.Errorf("tokens %s: %w", f.Tokens, err)
		}
	}
	if f.Cert == "" {
		return h, nil
	}
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	// A session that is resumed would not have its certificate judged again, so there are none.
	h.tls = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true, NextProtos: []string{"http/1.1"}}
	if f.Denied != "" {
		text, err := os.ReadFile(f.Denied)
		if err != nil {
			return nil, fmt.Errorf("list of the denied: %w", err)
		}
		if h.denied, err = trust.ReadDenylist(text); err != nil {
			return nil, fmt.Errorf("list of the denied %s: %w", f.Denied, err)
		}
	}
	if f.CA != "" {
		text, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("authorities: %w", err)
		}
		h.tls.ClientCAs, h.tls.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
		if !h.tls.ClientCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("authorities %s: no certificate in it, want PEM", f.CA)
		}
	}
	return h, nil
}
