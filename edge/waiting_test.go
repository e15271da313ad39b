package edge

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// A client whose request waits gets interim responses until a server comes free, and then its response; also a refusal.
func TestInterimResponsesWhileWaiting(t *testing.T) { eachPicker(t, testInterimResponsesWhileWaiting) }

func testInterimResponsesWhileWaiting(t *testing.T) {
	p := newFakePicker()
	grant := make(chan bool)
	s1 := granted("s1", server(t, echo))
	p.pick = func(_ context.Context, req *balance.Request) (balance.Grant, error) {
		if req.Stands != nil {
			req.Stands(balance.Standing{Position: 3, Wait: 2 * time.Second})
		}
		if <-grant {
			return s1, nil
		}
		return balance.Grant{}, &balance.Refusal{Reason: balance.Shed, RetryAfter: time.Second}
	}
	r := run(t, p, func(c *Config) {
		route := &c.Listeners[0].Routes[0]
		route.WhileWaiting, route.Timeout = "103", time.Hour
		c.Listeners[0].H2C = true
		c.waitEvery = time.Millisecond
	})
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	byHTTP2 := &http.Transport{Protocols: &protocols}
	defer byHTTP2.CloseIdleConnections()
	for _, transport := range []http.RoundTripper{r.client.Transport, byHTTP2} {
		r.client.Transport = transport
		for _, good := range []bool{true, false} {
			interims := 0
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				timing := header.Get("Server-Timing")
				told := strings.HasSuffix(timing, `, position;desc="3", expected;dur=2000`)
				if code != 103 || !told && (interims > 0 || strings.Contains(timing, ",")) {
					t.Errorf("got %d, %v", code, header)
				}
				if !told { // the picker has not said yet where the request stands
					return nil
				}
				if interims++; interims == 3 {
					grant <- good
				}
				return nil
			}})
			res, body := r.do(r.request("POST", "/", "body").WithContext(ctx))
			if good && (res.StatusCode != 200 || body != "POST / body") || !good && res.StatusCode != 429 || interims < 3 {
				t.Errorf("good %v: %s %s %s, behind %d interim responses", good, res.Proto, res.Status, body, interims)
			}
		}
	}
}
