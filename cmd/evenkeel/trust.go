package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/spf13/pflag"

	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// trustFlags say with which certificate a component proves itself, and whether it may go without.
type trustFlags struct {
	files    tlsPart
	insecure bool
}

func (f *trustFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.files.Cert, "tls-cert", "", "file with this component's certificate; evenkeel certs makes some")
	flags.StringVar(&f.files.Key, "tls-key", "", "file with the certificate's key")
	flags.StringVar(&f.files.CA, "tls-ca", "", "file with the authority that the other components' certificates come from")
	flags.StringVar(&f.files.Denied, "tls-denied", "", "file that lists components which are denied although their certificates are good")
	flags.BoolVar(&f.insecure, "insecure", false, "go beyond loopback without certificates, and let the admin address be there without proof of who asks")
}

// over fills what the flags leave open from the file.
func (f trustFlags) over(files tlsPart, insecure bool) trustFlags {
	if f.files == (tlsPart{}) {
		f.files = files
	}
	f.insecure = f.insecure || insecure
	return f
}

// validate finds what is missing of the three files.
func (t tlsPart) validate(bad func(field, problem string)) {
	if t == (tlsPart{}) {
		return
	}
	for _, file := range []struct{ field, name string }{{"tls.cert", t.Cert}, {"tls.key", t.Key}, {"tls.ca", t.CA}} {
		if file.name == "" {
			bad(file.field, "empty, want the path of a PEM file, as evenkeel certs makes them; cert, key and ca go together")
		}
	}
}

// open reads the certificate of a component of a role; nil if it is to have none.
func (f trustFlags) open(role trust.Role, log *slog.Logger) (*trust.Keeper, error) {
	if f.files == (tlsPart{}) {
		return nil, nil
	}
	var missing []error
	f.files.validate(func(field, problem string) { missing = append(missing, fmt.Errorf("%s: %s", field, problem)) })
	if len(missing) > 0 {
		return nil, usageError{errors.Join(missing...)}
	}
	k, err := trust.Open(trust.Files(f.files), log)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, hinted(err, "evenkeel certs init, then evenkeel certs issue "+string(role)+" NAME makes them")
	case err != nil:
		return nil, hinted(err, "cert, key and ca must be of one making: evenkeel certs issue "+string(role)+" NAME, with the ca.crt beside it")
	}
	if who := k.Identity(); who.Role != role {
		return nil, hinted(fmt.Errorf("certificate %s is for %s, and this is the %s role", f.files.Cert, who, role), "evenkeel certs issue "+string(role)+" NAME makes one")
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
	return "", hinted(fmt.Errorf("the certificate is for %s, but %s is %q, as which it may not speak", who, key, given),
		fmt.Sprintf("leave %s out, or: evenkeel certs issue %s %s", key, who.Role, given))
}

// refusePlain keeps a component from talking plainly to masters that are not on this machine.
func (f trustFlags) refusePlain(masters []string) error {
	if f.insecure || f.files != (tlsPart{}) {
		return nil
	}
	for _, m := range masters {
		if !isLoopback(m) {
			return hinted(fmt.Errorf("master %s: it is beyond loopback, and there is no certificate to prove who is who", m), plainAdvice)
		}
	}
	return nil
}

const plainAdvice = "give tls: { cert, key, ca } (evenkeel certs makes them), or --insecure if everybody who can reach that address may be trusted"

// guardParts watches certificate files beside whatever else runs.
func guardParts(k *trust.Keeper) []part {
	if k == nil {
		return nil
	}
	return []part{{name: "certificates", run: func(ctx context.Context) error { return k.Run(ctx) }}}
}

// beyond says how a component that goes beyond loopback knows who is there.
func (t tlsPart) beyond(insecure bool) string {
	switch {
	case t != (tlsPart{}):
		return "who connects has to prove who they are, by certificate"
	case insecure:
		return "who connects is trusted without proof (insecure)"
	}
	return "it will not start so: beyond loopback it needs tls, or insecure"
}
