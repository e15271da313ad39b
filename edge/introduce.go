package edge

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/evenkeel-lb/evenkeel/preface"
)

// introduces tells whether connections of the listener begin with a PROXY header.
func (l *listener) introduces() bool { return len(l.ProxyTrusted) > 0 }

var errForeign = errors.New("only the networks of proxy_protocol.trusted may connect here")

// introduce reads the PROXY header from a connection of which nothing was read, and no
// octet more. Whoever calls it sets the deadline. Where a listener wants a header,
// nobody gets in without: to guess would let anybody say where they come from.
func (l *listener) introduce(nc net.Conn) (told preface.Proxy, err error) {
	peer := peerOf(nc)
	var room [256]byte
	b := room[:0]
	for {
		told, more, err := l.introduction(peer, b)
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

// introduction is what a peer's PROXY header says, and how many octets of it are at least
// still to come; zero: it is whole.
func (l *listener) introduction(peer netip.Addr, come []byte) (told preface.Proxy, more int, err error) {
	if !within(l.ProxyTrusted, peer) {
		return told, 0, fmt.Errorf("from %s: %w", node(peer), errForeign)
	}
	return preface.ReadProxy(come)
}
