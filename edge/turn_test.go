package edge

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

// However short turns are, bodies pass whole, both ways.
func TestBodiesPassInTheShortestTurns(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for _, secure := range []bool{false, true} {
		for _, two := range []bool{false, true} {
			if two && !secure {
				continue // clients of HTTP/1.1 get nothing from servers of HTTP/2
			}
			t.Run(fmt.Sprintf("secure-%v/server-h2-%v", secure, two), func(t *testing.T) {
				p := newFakePicker()
				start := run
				if secure {
					start = runSecure
				}
				own := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					got, err := io.ReadAll(r.Body)
					if err != nil || !bytes.Equal(got, body) {
						http.Error(w, fmt.Sprintf("got %d bytes, %v", len(got), err), http.StatusBadRequest)
						return
					}
					_, _ = w.Write(body)
				}))
				if two {
					own.Config.Protocols = new(http.Protocols)
					own.Config.Protocols.SetUnencryptedHTTP2(true)
				}
				own.Start()
				t.Cleanup(own.Close)
				p.pick = among(granted("s1", own))
				r := start(t, p, func(c *Config) {
					c.maxTurn, c.Loops = time.Nanosecond, 1
					if two {
						c.Listeners[0].Routes[0].ServerProtocol = routing.HTTP2
					}
				})
				scheme := map[bool]string{false: "http", true: "https"}[secure]
				if two {
					transport := r.client.Transport.(*http.Transport)
					transport.ForceAttemptHTTP2 = true
				}
				for range 2 {
					res, err := r.client.Post(scheme+"://"+r.address+"/", "", bytes.NewReader(body))
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(res.Body)
					_ = res.Body.Close()
					if err != nil || res.StatusCode != 200 || !bytes.Equal(got, body) {
						t.Errorf("got %d, %d bytes, %v", res.StatusCode, len(got), err)
					}
				}
				p.wantResults(t, balance.OK, balance.OK)
			})
		}
	}
}
