package proxy

// A client that has closed its sending side may wait for its response, or may be gone: TCP shows the
// difference only when something is sent to it, by a reset. So the client is sent the first byte of its
// response, which is known before the response is. See docs/decisions/0056-a-byte-tells-who-has-gone.md.

// FirstByte begins every HTTP/1 response.
const FirstByte = "H"

// probeClient sends a client that has closed its sending side the first byte of its response. If the client is
// gone, the connection is soon reset. At most once a request.
func (f *clientConn) probeClient() {
	t := f.req
	if t.probed || t.responseStarted || f.stream != nil || !f.IsOpen() {
		return
	}
	t.probed = true
	if _, err := t.down.Write(&f.Conn, []byte(FirstByte)); err != nil {
		f.clientLeft()
		return
	}
	t.down.SentAhead = len(FirstByte)
}
