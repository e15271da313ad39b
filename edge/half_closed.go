package edge

// A client that has closed its sending side may wait for its answer, or have closed the whole connection and be gone: TCP
// tells the two apart only by what comes back when something is sent, nothing or a reset. So the client is sent the first
// byte of its answer, which is known before the answer is. See docs/decisions/0056-a-byte-tells-who-has-gone.md.

// firstByte is that of every response of HTTP/1.
const firstByte = "H"

// probeClient sends a client that has closed its sending side the first byte of the answer that it waits for. If it has gone,
// the connection is reset soon after. Once a request.
func (f *clientConn) probeClient() {
	t := f.req
	if t.probed || t.responseStarted || f.serverStream != nil || !f.isOpen() {
		return
	}
	t.probed = true
	if _, err := t.down.write(&f.conn, []byte(firstByte)); err != nil {
		f.clientLeft()
		return
	}
	t.down.sentAhead = len(firstByte)
}
