package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/internal/enrol"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// enrolFlags are how an agent that has no certificate gets one.
type enrolFlags struct {
	token, tokenFile, certs string
}

func (f *enrolFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.token, "token", "", "-: read a token of evenkeel certs token from standard input, if there is no certificate yet")
	flags.StringVar(&f.tokenFile, "token-file", "", "file with a token of evenkeel certs token, read if there is no certificate yet")
	flags.StringVar(&f.certs, "certs", "", "folder in which a certificate that a master has signed is kept (default systemd's StateDirectory, else certs)")
}

// over fills what the flags leave open from the file.
func (f enrolFlags) over(a *settings.Agent) enrolFlags {
	if f.token == "" {
		f.tokenFile = cmp.Or(f.tokenFile, a.TokenFile)
	}
	f.certs = cmp.Or(f.certs, a.Certs)
	return f
}

func (f *enrolFlags) asked() bool { return f.token != "" || f.tokenFile != "" || f.certs != "" }

const tokenAdvice = "--token-file FILE, or --token - with the token on standard input: other users of the machine see command lines"

func (f *enrolFlags) validate() error {
	switch {
	case f.token != "" && f.token != "-": // not quoted: it is a secret
		return hint.Usagef(tokenAdvice, "--token takes no token itself")
	case f.token != "" && f.tokenFile != "":
		return hint.Usagef("give one of them", "--token and --token-file cannot go together")
	}
	return nil
}

// read returns the token; false: none was given.
func (f *enrolFlags) read(in io.Reader) (t enrol.Token, given bool, err error) {
	var text []byte
	switch {
	case f.token != "":
		line, err := bufio.NewReader(io.LimitReader(in, mostTokenText)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return t, false, fmt.Errorf("standard input: %w", err)
		}
		text = []byte(line)
	case f.tokenFile != "":
		if text, err = os.ReadFile(f.tokenFile); err != nil {
			return t, false, hint.With(err, "evenkeel certs token POOL --out FILE makes one, where a master is")
		}
	default:
		return t, false, nil
	}
	t, err = enrol.ParseToken(string(text))
	return t, true, err
}

const mostTokenText = 8 << 10

// enrolment gets and renews an agent's certificate.
type enrolment struct {
	enrolFlags
	client.Enrolment
	masters []string
	denied  string // a file; empty: none
	files   trust.Files
	log     *slog.Logger
}

// newEnrolment returns nil without an error if the agent is to have a certificate by tls, or none.
func newEnrolment(f enrolFlags, safe trustFlags, a *settings.Agent, log *slog.Logger) (*enrolment, error) {
	if f = f.over(a); !f.asked() {
		return nil, nil
	}
	if err := f.validate(); err != nil {
		return nil, err
	}
	if files := safe.files; files.Cert != "" || files.Key != "" || files.CA != "" {
		return nil, hint.Usagef("tls (--tls-cert, --tls-key, --tls-ca) is for certificates of evenkeel certs issue", "a token and tls cannot go together: a certificate by token is kept in a folder of its own (certs)")
	}
	dir := f.certs
	if state := os.Getenv("STATE_DIRECTORY"); dir == "" && state != "" { // systemd's StateDirectory=
		dir, _, _ = strings.Cut(state, ":")
	}
	dir = cmp.Or(dir, defaultCertsDir)
	spec := a.Spec()
	pem := filepath.Join(dir, "agent-"+fileName(string(spec.ID))+".pem")
	ca, _ := trust.AuthorityFiles(dir)
	return &enrolment{enrolFlags: f, Enrolment: client.Enrolment{Pool: a.JoinedPools()[0], Server: spec}, masters: a.MasterAddresses(), denied: safe.files.Denied,
		files: trust.Files{Cert: pem, Key: pem, CA: ca, Denied: safe.files.Denied}, log: log}, nil
}

func (e *enrolment) identity() trust.Identity {
	return trust.Identity{Role: trust.Agent, Name: string(e.Server.ID)}
}

// open returns the certificate that is there, or gets the first one.
func (e *enrolment) open(ctx context.Context, in io.Reader) (*trust.Keeper, error) {
	k, err := trust.Open(e.files, e.log)
	refused, _ := errors.AsType[*trust.Refusal](err)
	switch {
	case err == nil && k.Identity() == e.identity():
		return k, nil
	case err == nil:
		return nil, hint.With(fmt.Errorf("%s is for %s, and this is %s", e.files.Cert, k.Identity(), e.identity()), "--certs names another folder")
	case !errors.Is(err, fs.ErrNotExist) && (refused == nil || refused.Reason != trust.Expired):
		return nil, hint.With(err, "move "+e.files.Cert+" away, and give a token")
	}
	token, given, failed := e.read(in)
	if failed != nil {
		return nil, failed
	}
	if !given {
		return nil, hint.With(fmt.Errorf("there is no certificate yet: %w", err), "evenkeel certs token "+e.Pool+" makes a token, where a master is; then --token-file FILE")
	}
	if err := e.first(ctx, token); err != nil {
		return nil, err
	}
	return trust.Open(e.files, e.log)
}

// judge refuses a token that cannot be good, so that it is not sent in vain.
func (e *enrolment) judge(t *enrol.Token, now time.Time) error {
	switch {
	case t.Pool != e.Pool:
		return hint.With(fmt.Errorf("%s is for pool %s, and this agent joins %s", t, t.Pool, e.Pool), "evenkeel certs token "+e.Pool+" makes one for it, where a master is")
	case !now.Before(t.Ends):
		return hint.With(fmt.Errorf("%s ended at %s", t, t.Ends.UTC().Format(time.RFC3339)), "evenkeel certs token "+e.Pool+" makes another, where a master is")
	}
	return nil
}

// Between attempts to get the first certificate.
const (
	firstPause   = time.Second
	longestPause = 30 * time.Second
)

// first gets the first certificate, from whichever master has it. It tries again as long as a master that may know the
// token does not answer.
func (e *enrolment) first(ctx context.Context, t enrol.Token) error {
	if err := os.MkdirAll(filepath.Dir(e.files.Cert), 0o700); err != nil {
		return err
	}
	key, err := trust.OpenKey(e.pending())
	if err != nil {
		return err
	}
	var denied *trust.Denylist
	if e.denied != "" {
		text, err := os.ReadFile(e.denied)
		if err != nil {
			return err
		}
		if denied, err = trust.ReadDenylist(text); err != nil {
			return fmt.Errorf("list of the denied %s: %w", e.denied, err)
		}
	}
	said := ""
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		if err := e.judge(&t, time.Now()); err != nil {
			return err
		}
		var problems []error
		again := false
		for _, m := range e.masters {
			chain, authority, err := e.ByToken(ctx, m, &t, key, denied)
			if err == nil {
				if err = trust.WriteAuthority(e.files.CA, authority); err == nil {
					err = key.Finish(chain, e.identity(), e.files.Cert)
				}
				if err == nil {
					e.log.Info("got a certificate by a token", "token", t.String(), "master", m, "file", e.files.Cert)
				}
				return err
			}
			problems, again = append(problems, err), again || mayPass(err)
		}
		err := errors.Join(problems...)
		if !again {
			return hint.With(fmt.Errorf("no master signs a certificate by %s: %w", t, err), "evenkeel certs token "+e.Pool+" makes another token, where a master is")
		}
		if err.Error() != said {
			e.log.Warn("no certificate yet, trying again", "token", t.String(), "err", err)
			said = err.Error()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// mayPass reports whether another attempt may do better: the master did not answer, or is busy.
func mayPass(err error) bool {
	if _, refused := errors.AsType[*trust.Refusal](err); refused || trust.IsNoEnrolment(err) {
		return false
	}
	fail, told := errors.AsType[*wire.Fail](err)
	return !told || fail.Code == wire.Busy || fail.Code == wire.GoingAway || fail.Code == wire.Unknown || fail.Code == wire.Taken
}

// pending is where a key is that has no certificate yet.
func (e *enrolment) pending() string { return strings.TrimSuffix(e.files.Cert, ".pem") + ".key.new" }

// keep renews the certificate from half of its life on, until ctx ends, and returns nil.
func (e *enrolment) keep(ctx context.Context, k *trust.Keeper) error {
	said := ""
	for {
		half, ok := k.Renewal()
		life, ends := k.Life()
		if !ok {
			return untilEnd(ctx) // it was put there by hand
		}
		wait := max(time.Until(half), 0) + time.Duration(rand.Int64N(int64(max(life/16, 1)))) // not all agents at once
		if said != "" {
			wait = min(max(life/20, time.Second), time.Hour) + time.Duration(rand.Int64N(int64(time.Second)))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(wait, time.Hour)): // the clock may be set meanwhile
		}
		if said == "" && time.Now().Before(half) {
			continue
		}
		err := e.renew(ctx, k)
		if err != nil && !time.Now().Before(ends) && e.tokenFile != "" {
			err = e.anew(ctx, k, err)
		}
		if err != nil {
			if text := err.Error(); text != said && ctx.Err() == nil {
				said = text
				e.log.Warn("no master renews the certificate, trying again", "ends", ends, "err", err)
			}
			continue
		}
		said = ""
	}
}

// renew gets another certificate from the first master that signs one, and takes it up.
func (e *enrolment) renew(ctx context.Context, k *trust.Keeper) error {
	key, err := trust.OpenKey(e.pending())
	if err != nil {
		return err
	}
	var problems []error
	for _, m := range e.masters {
		chain, err := e.Again(ctx, m, k, key)
		if err == nil {
			if err = key.Finish(chain, e.identity(), e.files.Cert); err == nil {
				err = k.Reload()
			}
			if err == nil {
				_, ends := k.Life()
				e.log.Info("certificate renewed", "master", m, "ends", ends)
			}
			return err
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// anew gets a certificate by a token that was put into the file since the one before has ended, as on a machine
// that was off for long; err is why no master has renewed that.
func (e *enrolment) anew(ctx context.Context, k *trust.Keeper, err error) error {
	token, _, bad := e.read(nil)
	if bad == nil {
		bad = e.judge(&token, time.Now())
	}
	if bad != nil {
		return errors.Join(err, bad)
	}
	if bad = e.first(ctx, token); bad != nil {
		return errors.Join(err, bad)
	}
	return k.Reload()
}

func untilEnd(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
