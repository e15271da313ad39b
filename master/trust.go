package master

import (
	"context"
	"fmt"
	"strings"

	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// meet has a new peer say who it is and, where certificates are wanted, prove it. Like
// greet it returns what came behind the Hello or, with an error, all that came.
func (m *Master) meet(ctx context.Context, c *conn) (*wire.Hello, []byte, error) {
	if m.trust == nil {
		return c.greet(ctx)
	}
	who, err := m.prove(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	hello, rest, err := c.greet(ctx)
	if err == nil {
		err = who.Want(roleOf(hello.Role), hello.ID)
	}
	return hello, rest, err
}

// prove makes c private and returns whose certificate the peer holds.
func (m *Master) prove(ctx context.Context, c *conn) (trust.Identity, error) {
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
		return &trust.Refusal{Reason: trust.Encrypted, Detail: "this master has no certificate, so TLS cannot be spoken with it: give it one, by tls: { cert, key, ca }"}
	}
	if t, payload, size, err := wire.Next(first); err == nil && size > 0 && t == wire.TFail {
		var told wire.Fail
		if told.Decode(payload) == nil {
			return fmt.Errorf("%w: %w", errPeerFailed, &trust.Refusal{Reason: trust.ByPeer, Detail: strings.Clone(told.Detail)})
		}
	}
	return fail
}
