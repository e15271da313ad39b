//go:build linux

package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// generateBeside keeps connections, by TLS or not, busy with one request at a time each, on goroutines. All have made
// their handshakes before the first asks.
func generateBeside(o order, conns int) (r result, err error) {
	clients := make([]net.Conn, conns)
	for i := range clients {
		if clients[i], err = o.dial(); err != nil {
			return r, err
		}
		defer clients[i].Close()
	}
	request := o.request()
	took := make([][]time.Duration, conns)
	var all errgroup.Group
	begin := time.Now()
	for i, c := range clients {
		all.Go(func() error {
			in := bufio.NewReaderSize(c, 32<<10)
			for now := begin; now.Sub(begin) < o.For; {
				if _, err := c.Write(request); err != nil {
					return err
				}
				if err := readAnswer(in, o.Body); err != nil {
					return err
				}
				before := now
				now = time.Now()
				took[i] = append(took[i], now.Sub(before))
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return r, err
	}
	r.Took = time.Since(begin)
	every := slices.Sorted(slices.Values(slices.Concat(took...)))
	r.Requests = len(every)
	r.P50, r.P99 = float64(every[len(every)/2])/1e3, float64(every[len(every)*99/100])/1e3
	return r, nil
}

func (o *order) dial() (net.Conn, error) {
	address := fmt.Sprintf("127.0.0.1:%d", o.Port)
	if !o.Secure {
		return net.Dial("tcp", address)
	}
	return tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
}

// serveTLS has a backend that speaks TLS answer requests without a body, with a goroutine for each connection.
func serveTLS(answers map[string][]byte, cert, key string) (port int, err error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return 0, err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		return 0, err
	}
	go func() {
		for {
			c, err := l.Accept()
			must(err)
			go func() {
				answerTLS(c, answers)
				c.Close()
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// answerTLS answers until the proxy has no more requests.
func answerTLS(c net.Conn, answers map[string][]byte) {
	for in := bufio.NewReaderSize(c, 4<<10); ; {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := c.Write(answers[req.URL.Path]); err != nil {
			return
		}
	}
}

func readAnswer(in *bufio.Reader, body int) error {
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || n != int64(body)) {
		err = fmt.Errorf("response: %s with %d bytes", res.Status, n)
	}
	return err
}
