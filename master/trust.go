package master

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// identifyPeer authenticates a new peer, if certificates are required, and reads its Hello. Like readHello it
// returns what came after the Hello or, with an error, all that came.
func (m *Master) identifyPeer(ctx context.Context, c *conn) (*wire.Hello, []byte, error) {
	c.origin = inside.OriginOf(c.RemoteAddr())
	if m.trust == nil {
		return c.readHello(ctx)
	}
	var err error
	c.identity, err = m.handshakeTLS(ctx, c)
	if m.enrolment != nil && trust.Enrols(c.Conn) {
		return nil, nil, m.serveEnrol(ctx, c, err)
	}
	if err != nil {
		return nil, nil, err
	}
	hello, rest, err := c.readHello(ctx)
	if err == nil {
		err = cmp.Or(c.identity.Want(roleOf(hello.Role), hello.ID), c.identity.JudgeOrigin(c.origin.IP))
	}
	return hello, rest, err
}

// handshakeTLS encrypts c and returns the peer's certificate.
func (m *Master) handshakeTLS(ctx context.Context, c *conn) (*trust.Peer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.limits.handshake)
	defer cancel()
	secure, who, err := m.trust.Accept(ctx, c.Conn)
	if secure != nil {
		c.Conn = secure // so that the peer can be sent the refusal
	}
	return who, err
}

func roleOf(r wire.Role) trust.Role {
	if r == wire.RoleAgent {
		return trust.Agent
	}
	return trust.Edge
}

// firstFrameError explains a first frame that is no Hello: the peer has refused our certificate, or requires
// one where there is none.
func firstFrameError(first []byte, fail *wire.Fail) error {
	if strings.HasPrefix(wire.Foreign(first), "TLS") {
		return &trust.Refusal{Reason: trust.Encrypted, Detail: "it speaks TLS, and this master has no certificate: give the master one, by tls: { cert, key, ca }, or take the peer's away"}
	}
	if t, payload, size, err := wire.Next(first); err == nil && size > 0 && t == wire.TFail {
		var told wire.Fail
		if told.Decode(payload) == nil {
			return fmt.Errorf("%w: %w", errPeerFailed, &trust.Refusal{Reason: trust.ByPeer, Detail: strings.Clone(told.Detail)})
		}
	}
	return fail
}
