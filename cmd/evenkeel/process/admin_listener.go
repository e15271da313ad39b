package process

import (
	"io"
	"net"

	"github.com/evenkeel-lb/evenkeel/wire"
)

// adminListener is an admin address's listener. An edge or agent that takes it for the address
// where a master listens for them gets an error in their own protocol: they would wait for an
// answer without end, as an HTTP server waits for the end of a line.
type adminListener struct {
	net.Listener
	where string // the text of that error
}

// newAdminListener returns the listener of an admin address. where says to which address edges and
// agents should connect.
func newAdminListener(l net.Listener, where string) net.Listener {
	return adminListener{l, "this is an admin address, which speaks HTTP; " + where}
}

// MasterAddressHint is where edges and agents connect to a master that listens at wire, which is nil if it does not.
func MasterAddressHint(wire net.Listener) string {
	if wire == nil {
		return "this process takes no edges or agents: write master.listen into its file"
	}
	return "edges and agents connect to " + Address(wire)
}

func (l adminListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &adminConn{Conn: c, where: l.where}, nil
}

// adminConn looks at the first bytes of a connection.
type adminConn struct {
	net.Conn
	where  string
	looked bool // owned by the reader
}

func (c *adminConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.looked || n == 0 {
		return n, err
	}
	c.looked = true
	if t, _, size, bad := wire.Next(p[:n]); bad != nil || size == 0 || t != wire.THello {
		return n, err
	}
	_, _ = c.Write((&wire.Fail{Code: wire.BadRole, Detail: c.where}).Append(nil)) // the peer may be gone
	return 0, io.EOF
}
