package settings

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/evenkeel-lb/evenkeel/config"
)

// CertificateFile is a PEM file with certificates that the settings name.
type CertificateFile struct {
	Key  string // of the field
	Name string
	Ours bool // evenkeel certs has made it
}

// CertificateFiles returns all of them.
func (s *Settings) CertificateFiles() (all []CertificateFile) {
	add := func(key, name string, ours bool) {
		if name != "" {
			all = append(all, CertificateFile{key, name, ours})
		}
	}
	part := func(part string, t TLS, a Access) {
		add(part+".tls.cert", t.Cert, true)
		add(part+".tls.ca", t.CA, false)
		add(part+".admin_access.cert", a.Cert, false)
		add(part+".admin_access.ca", a.CA, false)
	}
	server := func(at string, t *ServerTLS) {
		if t != nil {
			add(at+".server_tls.ca", t.CA, false)
			add(at+".server_tls.cert", t.Cert, false)
		}
	}
	if m := s.Master; m != nil {
		part("master", m.TLS, m.AdminAccess)
		if m.Enrol != nil {
			add("master.enrol.cert", m.Enrol.Cert, true)
		}
		if m.Election != nil && m.Election.Etcd != nil && m.Election.Etcd.TLS != nil {
			add("master.election.etcd.tls.cert", m.Election.Etcd.TLS.Cert, false)
			add("master.election.etcd.tls.ca", m.Election.Etcd.TLS.CA, false)
		}
	}
	for _, name := range s.PoolNames() {
		server(config.Field("pools", name)+".health", s.Pools[name].Health.ServerTLS)
	}
	if e := s.Edge; e != nil {
		part("edge", e.TLS, e.AdminAccess)
		for i, l := range e.Listeners {
			at := config.Item("edge.listeners", i)
			if l.TLS != nil {
				for j, pair := range l.TLS.Certificates {
					add(config.Item(at+".tls.certificates", j)+".cert", pair.Cert, false)
				}
				if l.TLS.Clients != nil {
					add(at+".tls.client_certificates.ca", l.TLS.Clients.CA, false)
				}
			}
			for j, r := range l.Routes {
				server(config.Item(at+".routes", j), r.ServerTLS)
			}
		}
	}
	if a := s.Agent; a != nil {
		part("agent", a.TLS, a.AdminAccess)
		server("agent.health", a.Health.ServerTLS)
	}
	return all
}

// ReadCertificates returns the certificates of a PEM file, in their order. Its error names the file.
func ReadCertificates(name string) (all []*x509.Certificate, err error) {
	text, err := readFile(name)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, cert)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no certificate in PEM", name)
	}
	return all, nil
}

// ServerTLS returns how a server of a pool is spoken to: as the file's first route to the pool says, or the pool's checks, or else the
// address; nil: plainly. Where the file does not say how the server proves itself, it is not checked.
func (s *Settings) ServerTLS(pool, address string) *tls.Config {
	if s.Edge != nil {
		if r := s.Edge.routeTo(pool); r != nil {
			if cfg := configOf(r.ServerTLS, s.serverTLS()); cfg != nil {
				return cfg
			}
			if strings.HasPrefix(address, "https://") {
				return &tls.Config{MinVersion: tls.VersionTLS12}
			}
			return nil
		}
	}
	part := s.Pools[pool].Health.ServerTLS
	if part == nil && s.Agent != nil {
		part = s.Agent.Health.ServerTLS
	}
	if cfg := configOf(part, s.healthTLS); cfg != nil {
		return cfg
	}
	if strings.HasPrefix(address, "https://") {
		return &tls.Config{InsecureSkipVerify: true} // nothing is sent
	}
	return nil
}

// serverTLS returns what was read of the routes' server_tls; nil: there is none.
func (s *Settings) serverTLS() map[ServerTLS]*clientTLS {
	if s.Files == nil {
		return nil
	}
	return s.Files.servers
}

// Line returns the line of the file on which a field stands; zero: there is no file.
func (s *Settings) Line(path string) int {
	if s.lineOf == nil {
		return 0
	}
	return s.lineOf(path)
}

// At says where a field stands, for people: FILE:LINE: KEY.
func (s *Settings) At(path string) string {
	if s.lineOf == nil {
		return path
	}
	return fmt.Sprintf("%s:%d: %s", cmp.Or(s.file, "the file"), s.lineOf(path), path)
}
