// Package mtls makes certificates for the processes of a measured system: between machines they authenticate by certificates, so a
// measurement on one machine must include that.
package mtls

import (
	"log/slog"
	"path/filepath"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// Authority certifies parts, in files of its folder.
type Authority struct {
	dir  string
	ours *trust.Authority
}

// New makes an authority in a folder, which must not have one.
func New(dir string) (*Authority, error) {
	ours, err := trust.NewAuthority(dir, time.Now())
	return &Authority{dir, ours}, err
}

// Open takes up the authority of a folder, also one that another process has made.
func Open(dir string) (*Authority, error) {
	ours, err := trust.OpenAuthority(dir)
	return &Authority{dir, ours}, err
}

// Flags certifies a part and returns the flags that tell it so.
func (a *Authority) Flags(role trust.Role, name string) ([]string, error) {
	f, err := a.issue(role, name)
	return []string{"--tls-ca", f.CA, "--tls-cert", f.Cert, "--tls-key", f.Key}, err
}

// Keeper certifies a part of this process.
func (a *Authority) Keeper(role trust.Role, name string) (*trust.Keeper, error) {
	f, err := a.issue(role, name)
	if err != nil {
		return nil, err
	}
	return trust.Open(f, slog.New(slog.DiscardHandler))
}

func (a *Authority) issue(role trust.Role, name string) (trust.Files, error) {
	ca, _ := trust.AuthorityFiles(a.dir)
	own := filepath.Join(a.dir, string(role)+"-"+name)
	f := trust.Files{Cert: own + ".crt", Key: own + ".key", CA: ca}
	return f, a.ours.Issue(trust.Subject{Identity: trust.Identity{Role: role, Name: name}, Bounds: trust.Bounds{Pools: []string{trust.AnyPool}}}, time.Now(), trust.DefaultLife, f.Cert, f.Key)
}
