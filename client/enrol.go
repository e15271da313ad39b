package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/enrol"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// enrolTime bounds one attempt at one master.
const enrolTime = 15 * time.Second

// Enrolment is what an agent wants a certificate for.
type Enrolment struct {
	Pool   string
	Server balance.ServerSpec // its id and address are sent
}

// ByToken gets the first certificate from a master, and the certificate authority that the token names and
// that has signed the master's certificate. The key is not sent. denied lists masters that are not accepted;
// nil: none.
func (e *Enrolment) ByToken(ctx context.Context, master string, token *enrol.Token, key *trust.Key, denied *trust.Denylist) (chain [][]byte, authority *x509.Certificate, err error) {
	chain, err = e.ask(ctx, master, token.Secret, key, func(ctx context.Context, conn net.Conn) (net.Conn, error) {
		secure, found, err := trust.SecureByFingerprint(ctx, conn, token.Authority, denied)
		if err != nil {
			return nil, err
		}
		authority = found
		return secure, nil
	})
	return chain, authority, err
}

// Again gets another certificate like the one of k.
func (e *Enrolment) Again(ctx context.Context, master string, k *trust.Keeper, key *trust.Key) (chain [][]byte, err error) {
	return e.ask(ctx, master, "", key, k.SecureToRenew)
}

// ask makes an encrypted connection and sends the request over it. Nothing is sent before the master has
// proven that it is one.
func (e *Enrolment) ask(ctx context.Context, master, secret string, key *trust.Key, secure func(context.Context, net.Conn) (net.Conn, error)) (chain [][]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, enrolTime)
	defer cancel()
	defer func() {
		if err != nil {
			err = fmt.Errorf("master %s: %w", master, err)
		}
	}()
	request, err := key.Request()
	if err != nil {
		return nil, err
	}
	conn, err := dialMaster(ctx, master)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(past) })()
	private, err := secure(ctx, conn)
	if err != nil {
		return nil, err
	}
	asked := wire.Enrol{Token: secret, Pool: e.Pool, ID: string(e.Server.ID), Address: e.Server.Address, Request: request}
	if _, err := private.Write(asked.Append(nil)); err != nil {
		return nil, err
	}
	return readEnrolled(private)
}

// readEnrolled reads the answer to an Enrol.
func readEnrolled(conn net.Conn) ([][]byte, error) {
	var in []byte
	for {
		typ, payload, size, err := wire.Next(in)
		switch {
		case err != nil:
			return nil, err
		case size > 0 && typ == wire.TFail:
			var fail wire.Fail
			if err := fail.Decode(payload); err != nil {
				return nil, err
			}
			fail.Detail = strings.Clone(fail.Detail)
			return nil, &fail
		case size > 0 && typ == wire.TEnrolled:
			var answer wire.Enrolled
			if err := answer.Decode(payload); err != nil {
				return nil, err
			}
			return answer.Chain, nil // it keeps in alive
		case size > 0:
			return nil, fmt.Errorf("%s, want the certificate", typ)
		case len(in) > wire.MaxChain*(wire.MaxCert+16):
			return nil, errors.New("its answer is longer than one can be")
		}
		in = slices.Grow(in, smallRead)
		n, err := conn.Read(in[len(in):cap(in)])
		if in = in[:len(in)+n]; n == 0 && err != nil {
			return nil, fmt.Errorf("its answer: %w", err)
		}
	}
}

const smallRead = 4 << 10

// dialMaster connects to host:port or unix:/path.
func dialMaster(ctx context.Context, master string) (net.Conn, error) {
	network, address := "tcp", master
	if path, ok := strings.CutPrefix(master, "unix:"); ok {
		network, address = "unix", path
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}
