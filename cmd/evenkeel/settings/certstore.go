package settings

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/config"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// certStore holds this process's certificates, as their files had them when they were last valid.
type certStore struct {
	files   []KeyPair
	current atomic.Pointer[[]tls.Certificate]
	seen    []fs.FileInfo // the files when they were last read; owned by the goroutine that runs watch
}

// newCertStore reads certificates. bad is called for each pair that is invalid, with its index.
func newCertStore(files []KeyPair, bad func(i int, field, problem string)) *certStore {
	k := &certStore{files: files, seen: fileInfos(files)}
	certs := make([]tls.Certificate, len(files))
	for i, f := range files {
		var field string
		var err error
		if certs[i], field, err = f.read(); err != nil {
			bad(i, field, err.Error())
		}
	}
	k.current.Store(&certs)
	return k
}

// read returns, with an error, the field that is at fault.
func (p KeyPair) read() (pair tls.Certificate, field string, err error) {
	cert, err := readPEM(p.Cert)
	if err != nil {
		return pair, "cert", err
	}
	key, err := readPEM(p.Key)
	if err != nil {
		return pair, "key", err
	}
	if pair, err = tls.X509KeyPair(cert, key); err != nil {
		return pair, "cert", fmt.Errorf("%s with %s: %s", p.Cert, p.Key, strings.TrimPrefix(err.Error(), "tls: "))
	}
	return pair, "", nil
}

func readPEM(path string) ([]byte, error) {
	if path == "" {
		return nil, errors.New("empty, want the path of a PEM file")
	}
	return readFile(path)
}

func readFile(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no file %s", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s may not be read by this user", path)
	}
	return text, err
}

// certificateFor is an edge.Certificate: the first that has the name and that the client
// understands, else the first.
func (k *certStore) certificateFor(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	certs := *k.current.Load()
	if len(certs) > 1 {
		for i := range certs {
			if hello.SupportsCertificate(&certs[i]) == nil {
				return &certs[i], nil
			}
		}
	}
	return &certs[0], nil
}

// clientCertificate is for a server that asks who we are.
func (k *certStore) clientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return &(*k.current.Load())[0], nil
}

// pollInterval is how often certificates' files are looked at. A change is taken up when
// it has lasted until the next look: certificate and key are seldom replaced at once.
const pollInterval = time.Second

// watch reads the files anew when they have changed, until ctx ends. What makes no
// sense is logged, and what was there before goes on.
func (k *certStore) watch(ctx context.Context, log *slog.Logger) {
	k.WarnExposed(log)
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for before := k.seen; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := fileInfos(k.files)
		if settled := slices.EqualFunc(now, before, sameFile); settled && !slices.EqualFunc(now, k.seen, sameFile) {
			k.seen = now
			k.reread(log)
		}
		before = now
	}
}

func (k *certStore) reread(log *slog.Logger) {
	failed := false
	fresh := newCertStore(k.files, func(i int, _, problem string) {
		failed = true
		log.Error("certificate failed to load; the old one stays", "cert", k.files[i].Cert, "err", problem)
	})
	if failed {
		return
	}
	k.current.Store(fresh.current.Load())
	for i, f := range k.files {
		log.Info("certificate loaded", "cert", f.Cert, "until", (*k.current.Load())[i].Leaf.NotAfter)
	}
	k.WarnExposed(log)
}

// WarnExposed logs a warning for each key that every user of the machine may read.
func (k *certStore) WarnExposed(log *slog.Logger) {
	for _, f := range k.files {
		if exposed := trust.Exposed(f.Key); exposed != "" {
			log.Warn(exposed, "file", f.Key)
		}
	}
}

// fileInfos returns the state of the files, by which a change is seen; nil: the file does not exist.
func fileInfos(files []KeyPair) (all []fs.FileInfo) {
	for _, f := range files {
		for _, path := range []string{f.Cert, f.Key} {
			info, _ := os.Stat(path) // if it fails, reading the file returns the error
			all = append(all, info)
		}
	}
	return all
}

func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// EdgeFiles are what an edge's settings name of files with keys.
type EdgeFiles struct {
	certs       []*certStore                       // nil: plain
	clients     []routing.ClientCerts              // of each listener
	tickets     []*ticketKeys                      // of each listener; nil: plain
	servers     map[ServerTLS]*clientTLS           // by what routes say
	tokens      map[[2]int]*tenants.Verifier       // of routes, by listener and route
	secretFiles []string                           // files of keys that sign tokens
	locations   map[[2]int]map[netip.Prefix]string // of clients, by listener and route
}

// clientTLS is TLS to servers.
type clientTLS struct {
	config *tls.Config
	own    *certStore // nil: none
}

// readFiles reads what the edge's part names.
func (e *Edge) readFiles(bad func(field, problem string)) *EdgeFiles {
	all := &EdgeFiles{certs: make([]*certStore, len(e.Listeners)), clients: make([]routing.ClientCerts, len(e.Listeners)), tickets: make([]*ticketKeys, len(e.Listeners)), servers: make(map[ServerTLS]*clientTLS), tokens: make(map[[2]int]*tenants.Verifier), locations: make(map[[2]int]map[netip.Prefix]string)}
	for i, l := range e.Listeners {
		at := config.Item("listeners", i)
		if l.TLS != nil && len(l.TLS.Certificates) == 0 {
			bad(at+".tls.certificates", "none, want at least one")
		} else if l.TLS != nil {
			all.certs[i] = newCertStore(l.TLS.Certificates, func(i int, field, problem string) {
				bad(config.Item(at+".tls.certificates", i)+"."+field, problem)
			})
		}
		if l.TLS != nil {
			var err error
			if all.tickets[i], err = ticketKeysOf(l.TLS.TicketKeys); err != nil {
				bad(at+".tls.ticket_keys", err.Error())
			}
			all.clients[i] = l.TLS.Clients.read(func(field, problem string) { bad(at+".tls.client_certificates."+field, problem) })
		}
		for j, r := range l.Routes {
			if r.TenantJWT != nil {
				v := r.TenantJWT.read(r.Tenant, func(field, problem string) { bad(config.Item(at+".routes", j)+".tenant_jwt."+field, problem) })
				if all.tokens[[2]int{i, j}] = v; v.Keys != nil && v.Keys.Secret() {
					all.secretFiles = append(all.secretFiles, r.TenantJWT.Keys)
				}
			}
			all.locations[[2]int{i, j}] = r.Locations.read(func(field, problem string) { bad(config.Item(at+".routes", j)+"."+field, problem) })
			if t := r.ServerTLS; t != nil && all.servers[*t] == nil {
				all.servers[*t] = t.read(func(field, problem string) { bad(config.Item(at+".routes", j)+".server_tls."+field, problem) })
			}
		}
	}
	return all
}

// read makes a configuration of what the part says.
func (t *ServerTLS) read(bad func(field, problem string)) *clientTLS {
	s := &clientTLS{config: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}}
	if t.CA != "" {
		text, err := readPEM(t.CA)
		s.config.RootCAs = x509.NewCertPool()
		if err != nil {
			bad("ca", err.Error())
		} else if !s.config.RootCAs.AppendCertsFromPEM(text) {
			bad("ca", t.CA+" has no certificate in PEM")
		}
	}
	if t.Cert != "" || t.Key != "" {
		s.own = newCertStore([]KeyPair{{t.Cert, t.Key}}, func(_ int, field, problem string) { bad(field, problem) })
		s.config.GetClientCertificate = s.own.clientCertificate
	}
	return s
}

// read makes of the part what verifies tokens for a route's tenant, as that is written.
func (t *TenantJWT) read(tenant string, bad func(field, problem string)) *tenants.Verifier {
	v := &tenants.Verifier{Header: strings.ToLower(cmp.Or(t.Header, "authorization")), Issuer: t.Issuer, Audience: t.Audience, Keys: new(tenants.Keys)}
	_, v.Claim, _ = tenants.Parse(tenant)
	text, err := readPEM(t.Keys)
	if err != nil {
		bad("keys", err.Error())
		return v
	}
	if v.Keys, err = tenants.ParseKeys(text); err != nil {
		bad("keys", t.Keys+": "+err.Error())
	}
	return v
}

// apply hands a listener of the settings what its files have.
func (all *EdgeFiles) apply(i int, part *Listener, l *routing.Listener) {
	if ring := all.certs[i]; ring != nil {
		l.Certificate, l.ClientCerts = ring.certificateFor, all.clients[i]
		if all.tickets[i] != nil {
			l.Tickets = all.tickets[i].tickets
		}
	}
	for j, r := range part.Routes {
		l.Routes[j].TenantTokens, l.Routes[j].Facts.Locations = all.tokens[[2]int{i, j}], all.locations[[2]int{i, j}]
		if r.ServerTLS != nil {
			l.Routes[j].ServerTLS = all.servers[*r.ServerTLS].config
		}
	}
}

// Watch keeps all of them up to date until ctx ends.
func (all *EdgeFiles) Watch(ctx context.Context, log *slog.Logger) {
	for _, file := range all.secretFiles {
		if exposed := trust.Exposed(file); exposed != "" {
			log.Warn(exposed, "file", file)
		}
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	for _, ring := range all.certs {
		if ring != nil {
			watching.Go(func() { ring.watch(ctx, log) })
		}
	}
	for _, t := range distinct(all.tickets) {
		watching.Go(func() { t.watch(ctx, log) })
	}
	for _, s := range all.servers {
		if s.own != nil {
			watching.Go(func() { s.own.watch(ctx, log) })
		}
	}
}
