package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// echo is a master that grants every ask, one write for each read, and no more.
func echo(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				echoOne(conn)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func echoOne(conn net.Conn) {
	var (
		buf, out = make([]byte, 1<<20), make([]byte, 0, 1<<20)
		have     int
		ask      wire.Ask
		lease    balance.LeaseID
	)
	for {
		n, err := conn.Read(buf[have:])
		if err != nil {
			return
		}
		have += n
		used := 0
		for {
			typ, payload, size, err := wire.Next(buf[used:have])
			if err != nil {
				panic(err)
			}
			if size == 0 {
				break
			}
			used += size
			switch typ {
			case wire.THello:
				out = (&wire.Welcome{Version: wire.MaxVersion, Master: "echo"}).Append(out)
			case wire.TPing:
				out = (&wire.Pong{}).Append(out)
			case wire.TAsk:
				if err := ask.Decode(payload, 1); err != nil {
					panic(err)
				}
				lease++
				m := wire.Granted{Seq: ask.Seq, Grant: balance.Grant{Lease: lease, Server: "r1", Address: "10.0.0.5:8000"}}
				out = m.Append(out, 1)
			}
		}
		have = copy(buf, buf[used:have])
		if len(out) > 0 {
			conn.Write(out)
			out = out[:0]
		}
	}
}

func BenchmarkAsk(b *testing.B) {
	b.Run("ping", benchPing)
	for _, workers := range []int{1, 64, 1000} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			c := start(b, Config{Masters: []string{echo(b)}}, nil)
			req := &balance.Request{Key: "user-4711", Path: "/v1/render"}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						g, err := c.Pick(ctx, "render", req)
						if err != nil {
							b.Error(err)
							return
						}
						c.Done("render", g.Lease, balance.Outcome{Duration: 1e6})
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "picks/s")
		})
	}
}

// benchPing is the floor: 64 bytes there and back by blocking calls.
func benchPing(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for buf := make([]byte, 64); ; {
			if _, err := io.ReadFull(conn, buf); err != nil {
				return
			}
			conn.Write(buf)
		}
	})
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer wg.Wait()
	defer l.Close()
	defer conn.Close()
	buf := make([]byte, 64)
	b.ResetTimer()
	for range b.N {
		conn.Write(buf)
		if _, err := io.ReadFull(conn, buf); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAPickAndADoneAllocateNothing(t *testing.T) {
	c := start(t, Config{Masters: []string{echo(t)}}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req := &balance.Request{Key: "k", Labels: []balance.Label{{Key: "a", Value: "b"}}}
	both := func() {
		g, err := c.Pick(ctx, "p", req)
		if err != nil {
			t.Fatal(err)
		}
		c.Done("p", g.Lease, balance.Outcome{})
	}
	for range 1000 {
		both()
	}
	if n := testing.AllocsPerRun(2000, both); n >= 1 {
		t.Errorf("%v allocations, want none", n)
	}
}
