package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// Variables that say what the flags of the same names do not.
const (
	envAdmin     = "EVENKEEL_ADMIN"
	envToken     = "EVENKEEL_TOKEN" // the token itself, which has no flag: command lines are seen by other users
	envTokenFile = "EVENKEEL_TOKEN_FILE"
	envTLSCert   = "EVENKEEL_TLS_CERT"
	envTLSKey    = "EVENKEEL_TLS_KEY"
	envTLSCA     = "EVENKEEL_TLS_CA"
)

// proofFlags say by what a command proves to a master who asks, and the master to it.
type proofFlags struct {
	tokenFile     string
	cert, key, ca string
}

func (f *proofFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.tokenFile, "token-file", "", "with --admin: file with the bearer token ($"+envTokenFile+", or $"+envToken+" with the token itself)")
	flags.StringVar(&f.cert, "tls-cert", "", "with --admin: file with the client certificate ($"+envTLSCert+")")
	flags.StringVar(&f.key, "tls-key", "", "with --admin: file with its key ($"+envTLSKey+")")
	flags.StringVar(&f.ca, "tls-ca", "", "with --admin: file with the authority that the master's certificate comes from ($"+envTLSCA+")")
}

// proof is what is shown to a master.
type proof struct {
	token string // empty: none
	next  http.RoundTripper
}

// RoundTrip adds the token.
func (p *proof) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	return p.next.RoundTrip(r)
}

// transport returns how a master at a URL is asked.
func (f *proofFlags) transport(base *url.URL) (http.RoundTripper, error) {
	token, err := f.token()
	if err != nil {
		return nil, err
	}
	cert, key, ca := cmp.Or(f.cert, os.Getenv(envTLSCert)), cmp.Or(f.key, os.Getenv(envTLSKey)), cmp.Or(f.ca, os.Getenv(envTLSCA))
	t := &http.Transport{DisableKeepAlives: true}
	if base.Scheme == "http" {
		switch {
		case cert != "" || key != "" || ca != "":
			return nil, hint.Usagef("such as --admin https://"+base.Host, "certificates go with https, and --admin is %s", base)
		case token != "" && !settings.IsLoopback(net.JoinHostPort(base.Hostname(), "1")):
			return nil, hint.Usagef("such as --admin https://"+base.Host, "a token is not sent over plain http beyond loopback, where others can read it")
		}
		return &proof{token, t}, nil
	}
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if (cert == "") != (key == "") {
		return nil, hint.Usagef("--tls-cert FILE --tls-key FILE", "a client certificate needs both its file and its key's")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, hint.With(fmt.Errorf("client certificate %s with key %s: %w", cert, key, err), "evenkeel certs issue operator NAME makes one")
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("authority: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("authority %s: no certificate in it, want PEM", ca)
		}
		t.TLSClientConfig.InsecureSkipVerify = true // a component's certificate has no host name; verify judges it
		t.TLSClientConfig.VerifyConnection = func(s tls.ConnectionState) error { return verifyMaster(s, roots, base.Hostname()) }
	}
	return &proof{token, t}, nil
}

// verifyMaster judges the certificate that a master shows: of the authorities given, and
// either a master's by its identity, or one of the host that was asked.
func verifyMaster(s tls.ConnectionState, roots *x509.CertPool, host string) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("it shows no certificate")
	}
	between := x509.NewCertPool()
	for _, cert := range s.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	leaf := s.PeerCertificates[0]
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err != nil {
		return err
	}
	if who, err := trust.IdentityOf(leaf); err == nil {
		return who.Want(trust.Master, "")
	}
	return leaf.VerifyHostname(host)
}

// token returns the bearer token, empty if none is given.
func (f *proofFlags) token() (string, error) {
	path := f.tokenFile
	if path == "" {
		if token := os.Getenv(envToken); token != "" {
			return strings.TrimSpace(token), nil
		}
		if path = os.Getenv(envTokenFile); path == "" {
			return "", nil
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", hint.With(fmt.Errorf("%s holds no token, want one line with it alone", path), "evenkeel tokens add prints one; the file that it adds to is the master's, with hashes")
	}
	return token, nil
}
