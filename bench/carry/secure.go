//go:build linux

package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// generateSecure keeps connections by TLS busy with one request at a time each. All
// have shaken hands before the first asks.
func generateSecure(o order, conns int) (r result, err error) {
	clients := make([]*tls.Conn, conns)
	for i := range clients {
		if clients[i], err = tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", o.Port), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}); err != nil {
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
				if err := readSecure(in, o.Body); err != nil {
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

func readSecure(in *bufio.Reader, body int) error {
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || n != int64(body)) {
		err = fmt.Errorf("response: %s with %d octets", res.Status, n)
	}
	return err
}
