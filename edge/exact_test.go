package edge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// through is a way from a client to a server for bytes of any kind.
type through struct {
	name   string
	config func(*Config)
	open   func(r *running) *net.TCPConn // a client's connection that is joined to a server
	taken  func(*net.TCPConn) bool       // readies a server's
}

// throughs are the ways that one suite proves alike.
var throughs = []through{
	{"tcp", asTCP, (*running).connect, func(*net.TCPConn) bool { return true }},
	{"upgrade", func(*Config) {}, func(r *running) *net.TCPConn {
		conn := r.connect()
		_, _ = io.WriteString(conn, "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n") // the answer tells
		if answer := headOf(conn); !strings.HasPrefix(answer, "HTTP/1.1 101 ") {
			r.t.Errorf("got %q, want a tunnel", answer)
		}
		return conn
	}, func(conn *net.TCPConn) bool {
		headOf(conn)
		_, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		return err == nil
	}},
}

// headOf reads a head and not an byte more.
func headOf(r io.Reader) string {
	var head []byte
	for b := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, b...) {
		if _, err := io.ReadFull(r, b); err != nil {
			break
		}
	}
	return string(head)
}

// both runs a test through each way to a server that serves so.
func both(t *testing.T, serve func(t *testing.T, c *net.TCPConn), client func(t *testing.T, open func() *net.TCPConn, p *fakePicker)) {
	for _, way := range throughs {
		t.Run(way.name, func(t *testing.T) {
			each := eachServer
			if way.name == "tcp" {
				each = eachPicker
			}
			each(t, func(t *testing.T) {
				p := newFakePicker()
				p.pick = among(tcpServer(t, "s1", func(c *net.TCPConn) {
					if way.taken(c) {
						serve(t, c)
					}
				}))
				r := run(t, p, way.config)
				client(t, func() *net.TCPConn { return way.open(r) }, p)
			})
		})
	}
}

// randomBytes are so many bytes that cannot be guessed; the same for the same seed.
func randomBytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = random.Read(b) // never fails
	return b
}

func wantOctets(t *testing.T, who string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	t.Errorf("%s got %d bytes, want %d; they differ at %d", who, len(got), len(want), at)
}

// pump sends all, ends its side, and reads what comes meanwhile, to the end.
func pump(c *net.TCPConn, out []byte) (in []byte, err error) {
	var sending sync.WaitGroup
	var sent error
	sending.Go(func() {
		if _, sent = c.Write(out); sent == nil {
			sent = c.CloseWrite()
		}
	})
	in, err = io.ReadAll(c)
	sending.Wait()
	return in, errors.Join(err, sent)
}

const bulk = 8 << 20

func TestHalfClosesLoseNothing(t *testing.T) {
	up, down := randomBytes(1, bulk), randomBytes(2, bulk)
	both(t, func(t *testing.T, c *net.TCPConn) {
		got, err := pump(c, down)
		if err != nil {
			t.Errorf("server: %v", err)
		}
		wantOctets(t, "the server", got, up)
	}, func(t *testing.T, open func() *net.TCPConn, p *fakePicker) {
		const times, together = 20, 4
		for range times / together {
			var group sync.WaitGroup
			for range together {
				conn := open()
				group.Go(func() {
					got, err := pump(conn, up)
					if err != nil {
						t.Errorf("client: %v", err)
					}
					wantOctets(t, "the client", got, down)
				})
			}
			group.Wait()
		}
		for i, result := range p.results(t) {
			if result != balance.OK {
				t.Errorf("lease %d ended as %v, want ok", i+1, result)
			}
		}
	})
}

// One says all it has to say and ends; only then does the other begin.
func TestOneSideEndsBeforeTheOtherBegins(t *testing.T) {
	up, down := randomBytes(3, 1<<20), randomBytes(4, bulk)
	both(t, func(t *testing.T, c *net.TCPConn) {
		got, err := io.ReadAll(c)
		if err != nil {
			t.Errorf("server: %v", err)
		}
		wantOctets(t, "the server", got, up)
		if _, err := c.Write(down); err != nil {
			t.Errorf("server: %v", err)
		}
	}, func(t *testing.T, open func() *net.TCPConn, _ *fakePicker) {
		got, err := pump(open(), up)
		if err != nil {
			t.Errorf("client: %v", err)
		}
		wantOctets(t, "the client", got, down)
	})
}

// slowly reads in small pieces, through a small window, and dawdles.
func slowly(c *net.TCPConn) ([]byte, error) {
	_ = c.SetReadBuffer(128 << 10) // the system may know better
	var all []byte
	piece := make([]byte, 16<<10)
	for i := 0; ; i++ {
		n, err := c.Read(piece)
		all = append(all, piece[:n]...)
		if i%4 == 0 {
			time.Sleep(time.Millisecond) // that is what makes it slow
		}
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

func TestSlowReadersLoseNothing(t *testing.T) {
	up, down := randomBytes(5, 2<<20), randomBytes(6, 2<<20)
	send := func(c *net.TCPConn, out []byte, who string, t *testing.T) func() {
		var sending sync.WaitGroup
		sending.Go(func() {
			if _, err := c.Write(out); err != nil {
				t.Errorf("%s: %v", who, err)
			}
			_ = c.CloseWrite() // the other sees it missing
		})
		return sending.Wait
	}
	both(t, func(t *testing.T, c *net.TCPConn) {
		wait := send(c, down, "server", t)
		got, err := slowly(c)
		if err != nil {
			t.Errorf("server: %v", err)
		}
		wantOctets(t, "the server", got, up)
		wait()
	}, func(t *testing.T, open func() *net.TCPConn, _ *fakePicker) {
		conn := open()
		wait := send(conn, up, "client", t)
		got, err := slowly(conn)
		if err != nil {
			t.Errorf("client: %v", err)
		}
		wantOctets(t, "the client", got, down)
		wait()
	})
}

func TestServersThatCloseAfterWriting(t *testing.T) {
	t.Parallel()
	const question = "what?"
	answer := randomBytes(7, 1<<20)
	for _, c := range []struct {
		name   string
		answer []byte
		read   int  // bytes of the question; a server that leaves some unread resets as it closes
		orders bool // it ends in good order
	}{
		{"all read", answer, len(question), true},
		{"some left unread", answer[:1000], len(question) - 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, func(t *testing.T, conn *net.TCPConn) {
				_, _ = io.ReadFull(conn, make([]byte, c.read)) // the client sees no answer
				_, _ = conn.Write(c.answer)                    // likewise
			}, func(t *testing.T, open func() *net.TCPConn, _ *fakePicker) {
				for range 50 {
					conn := open()
					if _, err := io.WriteString(conn, question); err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(conn)
					if c.orders && err != nil || !c.orders && !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("ended with %v", err)
					}
					wantOctets(t, "the client", got, c.answer)
					_ = conn.Close()
				}
			})
		})
	}
}

// What a peer had acknowledged before the other broke off is not taken back, and no
// part is taken for the whole.
func TestResetsOvertakeNothing(t *testing.T) {
	out := randomBytes(8, 1<<20)
	t.Run("server's", func(t *testing.T) {
		both(t, func(t *testing.T, c *net.TCPConn) {
			_, _ = c.Write(out)                          // the client sees what is missing
			_, _ = io.ReadFull(c, make([]byte, len(ok))) // which says that all has come
			_ = c.SetLinger(0)
		}, func(t *testing.T, open func() *net.TCPConn, p *fakePicker) {
			for range 10 {
				conn := open()
				got := make([]byte, len(out))
				if _, err := io.ReadFull(conn, got); err != nil {
					t.Fatal(err)
				}
				wantOctets(t, "the client", got, out)
				_, _ = io.WriteString(conn, ok) // the reset tells
				wantReset(t, conn)
			}
			for i, result := range p.results(t) {
				if result != balance.Broken {
					t.Errorf("lease %d ended as %v, want a fault", i+1, result)
				}
			}
		})
	})
	t.Run("client's", func(t *testing.T) {
		seen := make(chan error, 1)
		both(t, func(t *testing.T, c *net.TCPConn) {
			got := make([]byte, len(out))
			_, err := io.ReadFull(c, got)
			if err != nil {
				t.Errorf("server: %v", err)
			}
			wantOctets(t, "the server", got, out)
			_, _ = io.WriteString(c, ok) // the reset tells
			_, err = io.ReadAll(c)
			seen <- err
		}, func(t *testing.T, open func() *net.TCPConn, p *fakePicker) {
			for range 10 {
				conn := open()
				if _, err := conn.Write(out); err != nil {
					t.Fatal(err)
				}
				_, _ = io.ReadFull(conn, make([]byte, len(ok))) // the server has all
				_ = conn.SetLinger(0)
				_ = conn.Close()
				if err := <-seen; !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the server saw %v, want a reset", err)
				}
			}
			for i, result := range p.results(t) {
				if result != balance.Canceled {
					t.Errorf("lease %d ended as %v, want canceled", i+1, result)
				}
			}
		})
	})
}

const ok = "all is here"

// Both may send at any time in pieces of any size.
func TestSmallPiecesKeepTheirOrder(t *testing.T) {
	both(t, func(_ *testing.T, c *net.TCPConn) { echoTCP(c) }, func(t *testing.T, open func() *net.TCPConn, _ *fakePicker) {
		conn := open()
		random := rand.New(rand.NewPCG(1, 2))
		for i := range 300 {
			piece := randomBytes(uint64(i), 1+random.IntN(40_000))
			var sending sync.WaitGroup
			sending.Go(func() { _, _ = conn.Write(piece) }) // what comes back tells
			got := make([]byte, len(piece))
			if _, err := io.ReadFull(conn, got); err != nil {
				t.Fatal(fmt.Errorf("piece %d: %w", i, err))
			}
			sending.Wait()
			wantOctets(t, "the client", got, piece)
		}
	})
}
