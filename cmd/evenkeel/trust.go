package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// open reads the certificate of a component of a role; nil if it is to have none.
func (f trustFlags) open(role trust.Role, log *slog.Logger) (*trust.Keeper, error) {
	if f.files == (settings.TLS{}) {
		return nil, nil
	}
	var missing []error
	f.files.Validate(func(field, problem string) { missing = append(missing, fmt.Errorf("%s: %s", field, problem)) })
	if len(missing) > 0 {
		return nil, hint.Usage(errors.Join(missing...))
	}
	k, err := trust.Open(trust.Files(f.files), log)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, hint.With(err, "evenkeel certs init, then evenkeel certs issue "+string(role)+" NAME makes them")
	case err != nil:
		return nil, hint.With(err, "cert, key and ca must be of one making: evenkeel certs issue "+string(role)+" NAME, with the ca.crt beside it")
	}
	if who := k.Identity(); who.Role != role {
		return nil, hint.With(fmt.Errorf("certificate %s is for %s, and this is the %s role", f.files.Cert, who, role), "evenkeel certs issue "+string(role)+" NAME makes one")
	}
	return k, nil
}

// nameBy returns the name that a component goes by: the one it is given, which must then
// be that of its certificate, or else the certificate's.
func nameBy(k *trust.Keeper, given, key string) (string, error) {
	switch {
	case k == nil || given == k.Identity().Name:
		return given, nil
	case given == "":
		return k.Identity().Name, nil
	}
	who := k.Identity()
	return "", hint.With(fmt.Errorf("the certificate is for %s, but %s is %q", who, key, given),
		fmt.Sprintf("leave %s out, or: evenkeel certs issue %s %s", key, who.Role, given))
}

// refusePlain keeps a component from talking plainly to masters that are not on this machine.
func (f trustFlags) refusePlain(masters []string) error {
	if f.insecure || f.files != (settings.TLS{}) {
		return nil
	}
	for _, m := range masters {
		if !settings.IsLoopback(m) {
			return hint.With(fmt.Errorf("master %s: it is beyond loopback, and without certificates neither side is authenticated", m), settings.PlainAdvice)
		}
	}
	return nil
}

// certificateComponents watches certificate files beside whatever else runs.
func certificateComponents(k *trust.Keeper) []process.Component {
	if k == nil {
		return nil
	}
	return []process.Component{{Name: "certificates", Run: func(ctx context.Context) error { return k.Run(ctx) }}}
}

// proofBeyond says how a component that goes beyond loopback knows who is there.
func proofBeyond(t settings.TLS, insecure bool) string {
	switch {
	case t != (settings.TLS{}):
		return "peers are authenticated by their certificates"
	case insecure:
		return "peers are not authenticated (insecure)"
	}
	return "it will not start: beyond loopback it needs tls, or insecure"
}
