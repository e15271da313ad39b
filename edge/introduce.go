package edge

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/evenkeel-lb/evenkeel/preface"
)

// introduces tells whether connections of the listener begin with a PROXY header.
func (l *listener) introduces() bool { return len(l.ProxyTrusted) > 0 }

var errForeign = errors.New("only the networks of proxy_protocol.trusted may connect here")

// introduce reads the PROXY header from a connection of which nothing was read, and no
// octet more. Whoever calls it sets the deadline. Where a listener wants a header,
// nobody gets in without: to guess would let anybody say where they come from.
func (l *listener) introduce(nc net.Conn) (told preface.Proxy, err error) {
	if peer := peerOf(nc); !within(l.ProxyTrusted, peer) {
		return told, fmt.Errorf("from %s: %w", node(peer), errForeign)
	}
	var room [256]byte
	b := room[:0]
	for {
		told, more, err := preface.ReadProxy(b)
		if err != nil || more == 0 {
			return told, err
		}
		start := len(b)
		b = append(b, make([]byte, more)...)
		if _, err := io.ReadFull(nc, b[start:]); err != nil {
			return told, fmt.Errorf("PROXY header: %w", err)
		}
	}
}
