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

// meet has a new peer say who it is and, where certificates are wanted, prove it. Like
// greet it returns what came behind the Hello or, with an error, all that came.
func (m *Master) meet(ctx context.Context, c *conn) (*wire.Hello, []byte, error) {
	c.from = inside.OriginOf(c.RemoteAddr())
	if m.trust == nil {
		return c.greet(ctx)
	}
	var err error
	c.who, err = m.prove(ctx, c)
	if m.enrolment != nil && trust.Enrols(c.Conn) {
		return nil, nil, m.enrol(ctx, c, err)
	}
	if err != nil {
		return nil, nil, err
	}
	hello, rest, err := c.greet(ctx)
	if err == nil {
		err = cmp.Or(c.who.Want(roleOf(hello.Role), hello.ID), c.who.JudgeOrigin(c.from.IP))
	}
	return hello, rest, err
}

// prove makes c private and returns whose certificate the peer holds.
func (m *Master) prove(ctx context.Context, c *conn) (*trust.Peer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.limits.handshake)
	defer cancel()
	secure, who, err := m.trust.Accept(ctx, c.Conn)
	if secure != nil {
		c.Conn = secure // so that a refusal can be told
	}
	return who, err
}

func roleOf(r wire.Role) trust.Role {
	if r == wire.RoleAgent {
		return trust.Agent
	}
	return trust.Edge
}

// misled makes more of a first frame that was no Hello: of a peer that has refused our
// certificate, or wants one where there is none.
func misled(first []byte, fail *wire.Fail) error {
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
