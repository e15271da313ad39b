//go:build !evenkeel_portable

package eventloop

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/big"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// collecting is the transport of a peer's crypto/tls. Once held it keeps what is written, for the test to send as it likes.
type collecting struct {
	net.Conn
	isHeld bool
	kept   []byte
	all    []byte // ever written
}

func (c *collecting) Write(p []byte) (int, error) {
	c.all = append(c.all, p...)
	if !c.isHeld {
		return c.Conn.Write(p)
	}
	c.kept = append(c.kept, p...)
	return len(p), nil
}

// records is a conn of a loop, with TLS, and its peer, whose records the test sends by hand.
type records struct {
	*testing.T
	Conn
	peer *tls.Conn
	wire *collecting
	keys strings.Builder // of the peer's
	room []byte
}

// newRecords makes the handshake. asServer: the peer is a server. suite: of TLS 1.2; zero: TLS 1.3.
func newRecords(t *testing.T, asServer bool, suite uint16) *records {
	t.Helper()
	own, far, err := fd.Pair()
	if err != nil {
		t.Fatal(err)
	}
	near, err := own.Conn()
	if err != nil {
		t.Fatal(err)
	}
	wire, err := far.Conn()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = wire.Close() })
	r := &records{T: t, wire: &collecting{Conn: wire}, room: make([]byte, 64<<10)}
	server := &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}, SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true}
	client := &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true}
	if suite != 0 {
		server.MaxVersion, server.CipherSuites = tls.VersionTLS12, []uint16{suite}
	}
	s := &TLSConn{Conn: near}
	if asServer {
		server.KeyLogWriter = &r.keys
		s.TLS, r.peer = tls.Client(s, client), tls.Server(r.wire, server)
	} else {
		client.KeyLogWriter = &r.keys
		s, r.peer = NewServerTLS(near, server), tls.Client(r.wire, client)
	}
	done := make(chan error, 1)
	go func() { done <- r.peer.Handshake() }()
	if err := s.TLS.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.wire.isHeld = true
	descriptor, err := fd.Take(near)
	if err != nil {
		t.Fatal(err)
	}
	r.Conn.Owner, r.IsServer = r, asServer
	if err := idleLoop(t, Config{ReadSize: 64 << 10}).Register(&r.Conn, &descriptor, Readiness); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Conn.Close)
	r.UseTLS(s)
	r.Writable = true
	return r
}

func (r *records) OnReady() {}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<37, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// says has the peer encrypt something, and returns the records.
func (r *records) says(p string) []byte {
	r.Helper()
	r.wire.kept = nil
	if _, err := io.WriteString(r.peer, p); err != nil {
		r.Fatal(err)
	}
	return r.wire.kept
}

// sends has bytes come, as they are.
func (r *records) sends(p []byte) {
	r.Helper()
	if n, err := r.wire.Conn.Write(p); n != len(p) || err != nil {
		r.Fatal(n, err)
	}
	r.Readable = true
}

// wantRead reads once, into as much room as is told.
func (r *records) wantRead(room int, want string) {
	r.Helper()
	n, err := r.Read(r.room[:room])
	if err != nil || string(r.room[:max(0, n)]) != want {
		r.Fatalf("read %d bytes, %.40q, %v; want %d, %.40q", n, r.room[:max(0, n)], err, len(want), want)
	}
}

func (r *records) wantNothing() {
	r.Helper()
	if n, err := r.Read(r.room); n != 0 || err != syscall.EAGAIN || r.Readable {
		r.Fatalf("read %d bytes, %v, readable %t; want nothing", n, err, r.Readable)
	}
}

// eachVersion runs a test with TLS 1.3 and 1.2.
func eachVersion(t *testing.T, test func(t *testing.T, suite uint16)) {
	t.Run("1.3", func(t *testing.T) { test(t, 0) })
	t.Run("1.2", func(t *testing.T) { test(t, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256) })
}

// A record that comes in two pieces, cut anywhere, or byte by byte, is read once it is whole, and nothing before.
func TestARecordThatComesInPieces(t *testing.T) {
	eachVersion(t, func(t *testing.T, suite uint16) {
		r := newRecords(t, true, suite)
		for cut := 1; ; cut++ {
			record := r.says("a record")
			if cut == len(record) {
				for _, b := range record {
					r.wantNothing()
					r.sends([]byte{b})
				}
				r.wantRead(100, "a record")
				break
			}
			r.sends(record[:cut])
			r.wantNothing()
			if !r.TLS.InRecord() || !r.TLS.NothingToRead() {
				t.Fatalf("with %d of %d bytes: in a record %t, nothing to read %t", cut, len(record), r.TLS.InRecord(), r.TLS.NothingToRead())
			}
			r.sends(record[cut:])
			r.wantRead(100, "a record")
			if r.TLS.InRecord() || r.Readable {
				t.Fatalf("after the whole record: in a record %t, readable %t", r.TLS.InRecord(), r.Readable)
			}
		}
		r.wantNothing()
	})
}

// Records that come together are read at once, as far as there is room, and the rest with the next read though nothing more comes.
func TestRecordsThatComeTogether(t *testing.T) {
	eachVersion(t, func(t *testing.T, suite uint16) {
		r := newRecords(t, true, suite)
		together := func() (all []byte) {
			for _, p := range []string{"one ", "two ", "three"} {
				all = append(all, r.says(p)...)
			}
			return all
		}
		r.sends(together())
		r.wantRead(100, "one two three")
		r.wantNothing()
		for room := 1; room < 13; room++ {
			r.sends(together())
			var got string
			for r.Readable {
				n, err := r.Read(r.room[:room])
				if err != nil && err != syscall.EAGAIN {
					t.Fatal(err)
				}
				got += string(r.room[:n])
			}
			if got != "one two three" {
				t.Fatalf("in reads of %d: %q", room, got)
			}
		}
		all := together()
		r.sends(all[:len(all)-1])
		r.wantRead(100, "one two ")
		if r.Readable || !r.TLS.InRecord() {
			t.Errorf("with the third record in part: readable %t, in a record %t", r.Readable, r.TLS.InRecord())
		}
		r.sends(all[len(all)-1:])
		r.wantRead(100, "three")
	})
}

// The largest record, whole and in pieces, and a record larger than any may be.
func TestTheLargestRecord(t *testing.T) {
	eachVersion(t, func(t *testing.T, suite uint16) {
		r := newRecords(t, true, suite)
		const largest = 16 << 10 // RFC 8446, 5.1
		text := strings.Repeat("0123456789abcdef", largest/16)
		record := r.says(text)
		if n := int(binary.BigEndian.Uint16(record[3:])); n != len(record)-5 || n <= largest {
			t.Fatalf("one record of %d bytes, of %d, want all of it", n, len(record))
		}
		r.sends(record)
		r.wantRead(len(r.room), text)
		record = r.says(text)
		r.sends(record[:largest/2])
		r.wantNothing()
		r.sends(record[largest/2:])
		r.wantRead(len(r.room), text)
		r.sends([]byte{23, 3, 3, 0x48, 0x01}) // 2^14 + 2048 and one more
		if n, err := r.Read(r.room); n != 0 || err == nil || err == syscall.EAGAIN {
			t.Errorf("a record that is too large: %d bytes, %v", n, err)
		}
	})
}

// What ends a connection, and whether it ends what was sent: close_notify does, though the connection stays open. The end of a
// connection without does not if a server sent it, since anybody may have; and not in a record.
func TestHowAConnectionWithTLSEnds(t *testing.T) {
	for _, c := range []struct {
		name   string
		server bool
		end    func(r *records)
		err    string // empty: it has ended well
	}{
		{"close_notify by a server", true, func(r *records) { r.closeNotify() }, ""},
		{"close_notify by a client", false, func(r *records) { r.closeNotify() }, ""},
		{"close_notify and the end", true, func(r *records) { r.closeNotify(); r.closes() }, ""},
		{"the end alone by a server", true, func(r *records) { r.closes() }, "close_notify"},
		{"the end alone by a client", false, func(r *records) { r.closes() }, ""},
		{"in a record, by a client", false, func(r *records) { p := r.says("cut"); r.sends(p[:len(p)-1]); r.closes() }, "unexpected EOF"},
		{"in a record, by a server", true, func(r *records) { p := r.says("cut"); r.sends(p[:len(p)-1]); r.closes() }, "close_notify"},
	} {
		eachVersion(t, func(t *testing.T, suite uint16) {
			r := newRecords(t, c.server, suite)
			r.sends(r.says("last words"))
			r.wantRead(5, "last ")
			c.end(r)
			n, err := r.Read(r.room)
			if n != 5 {
				t.Fatalf("%s: %d bytes, %v; want what came before first", c.name, n, err)
			}
			n, err = r.Read(r.room)
			if n != 0 || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %d bytes, %v; want an error with %q", c.name, n, err, c.err)
			}
		})
	}
}

// closeNotify has the peer send close_notify.
func (r *records) closeNotify() {
	r.Helper()
	r.wire.kept = nil
	if err := r.peer.CloseWrite(); err != nil {
		r.Fatal(err)
	}
	_ = r.wire.Conn.SetWriteDeadline(time.Time{}) // which crypto/tls has left behind
	r.sends(r.wire.kept)
}

// closes has the peer close its sending side.
func (r *records) closes() {
	r.Helper()
	if err := r.wire.Conn.(*net.UnixConn).CloseWrite(); err != nil {
		r.Fatal(err)
	}
	r.Readable, r.PeerClosed = true, true
}

// wantAlert has the peer find the alert that our side has sent.
func (r *records) wantAlert(want string) {
	r.Helper()
	r.SendCloseNotify()
	_ = r.wire.Conn.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := r.peer.Read(make([]byte, 100)); err == nil || !strings.Contains(err.Error(), want) {
		r.Errorf("the peer read %d bytes, %v; want the alert %q", n, err, want)
	}
}

// A record that was tampered with ends the connection, and the peer is told by an alert.
func TestATamperedRecord(t *testing.T) {
	eachVersion(t, func(t *testing.T, suite uint16) {
		r := newRecords(t, true, suite)
		record := r.says("good")
		record[len(record)-1] ^= 1
		r.sends(record)
		if n, err := r.Read(r.room); n != 0 || err == nil || err == syscall.EAGAIN {
			t.Fatalf("%d bytes, %v; want an error", n, err)
		}
		r.wantAlert("bad record MAC")
	})
}

// An alert of the peer ends the connection with its reason.
func TestAnAlert(t *testing.T) {
	eachVersion(t, func(t *testing.T, suite uint16) {
		r := newRecords(t, false, suite)
		good := r.says("good")
		r.wire.kept = nil
		// The peer takes a record of no sense for one that was tampered with, and says so.
		if _, err := r.FD.Send([]byte{23, 3, 3, 0, 32, 36: 0}); err != nil {
			t.Fatal(err)
		}
		_ = r.wire.Conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := r.peer.Read(make([]byte, 10)); err == nil {
			t.Fatal("the peer has found nothing wrong")
		}
		r.sends(append(good, r.wire.kept...))
		n, err := r.Read(r.room)
		if n != 4 {
			t.Fatalf("%d bytes, %v; want what came before the alert", n, err)
		}
		if n, err = r.Read(r.room); n != 0 || err == nil || !strings.Contains(err.Error(), "bad record MAC") {
			t.Errorf("%d bytes, %v; want the alert's reason", n, err)
		}
	})
}

// A peer that wants to negotiate anew is refused: TLS 1.3 has nothing of the kind, and with TLS 1.2 a connection would cost whatever
// the peer asks for.
func TestRenegotiationIsRefused(t *testing.T) {
	r := newRecords(t, true, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
	r.sends(r.sealed(22, 0, 0, 0, 0)) // HelloRequest (RFC 5246, 7.4.1.1)
	n, err := r.Read(r.room)
	if n != 0 || err == nil || !strings.Contains(err.Error(), "no renegotiation") {
		t.Errorf("%d bytes, %v; want that there is no renegotiation", n, err)
	}
}

// sealed returns a record of TLS 1.2 that the peer, a server, would send next, had it a word in it: crypto/tls sends no such messages.
func (r *records) sealed(kind byte, p ...byte) []byte {
	r.Helper()
	var secret, clientRandom []byte
	for line := range strings.Lines(r.keys.String()) {
		if words := strings.Fields(line); words[0] == "CLIENT_RANDOM" {
			clientRandom, _ = hex.DecodeString(words[1])
			secret, _ = hex.DecodeString(words[2])
		}
	}
	at := bytes.Index(r.wire.all, []byte{22, 3, 3}) + 5 + 4 + 2 // of the server's hello, behind the heads of record and message, and the version
	serverRandom := r.wire.all[at : at+32]
	// Key block: two keys of 16 bytes, two implicit nonces of 4 (RFC 5288).
	block := prf12(secret, "key expansion", append(append([]byte{}, serverRandom...), clientRandom...), 2*16+2*4)
	c, err := aes.NewCipher(block[16:32])
	if err != nil {
		r.Fatal(err)
	}
	aead, err := cipher.NewGCM(c)
	if err != nil {
		r.Fatal(err)
	}
	var sequence [8]byte
	binary.BigEndian.PutUint64(sequence[:], 1) // its Finished was 0
	head := append(append([]byte{}, sequence[:]...), kind, 3, 3, 0, byte(len(p)))
	sealed := aead.Seal(nil, append(append([]byte{}, block[36:40]...), sequence[:]...), p, head)
	record := append([]byte{kind, 3, 3, 0, byte(len(sequence) + len(sealed))}, sequence[:]...)
	return append(record, sealed...)
}

// prf12 is TLS 1.2's (RFC 5246, 5).
func prf12(secret []byte, label string, seed []byte, size int) (out []byte) {
	mac := func(parts ...[]byte) []byte {
		h := hmac.New(sha256.New, secret)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	seed = append([]byte(label), seed...)
	for a := mac(seed); len(out) < size; a = mac(a) {
		out = append(out, mac(a, seed)...)
	}
	return out[:size]
}

// A part of a record is nothing to read, as the owner of an idle connection sees it.
func TestAPartOfARecordIsNothingToRead(t *testing.T) {
	r := newRecords(t, true, 0)
	if !r.TLS.NothingToRead() {
		t.Fatal("something is there before anything came")
	}
	p := r.says("word")
	r.sends(p[:7])
	if !r.TLS.NothingToRead() {
		t.Error("a part of a record is something to read")
	}
	r.sends(p[7:])
	if r.TLS.NothingToRead() {
		t.Error("a record is nothing to read")
	}
}

// What is written goes as records that the peer reads, whatever the sizes, and close_notify behind them once.
func TestWhatIsWrittenWithTLS(t *testing.T) {
	eachVersion(t, func(t *testing.T, suite uint16) {
		r := newRecords(t, true, suite)
		var s SendBuffer
		_ = r.wire.Conn.SetReadDeadline(time.Now().Add(time.Minute))
		for _, size := range []int{1, 100, 16 << 10, 40 << 10} {
			text := bytes.Repeat([]byte{byte(size)}, size)
			if _, err := s.Write(&r.Conn, text); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, size)
			if _, err := io.ReadFull(r.peer, got); err != nil || !bytes.Equal(got, text) {
				t.Fatalf("%d bytes: %v", size, err)
			}
		}
		if err := s.CloseWrite(&r.Conn); err != nil {
			t.Fatal(err)
		}
		if n, err := r.peer.Read(make([]byte, 10)); n != 0 || err != io.EOF {
			t.Errorf("behind all that was written %d bytes, %v; want the end", n, err)
		}
	})
}
