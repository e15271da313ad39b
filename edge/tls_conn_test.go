package edge

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	hexes "encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// keyUpdater sends records of TLS 1.3 beside crypto/tls, which sends no key updates.
type keyUpdater struct {
	t      *testing.T
	to     io.Writer
	secret []byte
	sent   uint64 // records since the last key update
}

// newKeyUpdater goes on for one who has sent one record behind the handshake, and whose secrets are in the log of keys.
func newKeyUpdater(t *testing.T, to io.Writer, who, keys string) *keyUpdater {
	u := &keyUpdater{t: t, to: to, sent: 1}
	for line := range strings.Lines(keys) {
		if words := strings.Fields(line); words[0] == who+"_TRAFFIC_SECRET_0" {
			u.secret, _ = hexes.DecodeString(words[2])
		}
	}
	return u
}

func (u *keyUpdater) expand(label string, size int) []byte {
	u.t.Helper()
	label = "tls13 " + label
	out, err := hkdf.Expand(sha256.New, u.secret, string([]byte{0, byte(size), byte(len(label))})+label+"\x00", size)
	if err != nil {
		u.t.Fatal(err)
	}
	return out
}

// send sends a record; false: the peer takes no more.
func (u *keyUpdater) send(kind byte, p ...byte) bool {
	u.t.Helper()
	block, err := aes.NewCipher(u.expand("key", 16))
	if err != nil {
		u.t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		u.t.Fatal(err)
	}
	nonce := u.expand("iv", aead.NonceSize())
	for i := range 8 {
		nonce[len(nonce)-1-i] ^= byte(u.sent >> (8 * i))
	}
	u.sent++
	head := []byte{23, 3, 3, 0, byte(len(p) + 1 + aead.Overhead())}
	_, err = u.to.Write(aead.Seal(head, nonce, append(p, kind), head))
	return err == nil
}

// update sends a key update. asks: for one in return.
func (u *keyUpdater) update(asks byte) bool {
	ok := u.send(22, 24, 0, 0, 1, asks)
	u.secret, u.sent = u.expand("traffic upd", len(u.secret)), 0
	return ok
}

// A client that requests one key update after another, and is sent nothing else meanwhile, is cut off before
// the answers take much memory. One that requests some is answered.
func TestKeyUpdatesDoNotPileUp(t *testing.T) {
	const body = 1000
	p := newFakePicker()
	p.pick = among(scripted(t, answering(func(_ *http.Request, got string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\n%04d", len(got))
	})))
	r := runSecure(t, p, nil)
	for _, c := range []struct {
		each   int // key updates before each byte
		before int // bytes that have them before them
		served bool
	}{{0, 0, true}, {1, 10, true}, {10, body, false}} {
		var keys strings.Builder
		raw := r.connect()
		conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, KeyLogWriter: &keys})
		_, _ = fmt.Fprintf(conn, "POST /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", c.each, body) // the answer tells
		if suite := conn.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
			t.Skipf("this processor prefers %s", tls.CipherSuiteName(suite))
		}
		u := newKeyUpdater(t, raw, "CLIENT", keys.String())
		ok := true
		for i := 0; ok && i < body; i++ {
			for n := 0; ok && i < c.before && n < c.each; n++ {
				ok = u.update(1)
			}
			ok = ok && u.send(23, 'x')
		}
		answer, err := io.ReadAll(conn)
		if served := strings.HasPrefix(string(answer), "HTTP/1.1 200 ") && strings.HasSuffix(string(answer), fmt.Sprint(body)); served != c.served {
			t.Errorf("%d key updates before each of %d bytes: got %q, %v", c.each, c.before, answer, err)
		}
		_ = raw.Close()
		if asked := p.askedFor(fmt.Sprintf("/%d", c.each)) == 1; asked != c.served { // what is cut off before its body is there asks for no server
			t.Errorf("%d key updates before each of %d bytes: a server was asked for: %v", c.each, c.before, asked)
		}
	}
}

// What TLS itself sends on a kept connection does not end it.
func TestKeyUpdateOnAKeptConnection(t *testing.T) { eachPicker(t, testKeyUpdateOnAKeptConnection) }

func testKeyUpdateOnAKeptConnection(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
	var conns atomic.Int64
	var keys strings.Builder
	now, updated := make(chan struct{}), make(chan bool)
	cert, trusting := believes(t)
	g := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true, KeyLogWriter: &keys}, func(c *tlsTestConn) {
		conns.Add(1)
		if req, _ := c.request(); req == nil {
			return
		}
		_, _ = io.WriteString(c, answer)
		<-now
		if c.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
			updated <- false
			return
		}
		u := newKeyUpdater(t, c.tcp(), "SERVER", keys.String())
		updated <- u.update(0)
		for req, _ := c.request(); req != nil; req, _ = c.request() {
			u.send(23, []byte(answer)...)
		}
	})
	r := oneLoopTo(t, g, trusting)
	client := r.dial()
	client.send(get).response("GET")
	close(now)
	if !<-updated {
		t.Skip("this processor prefers another suite")
	}
	r.seen()
	for _, method := range []string{"POST", "GET"} {
		if res, body := client.send("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", method).response(method); res.StatusCode != 200 || body != "good" {
			t.Errorf("%s: got %d %q", method, res.StatusCode, body)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}
